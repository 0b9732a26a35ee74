import fc from 'fast-check';
import { Aggregate } from './aggregate.js';

function aggregate(...values: unknown[]): unknown {
  const window = new Aggregate();
  values.forEach((value, at) => window.add(value, 1_000 + at));
  return JSON.parse(window.payload().toString());
}

describe(Aggregate.name, () => {
  it('gives min, max, mean, last and count for every number, and the last of everything else', () => {
    expect(
      aggregate({ t: 1, s: 'a', on: true, n: { p: 4 } }, { t: 3, s: 'b', on: false, n: { p: 2 } }),
    ).toEqual({
      t: { min: 1, max: 3, mean: 2, last: 3, count: 2 },
      s: 'b',
      on: false,
      n: { p: { min: 2, max: 4, mean: 3, last: 2, count: 2 } },
    });
  });

  it('keeps fields that only some publications had', () => {
    expect(aggregate({ a: 1 }, { b: 2 })).toEqual({
      a: { min: 1, max: 1, mean: 1, last: 1, count: 1 },
      b: { min: 2, max: 2, mean: 2, last: 2, count: 1 },
    });
  });

  it('lets the last value decide where the kind of a field changes', () => {
    expect(aggregate({ a: 1 }, { a: 'off' })).toEqual({ a: 'off' });
    expect(aggregate({ a: 'off' }, { a: 5 })).toEqual({ a: { min: 5, max: 5, mean: 5, last: 5, count: 1 } });
    expect(aggregate({ a: [1, 2] }, { a: [3] })).toEqual({ a: [3] });
  });

  it('summarises a bare number', () => {
    expect(aggregate(1, 2)).toEqual({ min: 1, max: 2, mean: 1.5, last: 2, count: 2 });
  });

  it('knows the span it covers', () => {
    const window = new Aggregate();
    window.add(1, 10);
    window.add(1, 30);
    expect([window.count, window.from, window.to]).toEqual([2, 10, 30]);
  });

  it('never leaves the range of its numbers', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: 1, maxLength: 30 }),
        (values) => {
          const { min, max, mean, last, count } = aggregate(...values) as Record<string, number>;
          const numbers = JSON.parse(JSON.stringify(values)) as number[];
          expect(min).toBe(Math.min(...numbers));
          expect(max).toBe(Math.max(...numbers));
          expect(Number.isFinite(mean)).toBe(true);
          expect(last).toBe(numbers.at(-1));
          expect(count).toBe(numbers.length);
        },
      ),
    );
  });
});
