import { Backoff } from './backoff.js';

describe(Backoff.name, () => {
  it('doubles the longest wait up to the maximum and starts anew after a reset', () => {
    const backoff = new Backoff(100, 1_000, () => 0.999_999);
    const waits = Array.from({ length: 6 }, () => backoff.nextMs());
    expect(waits).toEqual([99, 199, 399, 799, 999, 999]);
    backoff.reset();
    expect(backoff.nextMs()).toBe(99);
  });

  it('spreads the waits over all of the span', () => {
    const waits = Array.from({ length: 1_000 }, () => new Backoff(1_000, 1_000).nextMs());
    const mean = waits.reduce((sum, wait) => sum + wait, 0) / waits.length;
    expect(mean).toBeGreaterThan(400);
    expect(mean).toBeLessThan(600);
    expect(Math.min(...waits)).toBeLessThan(100);
    expect(Math.max(...waits)).toBeGreaterThan(900);
  });

  it('does not overflow after many failures', () => {
    const backoff = new Backoff(1, 5_000, () => 1);
    for (let i = 0; i < 5_000; i++) {
      expect(backoff.nextMs()).toBeLessThanOrEqual(5_000);
    }
  });

  it('waits at least the part that is not random', () => {
    const backoff = new Backoff(100, 1_000, () => 0, 0.5);
    expect(Array.from({ length: 5 }, () => backoff.nextMs())).toEqual([50, 100, 200, 400, 500]);
  });
});
