import { StoredTables } from './sparkplug-node.js';

describe(StoredTables.name, () => {
  const stored = (...metrics: string[]): ReadonlyMap<string, string> =>
    new Map([
      ['h', '{"v":1,"alive":true}'],
      ['dpump', JSON.stringify(metrics.map((name) => [name, 3]))],
    ]);

  // Each command read all metrics of its device anew: a burst of commands to a device with 20 000 held up everybody for seconds.
  it('reads the metrics of a device once, until its next birth', () => {
    const tables = new StoredTables();
    const table = tables.of('G/n', 'pump', stored('a', 'b'));
    expect([...(table?.byName.keys() ?? [])]).toEqual(['a', 'b']);
    expect(tables.of('G/n', 'pump', stored('a', 'b'))).toBe(table);
    expect([...(tables.of('G/n', 'pump', stored('c'))?.byName.keys() ?? [])]).toEqual(['c']);
    expect(tables.of('G/n', 'pump', new Map([['h', '{"v":1,"alive":false}']]))).toBeNull();
    expect(tables.of('G/n', 'fan', stored('a'))).toBeNull();
    expect(tables.of('G/n', 'pump', null)).toBeNull();
  });

  it('keeps so many, and so much of them, at most', () => {
    const few = new StoredTables(2);
    ['a', 'b', 'c'].forEach((node) => few.of(node, 'pump', stored('m')));
    expect(few.size).toBe(2);
    const small = new StoredTables(10, 1_000);
    expect(small.of('a', 'pump', stored(...Array.from({ length: 10 }, (_, n) => `m${n}`)))?.byName.size).toBe(
      10,
    );
    expect(small.size).toBe(0);
    small.of('b', 'pump', stored('m'));
    expect(small.size).toBe(1);
  });
});
