import { randomInt } from 'node:crypto';

const FNV_PRIME = 0x01000193;
const FIRST_SLOTS = 64;
const FIRST_KEY_BYTES = 1_024;
/** Most slots probed for one key. With half of the slots empty even the unluckiest of a million keys needs fewer, unless keys are made to collide. */
const MAX_PROBES = 64;
/** Numbers per slot: hash, position of the key, its length plus one. */
const SLOT_NUMBERS = 4;
const KEY_AT = 1;
const KEY_LENGTH = 2;
const EMPTY = 0;
const DELETED = -1;

/**
 * Finds values by keys that are bytes within a larger buffer, without a string or a view per lookup: with ten thousand keys, making the
 * string and hashing it is most of the cost of a `Map`. Keys are stored side by side in one block, so that a lookup touches few cache
 * lines.
 *
 * It may refuse a key when too many collide: callers need a fallback lookup.
 */
export class BytesIndex<V> {
  /** Keys that can be found. */
  size = 0;
  private deleted = 0;
  private slots = new Int32Array(FIRST_SLOTS * SLOT_NUMBERS);
  private values: (V | undefined)[] = new Array<V | undefined>(FIRST_SLOTS).fill(undefined);
  private keys = new Uint8Array(FIRST_KEY_BYTES);
  private keyBytes = 0;

  /** @param seed of the hash; random by default, so that an attacker does not know which keys collide */
  constructor(private readonly seed = randomInt(2 ** 31)) {}

  /** Bytes of the block in which keys lie: tests watch its bound. */
  get keyMemoryBytes(): number {
    return this.keys.length;
  }

  /** The value of the key in `bytes[start, end)`. */
  get(bytes: Uint8Array, start: number, end: number): V | undefined {
    const place = this.placeOf(bytes, start, end);
    return place < 0 ? undefined : this.values[place];
  }

  /** @returns false when the key is refused */
  set(key: Uint8Array, value: V): boolean {
    if ((this.size + this.deleted + 1) * 2 > this.values.length) {
      this.rebuild();
    }
    const hash = this.hash(key, 0, key.length);
    return this.insert(hash, key, 0, key.length, value);
  }

  delete(key: Uint8Array): void {
    const place = this.placeOf(key, 0, key.length);
    if (place >= 0) {
      this.slots[place * SLOT_NUMBERS + KEY_LENGTH] = DELETED;
      this.values[place] = undefined;
      this.size -= 1;
      this.deleted += 1;
    }
  }

  /** @returns -1 when the key is not found */
  private placeOf(bytes: Uint8Array, start: number, end: number): number {
    const { slots } = this;
    const hash = this.hash(bytes, start, end);
    const mask = this.values.length - 1;
    for (let probe = 0; probe < MAX_PROBES; probe += 1) {
      const place = (hash + probe) & mask;
      const slot = place * SLOT_NUMBERS;
      const length = slots[slot + KEY_LENGTH] as number;
      if (length === EMPTY) {
        return -1;
      }
      if (slots[slot] === hash && length === end - start + 1 && this.isKey(slot, bytes, start)) {
        return place;
      }
    }
    return -1;
  }

  private insert(hash: number, bytes: Uint8Array, start: number, end: number, value: V): boolean {
    const { slots } = this;
    const mask = this.values.length - 1;
    for (let probe = 0; probe < MAX_PROBES; probe += 1) {
      const place = (hash + probe) & mask;
      const slot = place * SLOT_NUMBERS;
      const length = slots[slot + KEY_LENGTH] as number;
      if (length === EMPTY) {
        slots[slot] = hash;
        slots[slot + KEY_AT] = this.keep(bytes, start, end);
        slots[slot + KEY_LENGTH] = end - start + 1;
        this.values[place] = value;
        this.size += 1;
        return true;
      }
      if (slots[slot] === hash && length === end - start + 1 && this.isKey(slot, bytes, start)) {
        this.values[place] = value;
        return true;
      }
    }
    return false;
  }

  /** Doubles the slots when half are used, and drops deleted keys. */
  private rebuild(): void {
    const { slots, values, keys } = this;
    const places = this.size * 4 > values.length ? values.length * 2 : values.length;
    this.slots = new Int32Array(places * SLOT_NUMBERS);
    this.values = new Array<V | undefined>(places).fill(undefined);
    this.keys = new Uint8Array(keys.length);
    this.keyBytes = this.size = this.deleted = 0;
    for (let place = 0; place < values.length; place += 1) {
      const slot = place * SLOT_NUMBERS;
      const length = slots[slot + KEY_LENGTH] as number;
      if (length > EMPTY) {
        const start = slots[slot + KEY_AT] as number;
        this.insert(slots[slot] as number, keys, start, start + length - 1, values[place] as V);
      }
    }
  }

  private keep(bytes: Uint8Array, start: number, end: number): number {
    const at = this.keyBytes;
    const used = at + end - start;
    if (used > this.keys.length) {
      const larger = new Uint8Array(Math.max(used, this.keys.length * 2));
      larger.set(this.keys);
      this.keys = larger;
    }
    this.keys.set(bytes.subarray(start, end), at);
    this.keyBytes = used;
    return at;
  }

  private isKey(slot: number, bytes: Uint8Array, start: number): boolean {
    const { slots, keys } = this;
    const at = slots[slot + KEY_AT] as number;
    const length = (slots[slot + KEY_LENGTH] as number) - 1;
    for (let index = 0; index < length; index += 1) {
      if (keys[at + index] !== bytes[start + index]) {
        return false;
      }
    }
    return true;
  }

  /** FNV-1a, with its high bits mixed into the low bits, which select the slot. */
  private hash(bytes: Uint8Array, start: number, end: number): number {
    let hash = this.seed;
    for (let at = start; at < end; at += 1) {
      hash = Math.imul(hash ^ (bytes[at] as number), FNV_PRIME);
    }
    return hash ^ (hash >>> 15);
  }
}
