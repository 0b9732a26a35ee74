import fc from 'fast-check';
import { BytesIndex } from './bytes-index.js';

/** The key within a larger buffer, as it comes from the network. */
function look<V>(index: BytesIndex<V>, key: Buffer): V | undefined {
  const bytes = Buffer.concat([Buffer.from('before'), key, Buffer.from('after')]);
  return index.get(bytes, 6, 6 + key.length);
}

const SEED = 1;

/** Keys whose hash with {@link SEED} takes the same one of so many places. */
function keysOfOnePlace(count: number, places: number): Buffer[] {
  const keys: Buffer[] = [];
  for (let n = 0; keys.length < count; n += 1) {
    const key = Buffer.from(`key-${n}`);
    const fnv = key.reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193), SEED);
    if (((fnv ^ (fnv >>> 15)) & (places - 1)) === 0) {
      keys.push(key);
    }
  }
  return keys;
}

describe(BytesIndex.name, () => {
  it('finds what was set, wherever the key lies, and nothing else', () => {
    const index = new BytesIndex<number>();
    const key = (n: number): Buffer => Buffer.from(`devices/device-${n}/telemetry`);
    const numbers = Array.from({ length: 20_000 }, (_, n) => n);
    expect(numbers.filter((n) => !index.set(key(n), n))).toEqual([]);
    expect(index.size).toBe(20_000);
    expect(numbers.filter((n) => look(index, key(n)) !== n)).toEqual([]);
    expect(look(index, key(20_000))).toBeUndefined();
    expect(look(index, Buffer.from('devices/device-1/telemetr'))).toBeUndefined();
  });

  it('does as a Map does, in any order of calls', () => {
    const call = fc.record({
      kind: fc.constantFrom('set', 'set', 'delete', 'get'),
      key: fc.uint8Array({ maxLength: 3 }),
      value: fc.integer(),
    });
    fc.assert(
      fc.property(fc.array(call, { maxLength: 400 }), (calls) => {
        const index = new BytesIndex<number>();
        const map = new Map<string, number>();
        for (const { kind, key, value } of calls) {
          const bytes = Buffer.from(key);
          const name = bytes.toString('latin1');
          if (kind === 'set') {
            expect(index.set(bytes, value)).toBe(true);
            map.set(name, value);
          } else if (kind === 'delete') {
            index.delete(bytes);
            map.delete(name);
          }
          expect(look(index, bytes)).toBe(map.get(name));
          expect(index.size).toBe(map.size);
        }
        map.forEach((value, name) => expect(look(index, Buffer.from(name, 'latin1'))).toBe(value));
      }),
    );
  });

  it('refuses a key where too many collide, and goes on with the others', () => {
    const index = new BytesIndex<number>(SEED);
    const colliding = keysOfOnePlace(66, 256);
    const accepted = colliding.map((key, n) => index.set(key, n));
    expect(accepted).toEqual(colliding.map((_key, n) => n < 64));
    expect(colliding.map((key) => look(index, key))).toEqual(
      colliding.map((_key, n) => (n < 64 ? n : undefined)),
    );
    expect(index.set(Buffer.from('another'), 1)).toBe(true);
    expect(look(index, Buffer.from('another'))).toBe(1);
  });

  it('does not grow with keys that come and go', () => {
    const index = new BytesIndex<number>();
    for (let n = 0; n < 100_000; n += 1) {
      const key = Buffer.from(`room-${n}`);
      index.set(key, n);
      index.delete(key);
    }
    expect(index.size).toBe(0);
    expect(index.keyMemoryBytes).toBeLessThan(64 * 1024);
  });
});
