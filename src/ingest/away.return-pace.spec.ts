import { ReturnPace } from './away.js';

describe(ReturnPace.name, () => {
  let now = 0;
  let pace: ReturnPace;

  beforeEach(() => {
    now = 100_000;
    pace = new ReturnPace(() => now);
    pace.reachable(true);
  });

  it('waits from the moment rooms became local, though the store may still look well', () => {
    pace.changed('local');
    expect(pace.mayReturn()).toBe(false);
    now += 300;
    expect(pace.mayReturn()).toBe(true);
  });

  it('waits from the moment the store is well again', () => {
    pace.changed('local');
    pace.reachable(false);
    now += 10_000;
    expect(pace.mayReturn()).toBe(false);
    pace.reachable(true);
    expect(pace.mayReturn()).toBe(false);
    now += 300;
    expect(pace.mayReturn()).toBe(true);
  });

  it('waits longer each time a store comes and goes, and not after a good time', () => {
    const waitMs = (): number => {
      pace.changed('local');
      const start = now;
      while (!pace.mayReturn()) {
        now += 100;
      }
      pace.changed('store');
      return now - start;
    };
    expect([waitMs(), waitMs(), waitMs()]).toEqual([300, 600, 1_200]);
    for (let times = 0; times < 10; times += 1) {
      waitMs();
    }
    expect(waitMs()).toBe(30_000);
    now += 10_000;
    expect(waitMs()).toBe(300);
  });
});
