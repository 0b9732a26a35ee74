import type { DeviceMessage } from '../../rooms/broadcast-adapter.js';
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
const EPOCH_BYTES = 24;

/** Heads in one piece of memory: an object each would be three times as large. */
const HEADS_PER_SLAB = 256;

/** Channels of rooms that are listed in each call; with more of them it costs less to publish to nobody. */
const MAX_LISTED = 256;
/** After so long it is looked whether there are fewer again: a list of 100 000 takes Redis some 10 ms. */
const LIST_AGAIN_MS = 5_000;

/** Most bytes of `$<length>\r\n` and the `\r\n` after it. */
const ARGUMENT_FRAME_BYTES = 14;

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
    const { view } = this.slabOf(place);
    const at = (place % HEADS_PER_SLAB) * HEAD_BYTES;
    if (now >= view.getFloat64(at + REFRESH_AT, true)) {
      return -1;
    }
    const isDue =
      this.keepsHistory &&
      (now >= view.getFloat64(at + HISTORY_REFRESH_AT, true) ||
        now >= view.getFloat64(at + TRIM_AT, true) ||
        view.getFloat64(at + BYTES_AT, true) + bytes >= view.getFloat64(at + TRIM_BYTES_AT, true));
    return isDue ? -1 : place;
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
    let at = writeText(bytes, start, first.deviceId);

    const offset = view.getFloat64(head + OFFSET_AT, true);
    const bytesBefore = view.getFloat64(head + BYTES_AT, true);
    view.setFloat64(head + OFFSET_AT, offset + messages.length, true);
    view.setFloat64(head + BYTES_AT, bytesBefore + recordBytes, true);
    const metaVersion = view.getUint32(head + META_VERSION_AT, true);
    view.setUint32(head + TELEMETRY_META_AT, metaVersion, true);
    const lastBytes = RECORD_HEAD_BYTES + last.payload.length;
    at = writeLength(bytes, at, HEAD_BYTES + lastBytes);
    copy(view, head, bytes, at, HEAD_BYTES);
    const state = at + HEAD_BYTES;
    at = writeEnd(bytes, state + lastBytes);

    const blockBytes = BLOCK_HEAD_BYTES + recordBytes;
    at = writeLength(bytes, at, BLOCK_LENGTH_BYTES + blockBytes);
    bytes.writeUInt32LE(blockBytes, at);
    at += BLOCK_LENGTH_BYTES;
    bytes[at] = FORMAT_VERSION;
    bytes[at + 1] = 1;
    bytes[at + 2] = BLOCK_HEAD_BYTES;
    bytes[at + 3] = RECORD_HEAD_BYTES;
    bytes.writeUInt32LE(messages.length, at + 4);
    bytes.writeUInt32LE(metaVersion, at + 8);
    bytes.writeDoubleLE(offset + 1, at + 12);
    bytes.writeDoubleLE(bytesBefore, at + 20);
    bytes.writeDoubleLE(last.receivedAt, at + 28);
    copy(view, head + EPOCH_AT, bytes, at + 36, EPOCH_BYTES);
    at += BLOCK_HEAD_BYTES;
    let record = at;
    let tag = firstTag;
    for (const { payload, receivedAt, packetId } of messages) {
      record = at;
      at = writeRecord(bytes, at, payload, receivedAt, packetId, tag >>> 0);
      tag += 1;
    }
    bytes.copyWithin(state, record, at);
    return writeEnd(bytes, at);
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
