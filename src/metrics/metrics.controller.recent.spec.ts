import { Recent } from './metrics.controller.js';

describe(Recent.name, () => {
  let now: number;
  beforeEach(() => {
    now = 0;
  });

  it('makes it once for all who ask within the time, and again after it', async () => {
    let made = 0;
    const recent = new Recent(
      () => Promise.resolve((made += 1)),
      1_000,
      () => now,
    );
    expect(await Promise.all([recent.get(), recent.get()])).toEqual([1, 1]);
    now = 999;
    expect(await recent.get()).toBe(1);
    now = 1_000;
    expect(await recent.get()).toBe(2);
  });

  it('makes it again at once after a failure', async () => {
    let attempts = 0;
    const make = () => ((attempts += 1) === 1 ? Promise.reject(new Error('no')) : Promise.resolve('yes'));
    const recent = new Recent(make, 1_000, () => now);
    await expect(recent.get()).rejects.toThrow('no');
    expect(await recent.get()).toBe('yes');
  });
});
