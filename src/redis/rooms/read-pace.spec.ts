import { ReadPace } from './read-pace.js';

describe(ReadPace.name, () => {
  it('has one more under way with each round of quick answers, and fewer when they are late, down to four', async () => {
    let now = 0;
    const pace = new ReadPace(() => now);
    const answers: ((failed?: Error) => void)[] = [];
    const ask = (): void => {
      pace
        .run(
          1,
          () =>
            new Promise<void>((resolve, reject) =>
              answers.push((failed) => (failed === undefined ? resolve() : reject(failed))),
            ),
        )
        .catch(() => undefined);
    };
    const round = async (tookMs: number, failed?: Error): Promise<void> => {
      while (pace.allows(1) === 1) {
        ask();
      }
      expect(answers).toHaveLength(pace.limit);
      now += tookMs;
      answers.splice(0).forEach((answer) => answer(failed));
      for (let turn = 0; turn < 8; turn += 1) {
        await Promise.resolve();
      }
    };
    const before = pace.limit;
    await round(1);
    await round(1);
    expect(pace.limit).toBeGreaterThanOrEqual(before + 1);
    const grown = pace.limit;
    await round(50);
    expect(pace.limit).toBeLessThan(grown);
    for (let times = 0; times < 20; times += 1) {
      await round(50, new Error('busy'));
    }
    expect(pace.limit).toBe(4);
    for (let times = 0; times < 60; times += 1) {
      await round(1);
    }
    expect(pace.limit).toBeGreaterThan(10);
    for (let times = 0; times < 1_000; times += 1) {
      await round(1);
    }
    expect(pace.limit).toBe(256);
  });

  it('lets a call go whose rooms are all within what may be under way, and a part of one where nothing is', async () => {
    const pace = new ReadPace(() => 0);
    let answer = (): void => undefined;
    expect(pace.allows(16)).toBe(8);
    const reading = pace.run(6, () => new Promise<void>((resolve) => (answer = resolve)));
    expect([pace.allows(16), pace.allows(3), pace.allows(2)]).toEqual([0, 0, 2]);
    answer();
    await reading;
    expect(pace.allows(16)).toBe(pace.limit);
  });
});
