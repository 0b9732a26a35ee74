import { RateLimit } from './rate-limit.js';

describe(RateLimit.name, () => {
  it('lets a burst pass, then the sustained rate, and says how long to wait', () => {
    const limit = new RateLimit(100, 200);
    let due = 0;
    for (let at = 0; at < 200; at += 1) {
      due = limit.take(due, 1_000);
      expect(due).toBeGreaterThanOrEqual(0);
    }
    expect(limit.take(due, 1_000)).toBeCloseTo(-10);
    expect(limit.take(due, 1_004)).toBeCloseTo(-6);
    due = limit.take(due, 1_010);
    expect(due).toBeGreaterThan(0);
    expect(limit.take(due, 1_010)).toBeCloseTo(-10);
  });

  it('is full again after the burst has passed at the sustained rate', () => {
    const limit = new RateLimit(10, 5);
    let due = 0;
    for (const now of [0, 0, 0, 0, 0, 500, 500, 500, 500, 500]) {
      due = limit.take(due, now);
      expect(due).toBeGreaterThanOrEqual(0);
    }
    expect(limit.take(due, 500)).toBeLessThan(0);
  });
});
