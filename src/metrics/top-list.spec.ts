import { TopList } from './top-list.js';

const WINDOW_MS = 1_000;
const list = (maxKeys: number) => new TopList(maxKeys, WINDOW_MS, 0);

/** An event as the callers note it. */
function note(top: TopList, key: string, nowMs: number, weight = 1): void {
  if (top.due()) {
    top.take(key, weight, undefined, nowMs);
  }
}

const keys = (top: TopList, limit: number, nowMs: number) =>
  top.read(limit, nowMs).entries.map(({ key }) => key);

describe(TopList.name, () => {
  it('has the heaviest first, with what they weigh', () => {
    const top = list(10);
    ['a', 'b', 'a', 'c', 'a', 'b'].forEach((key) => note(top, key, 1));
    expect(top.read(2, 500)).toEqual({
      entries: [
        { key: 'a', weight: 3, note: undefined },
        { key: 'b', weight: 2, note: undefined },
      ],
      ms: 500,
    });
  });

  it('keeps as many keys as it may, and the heavy ones among ever new ones', () => {
    const top = list(50);
    for (let at = 0; at < 3_000; at++) {
      note(top, `passing-${at}`, 1);
      if (at % 10 === 0) {
        note(top, 'heavy', 1);
      }
    }
    expect(top.size).toBe(50);
    const [first] = top.read(1, 1).entries;
    expect(first?.key).toBe('heavy');
    // Never more than there were: a key that came late does not have the weight of the one whose place it took.
    expect(first?.weight).toBeLessThanOrEqual(600);
    expect(
      top
        .read(50, 1)
        .entries.slice(1)
        .every(({ weight }) => weight <= 8),
    ).toBe(true);
  });

  it('looks at ever fewer of a flood, and each stands for more', () => {
    const top = list(10);
    let looked = 0;
    for (let at = 0; at < 1_000_000; at++) {
      if (top.due()) {
        looked += 1;
        top.take(at % 4 === 0 ? 'quarter' : 'rest', 1, undefined, 1);
      }
    }
    expect(looked).toBeLessThan(15_000);
    const [rest, quarter] = top.read(2, 1).entries;
    expect(rest!.weight / quarter!.weight).toBeCloseTo(3, 0);
    expect((rest!.weight + quarter!.weight) / 1_000_000).toBeCloseTo(1, 1);
  });

  it('sees each member of a fleet that sends in turns', () => {
    const top = list(100);
    for (let at = 0; at < 500_000; at++) {
      note(top, `device-${at % 64}`, 1);
    }
    expect(keys(top, 100, 1)).toHaveLength(64);
  });

  it('tells of this window and the one before, and forgets older ones', () => {
    const top = list(10);
    note(top, 'first', 10);
    note(top, 'second', WINDOW_MS + 10);
    expect(keys(top, 10, WINDOW_MS + 20)).toEqual(['first', 'second']);
    note(top, 'third', 2 * WINDOW_MS + 20);
    expect(keys(top, 10, 2 * WINDOW_MS + 20)).toEqual(['second', 'third']);
    expect(keys(top, 10, 9 * WINDOW_MS)).toEqual([]);
  });
});
