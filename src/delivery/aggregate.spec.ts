import fc from 'fast-check';
import { liveHeapBytes } from '../../test/support/live-heap.js';
import { HotCounters } from '../metrics/hot-counters.js';
import { Aggregate, MAX_WINDOW_BYTES, MAX_WINDOW_MEMBERS, MAX_WINDOWS_BYTES } from './aggregate.js';

const MIB = 1_048_576;

function aggregate(...values: unknown[]): unknown {
  const window = new Aggregate(new HotCounters());
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
    const window = new Aggregate(new HotCounters());
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

  // A device with new names in every publication had each of them kept until the window ended, up to 100 s later: 300 publications of 250 KB
  // were out of memory. A window is bounded in members and bytes, and all windows together in bytes.
  it('keeps little of publications whose names never repeat', () => {
    const hot = new HotCounters();
    const window = new Aggregate(hot);
    const before = liveHeapBytes();
    let most = 0;
    for (let message = 0; message < 300; message += 1) {
      const payload: Record<string, unknown> = {};
      for (let at = 0; at < 1_000; at += 1) {
        payload[`${message}-${at}-${'n'.repeat(230)}`] = at;
      }
      window.add(JSON.parse(JSON.stringify(payload)), message);
      most = Math.max(most, hot.aggregateBytes);
    }
    expect(most).toBeGreaterThan(MAX_WINDOW_BYTES * 0.9);
    expect(most).toBeLessThanOrEqual(MAX_WINDOW_BYTES);
    expect(liveHeapBytes() - before).toBeLessThan(64 * MIB);
    expect(window.payload().length).toBeLessThanOrEqual(MAX_WINDOW_BYTES);
    expect(window.truncated).toBe(true);
    expect(hot.aggregateLeftOut).toEqual({ members: 0, bytes: 300_000 - window.members, depth: 0 });
    window.release();
    expect(hot.aggregateBytes).toBe(0);
  });

  it('has a bound of members, and goes on with those it has', () => {
    const hot = new HotCounters();
    const window = new Aggregate(hot);
    const names = Array.from({ length: MAX_WINDOW_MEMBERS + 5 }, (_, at) => `field-${at}`);
    const payload = Object.fromEntries(names.map((name) => [name, 1]));
    window.add(payload, 1);
    window.add(payload, 2);
    const result = JSON.parse(window.payload().toString()) as Record<string, { count: number }>;
    expect(Object.keys(result)).toHaveLength(MAX_WINDOW_MEMBERS);
    expect(result['field-0']?.count).toBe(2);
    expect(window.truncated).toBe(true);
    expect(hot.aggregateLeftOut).toEqual({ members: 10, bytes: 0, depth: 0 });
  });

  it('leaves a member out whose newest value has no room, rather than to show an older one', () => {
    const window = new Aggregate(new HotCounters());
    window.add({ a: 'short', b: 1 }, 1);
    window.add({ a: 'x'.repeat(MAX_WINDOW_BYTES), b: 2 }, 2);
    expect(JSON.parse(window.payload().toString())).toEqual({
      b: { min: 1, max: 2, mean: 1.5, last: 2, count: 2 },
    });
    window.add({ a: 'short again' }, 3);
    expect(JSON.parse(window.payload().toString())).toMatchObject({ a: 'short again' });
    expect(window.truncated).toBe(true);
  });

  it('is null where the payload itself has no room', () => {
    expect(aggregate('x'.repeat(MAX_WINDOW_BYTES))).toBeNull();
  });

  it('cuts the windows that take much first, and lets small ones go on', () => {
    const hot = new HotCounters();
    const text = 'x'.repeat(1_000);
    const hogs = Array.from({ length: 200 }, () => new Aggregate(hot));
    for (let member = 0; member < 600; member += 1) {
      hogs.forEach((hog) => hog.add({ [`m${member}`]: text }, member));
    }
    expect(hot.aggregateBytes).toBeLessThanOrEqual(MAX_WINDOWS_BYTES);
    expect(hogs.every(({ truncated }) => truncated)).toBe(true);
    const small = new Aggregate(hot);
    small.add({ t: 1, p: 2, s: text }, 1);
    expect(small.truncated).toBe(false);
    hogs.concat(small).forEach((window) => window.release());
    expect(hot.aggregateBytes).toBe(0);
  });

  it('leaves out what is nested deeper than devices may, as an older release may have left it in Redis', () => {
    const hot = new HotCounters();
    const window = new Aggregate(hot);
    const objects = JSON.parse(`${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`) as unknown;
    const arrays = JSON.parse('['.repeat(100_000) + ']'.repeat(100_000)) as unknown;
    window.add({ objects, arrays, t: 1 }, 1);
    const result = JSON.parse(window.payload().toString()) as object;
    expect(Object.keys(result)).toEqual(['objects', 't']);
    expect(window.truncated).toBe(true);
    expect(hot.aggregateLeftOut).toEqual({ members: 0, bytes: 0, depth: 2 });
  });

  it('takes what is nested as deep as devices may', () => {
    const deep = (open: string, close: string) =>
      JSON.parse(open.repeat(63) + '{"a":"b"}' + close.repeat(63));
    const objects: unknown = deep('{"a":', '}');
    const arrays: unknown = deep('[', ']');
    expect(aggregate(objects)).toEqual(objects);
    expect(aggregate(arrays)).toEqual(arrays);
  });

  it('has members whatever they are called', () => {
    const payload = JSON.parse('{"__proto__":{"polluted":"yes"},"constructor":"c","":"empty"}') as object;
    expect(aggregate(payload)).toEqual(payload);
    expect(({} as { polluted?: string }).polluted).toBeUndefined();
  });
});
