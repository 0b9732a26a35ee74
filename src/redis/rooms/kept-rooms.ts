import type { Config } from '../../config/config.js';
import type { DeviceMessage } from '../../rooms/broadcast-adapter.js';
import type { Unsettled } from './journal.js';
import { FORMAT_VERSION, RECORD_HEAD_BYTES, writeRecord } from './wire.js';

/** Of a room's head, as room-state.lua packs it. */
const HEAD_BYTES = 104;
const FLAGS_AT = 1;
const META_VERSION_AT = 4;
const TELEMETRY_META_AT = 8;
const OFFSET_AT = 16;
const BYTES_AT = 24;
const REFRESH_AT = 48;
const HISTORY_REFRESH_AT = 56;
const TRIM_BYTES_AT = 64;
const TRIM_AT = 72;
const EPOCH_AT = 80;
/** Listed among the known devices, and with telemetry: what is due at a first publication was done. */
const ESTABLISHED = 4 + 8;

/** Of a block: its length, and the head that publish.lua packs. */
const BLOCK_LENGTH_BYTES = 4;
const BLOCK_HEAD_BYTES = 60;
/** Of a device in an entry of the journal; see redis/lua/journal.lua. */
const ENTRY_HEAD_BYTES = 12;
const EPOCH_BYTES = 24;

/** Heads in one piece of memory: an object each would be three times as large. */
const HEADS_PER_SLAB = 256;

/** Channels of rooms that are listed in each call; with more of them it costs less to publish to nobody. */
const MAX_LISTED = 256;
/** After so long it is looked whether there are fewer again: a list of 100 000 takes Redis some 10 ms. */
const LIST_AGAIN_MS = 5_000;

/** Most bytes of `$<length>\r\n` and the `\r\n` after it. */
export const ARGUMENT_FRAME_BYTES = 14;

/**
 * Heads of rooms as the reader of device messages wrote them last. It alone writes rooms while the fence is its own, so that it knows what a
 * publication makes of them, and the store need not read, take apart and put together what it has: it gets rooms as finished bytes.
 * The script compares {@link stamp} once a batch; whatever makes it doubtful that the heads are true forgets them all, and the
 * general way of publish.lua brings them back.
 */
export class KeptRooms {
  /** Names the generation of the store's numbering, and what was written without a fence; empty while nothing is kept. */
  stamp = '';
  private readonly places = new Map<string, number>();
  private readonly slabs: Slab[] = [];
  private readonly free: number[] = [];
  private listAgainAt = 0;
  private scratch: Buffer | null = null;

  /** @param keepsHistory false when the limits allow none */
  constructor(
    private readonly maxRooms: number,
    private readonly keepsHistory: boolean,
    private readonly limits: Pick<Config['rooms'], 'historyMaxAgeMs' | 'historyMaxBytes' | 'deviceExpiryS'>,
  ) {}

  /** Whether few rooms were watched when Redis counted them; after a while it counts again. */
  get listsWatched(): boolean {
    return performance.now() >= this.listAgainAt;
  }

  areWatched(count: number): void {
    if (count > MAX_LISTED) {
      this.listAgainAt = performance.now() + LIST_AGAIN_MS;
    }
  }

  get size(): number {
    return this.places.size;
  }

  /** Memory for a batch; the next one gets the same, since none is sent before the answer to the last. */
  memoryFor(bytes: number): Buffer {
    if (this.scratch === null || this.scratch.length < bytes) {
      this.scratch = Buffer.allocUnsafeSlow(bytes);
    }
    return this.scratch;
  }

  /** @param head as stored; empty where the room was refused */
  keep(deviceId: string, head: Buffer): void {
    const isEstablished =
      head.length === HEAD_BYTES && ((head[FLAGS_AT] as number) & ESTABLISHED) === ESTABLISHED;
    if (!isEstablished) {
      return;
    }
    this.forget(deviceId);
    if (this.places.size >= this.maxRooms) {
      this.forget(this.places.keys().next().value as string);
    }
    const place = this.free.pop() ?? this.places.size;
    this.places.set(deviceId, place);
    head.copy(this.slabOf(place).bytes, (place % HEADS_PER_SLAB) * HEAD_BYTES);
  }

  forget(deviceId: string): void {
    const place = this.places.get(deviceId);
    if (place !== undefined) {
      this.places.delete(deviceId);
      this.free.push(place);
    }
  }

  forgetAll(): void {
    this.stamp = '';
    this.scratch = null; // a connection that ended may still hold it
    this.places.clear();
    this.free.length = 0;
    this.slabs.length = Math.min(this.slabs.length, 1);
  }

  /**
   * Where the head of a room is that takes publications as it is; -1 where it is not kept, or something else is due: its expiry is to be put
   * off, or its history to be trimmed.
   * @param bytes that the publications add to its history
   * @param now the server's Unix ms
   */
  find(deviceId: string, bytes: number, now: number): number {
    const place = this.places.get(deviceId);
    if (place === undefined) {
      return -1;
    }
    return this.isDue(place, bytes, now) ? -1 : place;
  }

  private isDue(place: number, bytes: number, now: number): boolean {
    const { view } = this.slabOf(place);
    const at = (place % HEADS_PER_SLAB) * HEAD_BYTES;
    return (
      now >= view.getFloat64(at + REFRESH_AT, true) ||
      (this.keepsHistory &&
        (now >= view.getFloat64(at + HISTORY_REFRESH_AT, true) ||
          now >= view.getFloat64(at + TRIM_AT, true) ||
          view.getFloat64(at + BYTES_AT, true) + bytes >= view.getFloat64(at + TRIM_BYTES_AT, true)))
    );
  }

  /** The store does now what is due; it is due again when the store would say so. */
  private putOff(place: number, now: number): void {
    const { view } = this.slabOf(place);
    const at = (place % HEADS_PER_SLAB) * HEAD_BYTES;
    const { historyMaxAgeMs, historyMaxBytes, deviceExpiryS } = this.limits;
    view.setFloat64(at + REFRESH_AT, now + (deviceExpiryS * 1_000) / 8, true);
    view.setFloat64(at + HISTORY_REFRESH_AT, now + historyMaxAgeMs / 4, true);
    view.setFloat64(at + TRIM_AT, now + historyMaxAgeMs / 4, true);
    view.setFloat64(at + TRIM_BYTES_AT, view.getFloat64(at + BYTES_AT, true) + historyMaxBytes / 8, true);
  }

  /** Where the head of a room is, whatever is due: who settles the journal does that. -1 where it is not kept. */
  placeOf(deviceId: string): number {
    return this.places.get(deviceId) ?? -1;
  }

  /**
   * The same, for publications that go into the journal, where nobody looks whether the room is still there: -1 too after so long a silence
   * that it may have expired soon, or has, and another one of the device may have begun.
   * @param now the server's Unix ms
   */
  placeOfLasting(deviceId: string, now: number): number {
    const place = this.placeOf(deviceId);
    if (place === -1) {
      return -1;
    }
    const refreshAt = this.slabOf(place).view.getFloat64(
      (place % HEADS_PER_SLAB) * HEAD_BYTES + REFRESH_AT,
      true,
    );
    // It expires DEVICE_EXPIRY_S after that (publish.lua).
    return now < refreshAt + (this.limits.deviceExpiryS * 1_000) / 2 ? place : -1;
  }

  /** Bytes that {@link write} needs at most. @param bytes of the records */
  static sizeOf(deviceId: string, bytes: number): number {
    return (
      3 * ARGUMENT_FRAME_BYTES +
      deviceId.length * 3 +
      HEAD_BYTES +
      BLOCK_LENGTH_BYTES +
      BLOCK_HEAD_BYTES +
      2 * bytes
    );
  }

  /**
   * Writes three arguments of publish.lua: the device id, the room's state after publications, and these as a block. The head that is kept
   * is the new one from now on.
   * @param recordBytes of all publications
   * @param firstTag of the first publication; see encodeBatch in redis/rooms/batch.ts
   * @returns where they end
   */
  write(
    place: number,
    messages: readonly DeviceMessage[],
    recordBytes: number,
    firstTag: number,
    bytes: Buffer,
    start: number,
  ): number {
    const { view } = this.slabOf(place);
    const head = (place % HEADS_PER_SLAB) * HEAD_BYTES;
    const first = messages[0] as DeviceMessage;
    const last = messages.at(-1) as DeviceMessage;
    const id = writeText(bytes, start, first.deviceId);
    const lastBytes = RECORD_HEAD_BYTES + last.payload.length;
    const state = writeLength(bytes, id, HEAD_BYTES + lastBytes);
    const stateEnd = writeEnd(bytes, state + HEAD_BYTES + lastBytes);
    const block = writeLength(bytes, stateEnd, BLOCK_LENGTH_BYTES + BLOCK_HEAD_BYTES + recordBytes);
    const end = this.writeBlock(place, messages, recordBytes, firstTag, bytes, block);
    copy(view, head, bytes, state, HEAD_BYTES);
    bytes.copyWithin(state + HEAD_BYTES, end - lastBytes, end);
    return writeEnd(bytes, end);
  }

  /** Bytes that {@link writeEntry} writes. */
  static entrySizeOf(deviceId: string, recordBytes: number): number {
    return (
      ENTRY_HEAD_BYTES + Buffer.byteLength(deviceId) + BLOCK_LENGTH_BYTES + BLOCK_HEAD_BYTES + recordBytes
    );
  }

  /**
   * Writes a device's part of an entry of the journal. The head that is kept is the new one from now on.
   * @returns where it ends
   */
  writeEntry(
    place: number,
    messages: readonly DeviceMessage[],
    recordBytes: number,
    firstTag: number,
    bytes: Buffer,
    start: number,
  ): number {
    const { deviceId } = messages[0] as DeviceMessage;
    const { payload } = messages.at(-1) as DeviceMessage;
    const id = start + ENTRY_HEAD_BYTES;
    const block = id + bytes.write(deviceId, id);
    const end = this.writeBlock(place, messages, recordBytes, firstTag, bytes, block);
    bytes.writeUInt32LE(block - id, start);
    // Lua counts from 1.
    bytes.writeUInt32LE(end - block - RECORD_HEAD_BYTES - payload.length + 1, start + 4);
    bytes.writeUInt32LE(end - block, start + 8);
    return end;
  }

  /** Bytes that {@link writeSettled} needs at most. */
  static settledSizeOf(deviceId: string, { bytes, lastBytes }: Unsettled): number {
    return KeptRooms.sizeOf(deviceId, bytes) + lastBytes;
  }

  /**
   * Writes three arguments of publish.lua, as {@link write} does, of what the journal has of a room. Where something is due the state is left
   * to the script, which gets the place of the newest record instead.
   */
  writeSettled(
    place: number,
    deviceId: string,
    unsettled: Unsettled,
    entries: readonly Buffer[],
    now: number,
    bytes: Buffer,
    start: number,
  ): number {
    const { view } = this.slabOf(place);
    const head = (place % HEADS_PER_SLAB) * HEAD_BYTES;
    const { publications, bytes: recordBytes, lastAt, places } = unsettled;
    const lastBytes = RECORD_HEAD_BYTES + unsettled.lastBytes;
    const blockLength = BLOCK_LENGTH_BYTES + BLOCK_HEAD_BYTES + recordBytes;
    let at = writeText(bytes, start, deviceId);
    let state = -1;
    if (this.isDue(place, 0, now)) {
      at = writeText(bytes, at, String(blockLength - lastBytes + 1)); // Lua counts from 1
      this.putOff(place, now);
    } else {
      state = writeLength(bytes, at, HEAD_BYTES + lastBytes);
      copy(view, head, bytes, state, HEAD_BYTES);
      at = writeEnd(bytes, state + HEAD_BYTES + lastBytes);
    }
    at = writeLength(bytes, at, blockLength);
    const first = view.getFloat64(head + OFFSET_AT, true) - publications + 1;
    const before = view.getFloat64(head + BYTES_AT, true) - recordBytes;
    at = this.writeBlockHead(place, publications, recordBytes, first, before, lastAt, bytes, at);
    for (let index = 0; index < places.length; index += 3) {
      const entry = entries[places[index] as number] as Buffer;
      at += entry.copy(bytes, at, places[index + 1], places[index + 2]);
    }
    if (state !== -1) {
      bytes.copyWithin(state + HEAD_BYTES, at - lastBytes, at);
    }
    return writeEnd(bytes, at);
  }

  /** @returns where it ends, and the newest record with it */
  private writeBlock(
    place: number,
    messages: readonly DeviceMessage[],
    recordBytes: number,
    firstTag: number,
    bytes: Buffer,
    start: number,
  ): number {
    const { view } = this.slabOf(place);
    const head = (place % HEADS_PER_SLAB) * HEAD_BYTES;
    const offset = view.getFloat64(head + OFFSET_AT, true);
    const bytesBefore = view.getFloat64(head + BYTES_AT, true);
    view.setFloat64(head + OFFSET_AT, offset + messages.length, true);
    view.setFloat64(head + BYTES_AT, bytesBefore + recordBytes, true);
    const metaVersion = view.getUint32(head + META_VERSION_AT, true);
    view.setUint32(head + TELEMETRY_META_AT, metaVersion, true);

    const lastAt = (messages.at(-1) as DeviceMessage).receivedAt;
    const count = messages.length;
    let at = this.writeBlockHead(place, count, recordBytes, offset + 1, bytesBefore, lastAt, bytes, start);
    let tag = firstTag;
    for (const { payload, receivedAt, packetId } of messages) {
      at = writeRecord(bytes, at, payload, receivedAt, packetId, tag >>> 0);
      tag += 1;
    }
    return at;
  }

  private writeBlockHead(
    place: number,
    count: number,
    recordBytes: number,
    first: number,
    bytesBefore: number,
    lastAt: number,
    bytes: Buffer,
    start: number,
  ): number {
    const { view } = this.slabOf(place);
    const head = (place % HEADS_PER_SLAB) * HEAD_BYTES;
    let at = start;
    bytes.writeUInt32LE(BLOCK_HEAD_BYTES + recordBytes, at);
    at += BLOCK_LENGTH_BYTES;
    bytes[at] = FORMAT_VERSION;
    bytes[at + 1] = 1;
    bytes[at + 2] = BLOCK_HEAD_BYTES;
    bytes[at + 3] = RECORD_HEAD_BYTES;
    bytes.writeUInt32LE(count, at + 4);
    bytes.writeUInt32LE(view.getUint32(head + META_VERSION_AT, true), at + 8);
    bytes.writeDoubleLE(first, at + 12);
    bytes.writeDoubleLE(bytesBefore, at + 20);
    bytes.writeDoubleLE(lastAt, at + 28);
    copy(view, head + EPOCH_AT, bytes, at + 36, EPOCH_BYTES);
    return at + BLOCK_HEAD_BYTES;
  }

  private slabOf(place: number): Slab {
    const index = Math.floor(place / HEADS_PER_SLAB);
    return (this.slabs[index] ??= new Slab());
  }
}

class Slab {
  readonly bytes = Buffer.alloc(HEADS_PER_SLAB * HEAD_BYTES);
  readonly view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length);
}

/** For a hundred bytes this costs less than a call of Buffer's copy, which makes an object of each range. */
function copy(from: DataView, start: number, to: Buffer, at: number, length: number): void {
  for (let index = 0; index < length; index += 1) {
    to[at + index] = from.getUint8(start + index);
  }
}

const DOLLAR = 0x24;
const ZERO = 0x30;
const CR = 0x0d;
const LF = 0x0a;

/** Writes `$<length>\r\n`, with which an argument begins on its way to Redis. @returns where the argument begins */
export function writeLength(bytes: Buffer, at: number, length: number): number {
  let digits = 1;
  for (let bound = 10; length >= bound; bound *= 10) {
    digits += 1;
  }
  bytes[at] = DOLLAR;
  let left = length;
  for (let index = digits; index > 0; index -= 1) {
    bytes[at + index] = ZERO + (left % 10);
    left = (left / 10) | 0;
  }
  return writeEnd(bytes, at + 1 + digits);
}

/** Writes what ends an argument. @returns where the next one begins */
export function writeEnd(bytes: Buffer, at: number): number {
  bytes[at] = CR;
  bytes[at + 1] = LF;
  return at + 2;
}

function writeText(bytes: Buffer, at: number, text: string): number {
  const start = writeLength(bytes, at, Buffer.byteLength(text));
  return writeEnd(bytes, start + bytes.write(text, start));
}
