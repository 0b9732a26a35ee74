import { describe, expect, it } from '@jest/globals';

import { Histogram } from './histogram.js';

describe(Histogram.name, () => {
  it('has no percentile without records', () => {
    expect(new Histogram().percentile(0.5)).toBeNaN();
  });

  it('is exact for small values', () => {
    const histogram = new Histogram();
    for (let value = 1; value <= 50; value++) {
      histogram.record(value);
    }
    expect(histogram.percentile(0.5)).toBe(25);
    expect(histogram.percentile(1)).toBe(50);
  });

  it.each([100, 1_000, 65_535, 1_000_000, 59_999_999])('is right to 2 %% at %d', (value) => {
    const histogram = new Histogram();
    histogram.record(value);
    expect(Math.abs(histogram.percentile(0.99) - value) / value).toBeLessThan(0.02);
  });

  it('tells the tail from the middle', () => {
    const histogram = new Histogram();
    for (let index = 0; index < 990; index++) {
      histogram.record(1_000);
    }
    for (let index = 0; index < 10; index++) {
      histogram.record(50_000);
    }
    expect(histogram.percentile(0.5)).toBeLessThan(1_020);
    expect(histogram.percentile(0.99)).toBeLessThan(1_020);
    expect(histogram.percentile(0.999)).toBeGreaterThan(49_000);
  });

  it('takes in the records of another', () => {
    const [one, other] = [new Histogram(), new Histogram()];
    one.record(10);
    other.record(40);
    other.record(50);
    one.add(other);
    expect(one.count).toBe(3);
    expect(one.percentile(0.5)).toBe(40);
    expect(other.count).toBe(2);
  });

  it('forgets everything when reset', () => {
    const histogram = new Histogram();
    histogram.record(5);
    histogram.reset();
    expect(histogram.count).toBe(0);
    expect(histogram.percentile(0.5)).toBeNaN();
  });
});
