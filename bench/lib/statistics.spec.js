import { describe, expect, it } from '@jest/globals';

import { means, median, medians } from './statistics.js';

describe(median.name, () => {
  it('is the middle one, or the mean of the middle two', () => {
    expect(median([9, 1, 5])).toBe(5);
    expect(median([4, 1, 2, 9])).toBe(3);
  });

  it('leaves out what was not measured', () => {
    expect(median([NaN, 7, null])).toBe(7);
    expect(median([])).toBeNaN();
  });
});

describe(medians.name, () => {
  it('takes every metric on its own', () => {
    const runs = [
      { a: 1, b: 30 },
      { a: 3, b: 10 },
      { a: 2, b: 20 },
    ];
    expect(medians(runs)).toEqual({ a: 2, b: 20 });
  });
});

describe(means.name, () => {
  it('takes every metric on its own', () => {
    expect(
      means([
        { a: 1, b: 30 },
        { a: 4, b: 10 },
      ]),
    ).toEqual({ a: 2.5, b: 20 });
    expect(means([{ seconds: Infinity }])).toEqual({ seconds: Infinity });
  });

  it('leaves metrics of all turns together as the last turn gives them', () => {
    const turns = [
      { a: 1, p99: 9 },
      { a: 3, p99: 5 },
    ];
    expect(means(turns, ['p99'])).toEqual({ a: 2, p99: 5 });
  });
});
