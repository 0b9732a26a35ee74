import { Sampling } from './delivery-context.js';

/** Of so many publications, evenly spread over a second that begins at `startMs`, those that are taken. */
function taken(sampling: Sampling, perSecond: number, startMs: number): number {
  let count = 0;
  for (let n = 0; n < perSecond; n += 1) {
    count += sampling.take(startMs + (n * 1000) / perSecond) ? 1 : 0;
  }
  return count;
}

describe(Sampling.name, () => {
  const evenly = (): Sampling => new Sampling(() => 0.5);

  it('takes all where few come', () => {
    const sampling = evenly();
    for (let second = 1; second <= 3; second += 1) {
      expect(taken(sampling, 70, second * 1000)).toBe(70);
    }
  });

  it.each([300, 700, 20_000])('takes some fifty a second of %d', (perSecond) => {
    const sampling = evenly();
    taken(sampling, perSecond, 1_000);
    expect(Math.abs(taken(sampling, perSecond, 2_000) - 50)).toBeLessThan(5);
  });

  it('takes all again within a second of a flood', () => {
    const sampling = evenly();
    taken(sampling, 20_000, 1_000);
    taken(sampling, 20_000, 2_000);
    taken(sampling, 10, 3_000);
    expect(taken(sampling, 10, 4_000)).toBe(10);
  });

  it('chooses at random, so that no device of a rhythm is left out', () => {
    const sampling = new Sampling();
    taken(sampling, 300, 1_000);
    const byDevice = [0, 0, 0, 0, 0, 0];
    for (let n = 0; n < 60_000; n += 1) {
      if (sampling.take(2_000 + (n * 1000) / 300)) {
        byDevice[n % 6]! += 1; // one publication in six is taken
      }
    }
    expect(Math.min(...byDevice)).toBeGreaterThan(Math.max(...byDevice) / 2);
  });

  it('goes on where another machine, whose clock is behind, takes over', () => {
    const sampling = evenly();
    taken(sampling, 20_000, 3_600_000);
    taken(sampling, 10, 1_000);
    expect(taken(sampling, 10, 2_000)).toBe(10);
  });
});
