import { liveHeapBytes } from '../../test/support/live-heap.js';
import { testRooms } from '../../test/support/test-rooms.js';
import type { DeliveryOptions } from '../protocol/delivery-options.js';
import { planOf } from './delivery-group.js';

const withFields = (...fields: string[]): DeliveryOptions => ({ mode: 'every', fields });

/** As many parts as one message can ask for. */
const deepest = (name: string): string[] =>
  Array.from({ length: 100 }, (_, field) =>
    Array.from({ length: 8 }, (_part, part) => `${name}${field}-${part}`).join('.'),
  );

describe(planOf.name, () => {
  it('serves alike what was asked for in other words, and nothing else', () => {
    const rated = (maxRateHz: number, aggregate?: boolean): DeliveryOptions => ({
      ...withFields('b', 'a'),
      mode: 'latest',
      maxRateHz,
      ...(aggregate === true && { aggregate }),
    });
    expect(planOf(withFields('b', 'a', 'b')).key).toBe(planOf(withFields('a', 'b')).key);
    const keys = [
      { mode: 'every' as const },
      withFields('a'),
      withFields('a', 'b'),
      withFields('a,b'),
      withFields('a","b'),
      { mode: 'latest' as const, maxRateHz: 1 },
      rated(1),
      rated(1, true),
      rated(2),
    ].map((options) => planOf(options).key);
    expect(new Set(keys).size).toBe(keys.length);
    expect(planOf({ mode: 'latest' }).key).toBe('');
  });

  it('compiles the fields of a message once, and shares them with other messages', () => {
    const options = withFields('gps.lat', 'gps.lon');
    expect(planOf(options).selection).toBe(planOf(options).selection);
    expect(planOf(withFields('gps.lon', 'gps.lat')).selection).toBe(planOf(options).selection);
    expect(planOf({ ...options, maxRateHz: 1 }).selection).toBe(planOf(options).selection);
  });

  // A message of 28 KB with fields made of dots and 400 device ids ended the process: each device had its own compiled copy, 5 MB each.
  // Now a path has a bound of parts, and all rooms share one.
  it('takes no memory for a further device with the same fields', async () => {
    const { rooms, member, settle } = testRooms();
    const m = member();
    const delivery = withFields(...deepest('f'));
    const deviceIds = Array.from({ length: 1_000 }, (_, n) => `d${n}`);
    const before = liveHeapBytes();
    await rooms.subscribe(m, { deviceIds, denied: [], delivery });
    await settle();
    // 215 MB with a copy each.
    expect(liveHeapBytes() - before).toBeLessThan(80e6);
    expect(m.messages('snapshot')).toHaveLength(1);
  });
});
