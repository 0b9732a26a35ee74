import type { Position, Rewind } from '../../protocol/client-messages.js';
import type {
  DeviceStatus,
  HistoryPage,
  LastHeard,
  MetaBytes,
  Publication,
  TelemetryBase,
} from '../../rooms/broadcast-adapter.js';
import type { HistoryLimits } from '../../rooms/memory/history-log.js';

/** Format that this release writes; see docs/scaling.md, "What Redis holds". */
export const FORMAT_VERSION = 1;
const EPOCH_BYTES = 24;
export const RECORD_HEAD_BYTES = 18;

const HAS_STATUS = 1;
const ONLINE = 2;
const HAS_TELEMETRY = 4;
/** Offline by silence. An earlier release leaves it as it is, also with a status of its own. */
const SILENT = 16;
const EPOCH_AT = 80;

/** Stored or fanned-out bytes in a format this release cannot read. */
class UnreadableError extends Error {
  constructor(format: number | undefined) {
    super(`a newer release wrote format ${format ?? 'none'}, this one reads ${FORMAT_VERSION}`);
    this.name = 'UnreadableError';
  }
}

const NOTHING = Buffer.alloc(0);

/** Thrown by a read past the end of a buffer. Stack overflow is a RangeError too, but no fault of the bytes. */
const OUT_OF_BYTES = new Set(['ERR_OUT_OF_RANGE', 'ERR_BUFFER_OUT_OF_BOUNDS']);

/** Whether an error means that stored or fanned-out bytes cannot be decoded; any other error is a defect of the reader. */
export function isUnreadable(error: unknown): boolean {
  return (
    error instanceof UnreadableError ||
    OUT_OF_BYTES.has(String((error as Partial<NodeJS.ErrnoException> | null)?.code))
  );
}

/** One publication or retained value as stored: its head (length, packet id, tag, time) and its payload. */
interface TelemetryRecord {
  readonly serverTs: number;
  readonly payload: Buffer;
  /** Where the next record begins. */
  readonly end: number;
}

/** All that the store knows of a room. */
export interface StoredState {
  readonly epoch: string;
  readonly offset: number;
  /** Payload and head bytes of all publications of the epoch; history is measured by them. */
  readonly bytes: number;
  readonly metaVersion: number;
  /** Grows with every change of the status. */
  readonly revision: number;
  readonly status: DeviceStatus | null;
  readonly meta: MetaBytes;
  readonly telemetry: Publication | null;
}

/**
 * Decodes a room's state (written by redis/lua/room-state.lua).
 * @param meta current metadata, empty for none
 * @param telemetryMeta metadata of the last telemetry, if it is another version
 */
export function decodeState(
  deviceId: string,
  bytes: Buffer,
  meta: Buffer,
  telemetryMeta: Buffer,
): StoredState {
  if (bytes[0] !== FORMAT_VERSION) {
    throw new UnreadableError(bytes[0]);
  }
  const flags = bytes[1] as number;
  const headBytes = bytes[2] as number;
  const recordHead = bytes[3] as number;
  const metaVersion = bytes.readUInt32LE(4);
  const telemetryMetaVersion = bytes.readUInt32LE(8);
  const epoch = readEpoch(bytes, EPOCH_AT);
  const offset = bytes.readDoubleLE(16);
  const currentMeta = meta.length === 0 ? null : meta;
  let telemetry: Publication | null = null;
  if ((flags & HAS_TELEMETRY) !== 0 && bytes.length > headBytes) {
    const { serverTs, payload } = readRecord(bytes, headBytes, recordHead);
    const itsMeta = telemetryMeta.length === 0 ? null : telemetryMeta;
    telemetry = {
      deviceId,
      epoch,
      offset,
      serverTs,
      payload,
      meta: telemetryMetaVersion === metaVersion ? currentMeta : itsMeta,
    };
  }
  return {
    epoch,
    offset,
    bytes: bytes.readDoubleLE(24),
    metaVersion,
    revision: bytes.readUInt32LE(12),
    status: readStatus(bytes),
    meta: currentMeta,
    telemetry,
  };
}

function readStatus(bytes: Buffer): DeviceStatus | null {
  const flags = bytes[1] as number;
  return (flags & HAS_STATUS) === 0
    ? null
    : statusOf(
        (flags & ONLINE) !== 0,
        (flags & SILENT) !== 0,
        bytes.readDoubleLE(32),
        bytes.readDoubleLE(40),
      );
}

function statusOf(isOnline: boolean, silent: boolean, lastSeen: number, serverTs: number): DeviceStatus {
  const said = { isOnline, lastSeen, serverTs };
  return silent && !isOnline ? { ...said, reason: 'silence' } : said;
}

/** Bytes of a room that {@link decodeLastHeard} needs: its head, and that of its newest telemetry. */
export const LAST_HEARD_BYTES = 104 + RECORD_HEAD_BYTES;

/** Decodes the beginning of a room; null when nothing is known of the device. */
export function decodeLastHeard(deviceId: string, bytes: Buffer): LastHeard | null {
  if (bytes.length === 0) {
    return null;
  }
  checkFormat(bytes, 0);
  const flags = bytes[1] as number;
  const headBytes = bytes[2] as number;
  const hasTelemetry = (flags & HAS_TELEMETRY) !== 0 && bytes.length >= headBytes + RECORD_HEAD_BYTES;
  return {
    deviceId,
    telemetryAt: hasTelemetry ? bytes.readDoubleLE(headBytes + 10) : 0,
    status: readStatus(bytes),
  };
}

/**
 * Decodes the answer of redis/lua/base.lua for one device.
 * @param before the head of the telemetry record that it belongs to, and the state before TRANSFORM_FILE; empty for none
 */
export function decodeBase(deviceId: string, state: Buffer, before: Buffer): TelemetryBase | null {
  if (state.length === 0) {
    return null;
  }
  const shown = decodeState(deviceId, state, NOTHING, NOTHING).telemetry?.payload;
  if (shown === undefined) {
    return null;
  }
  const headBytes = state[2] as number;
  const head = state.subarray(headBytes, headBytes + RECORD_HEAD_BYTES);
  return {
    shown,
    untransformed: before.length === 0 ? null : before.subarray(RECORD_HEAD_BYTES),
    // A publication of an earlier release, or of a layout without fields, has another record.
    current: before.length > 0 && before.subarray(0, RECORD_HEAD_BYTES).equals(head),
  };
}

/** @param recordHead bytes of the record's head, as its writer states: a later release may make it longer */
export function readRecord(bytes: Buffer, at: number, recordHead: number): TelemetryRecord {
  const start = at + recordHead;
  const end = start + bytes.readUInt32LE(at);
  return { serverTs: bytes.readDoubleLE(at + 10), payload: bytes.subarray(start, end), end };
}

/** Writes a record. @returns where it ends */
export function writeRecord(
  bytes: Buffer,
  at: number,
  payload: Buffer,
  serverTs: number,
  packetId: number,
  tag: number,
): number {
  bytes.writeUInt32LE(payload.length, at);
  bytes.writeUInt16LE(packetId, at + 4);
  bytes.writeUInt32LE(tag, at + 6);
  bytes.writeDoubleLE(serverTs, at + 10);
  bytes.set(payload, at + RECORD_HEAD_BYTES);
  return at + RECORD_HEAD_BYTES + payload.length;
}

/** Whether the epoch in `bytes` is this one, compared without making a string. */
function isEpoch(bytes: Buffer, at: number, epoch: string): boolean {
  for (let index = 0; index < epoch.length; index += 1) {
    if (bytes[at + index] !== epoch.charCodeAt(index)) {
      return false;
    }
  }
  return epoch.length === EPOCH_BYTES || bytes[at + epoch.length] === 0;
}

function readEpoch(bytes: Buffer, at: number): string {
  let end = at + EPOCH_BYTES;
  while (end > at && bytes[end - 1] === 0) {
    end -= 1;
  }
  return bytes.toString('latin1', at, end);
}

/** Each frame is preceded by its length, in a channel's message as well as in history. */
const FRAME_LENGTH_BYTES = 4;

const FRAME_BLOCK = 1;
const FRAME_STATUS = 2;
const FRAME_META = 3;
const FRAME_FILLED = 4;
const FRAME_DEVICE = 5;
const FRAME_TRACED = 6;

/** Publications of one room that were stored in one step: the unit of history and fan-out. */
export class Block {
  readonly count: number;
  readonly metaVersion: number;
  readonly firstOffset: number;
  /** Bytes of the epoch's publications before these. */
  readonly bytesBefore: number;
  private readonly headBytes: number;
  private readonly recordHead: number;

  /** @param bytes must stay unchanged: payloads are views of it */
  constructor(
    private readonly bytes: Buffer,
    private readonly at: number,
  ) {
    checkFormat(bytes, at);
    this.headBytes = bytes[at + 2] as number;
    this.recordHead = bytes[at + 3] as number;
    this.count = bytes.readUInt16LE(at + 4);
    this.metaVersion = bytes.readUInt32LE(at + 8);
    this.firstOffset = bytes.readDoubleLE(at + 12);
    this.bytesBefore = bytes.readDoubleLE(at + 20);
  }

  get lastOffset(): number {
    return this.firstOffset + this.count - 1;
  }

  isOf(epoch: string): boolean {
    return isEpoch(this.bytes, this.at + 36, epoch);
  }

  /** Calls back for each publication from `fromOffset` on, in order. */
  each(
    fromOffset: number,
    take: (offset: number, serverTs: number, payload: Buffer, bytesBefore: number) => void,
  ): void {
    let at = this.at + this.headBytes;
    const start = at;
    for (let index = 0; index < this.count; index += 1) {
      const offset = this.firstOffset + index;
      if (offset >= fromOffset) {
        const { serverTs, payload, end } = readRecord(this.bytes, at, this.recordHead);
        take(offset, serverTs, payload, this.bytesBefore + at - start);
        at = end;
      } else {
        at += this.recordHead + this.bytes.readUInt32LE(at);
      }
    }
  }
}

/** Receives the frames of a fanned-out message, in order. */
export interface FrameSink {
  onBlock(block: Block): void;
  onStatus(epoch: string, revision: number, status: DeviceStatus): void;
  /** @param bytes empty when the metadata is forgotten */
  onMeta(epoch: string, version: number, bytes: Buffer): void;
  onFilled(epoch: string, serverTs: number, payload: Buffer): void;
  /** The publications of the block before it are traced. */
  onTraced(traceparent: string, receivedAt: number): void;
}

/**
 * Reads a message of a room's channel. Frames of an unknown kind are skipped.
 * @throws {UnreadableError} for a frame in a format it cannot read
 */
export function readFrames(bytes: Buffer, sink: FrameSink): void {
  let next = 0;
  while (next + FRAME_LENGTH_BYTES < bytes.length) {
    const at = next + FRAME_LENGTH_BYTES;
    next = at + bytes.readUInt32LE(next);
    checkFormat(bytes, at);
    const body = at + (bytes[at + 2] as number);
    switch (bytes[at + 1]) {
      case FRAME_BLOCK:
        sink.onBlock(new Block(bytes, at));
        break;
      case FRAME_STATUS:
        sink.onStatus(
          readEpoch(bytes, at + 24),
          bytes.readUInt32LE(at + 4),
          statusOf(
            bytes[at + 3] === 1,
            bytes[at + 3] === 2,
            bytes.readDoubleLE(at + 8),
            bytes.readDoubleLE(at + 16),
          ),
        );
        break;
      case FRAME_META:
        sink.onMeta(readEpoch(bytes, at + 8), bytes.readUInt32LE(at + 4), bytes.subarray(body, next));
        break;
      case FRAME_FILLED: {
        const { serverTs, payload } = readRecord(bytes, body, bytes[at + 3] as number);
        sink.onFilled(readEpoch(bytes, at + 8), serverTs, payload);
        break;
      }
      case FRAME_TRACED:
        sink.onTraced(bytes.toString('latin1', body + 8, next), bytes.readDoubleLE(body));
        break;
      default:
    }
  }
}

/** Reads a message of a partition's channel of new devices; undefined for an unknown kind. */
export function readDeviceAnnouncement(bytes: Buffer): string | undefined {
  checkFormat(bytes, 0);
  return bytes[1] === FRAME_DEVICE ? bytes.toString('utf8', bytes[2]) : undefined;
}

function checkFormat(bytes: Buffer, at: number): void {
  if (bytes[at] !== FORMAT_VERSION) {
    throw new UnreadableError(bytes[at]);
  }
}

/**
 * Reads the answer of redis/lua/history.lua for one room. The store trims in coarse steps; here the limits are applied exactly.
 * @returns null when history cannot be continued after that offset
 */
export function readHistoryPage(
  deviceId: string,
  answer: readonly (Buffer | number | null)[],
  after: Position,
  maxPublications: number,
  limits: HistoryLimits,
): HistoryPage | null {
  const state = decodeState(deviceId, answer[0] as Buffer, NOTHING, NOTHING);
  const newest = Number(answer[2]);
  if (after.offset === newest) {
    return { publications: [], newest };
  }
  const now = Number(answer[1]);
  const versions = answer[3] as number;
  const metas = new Map<number, Buffer | null>([[0, NOTHING]]);
  for (let index = 0; index < versions; index += 1) {
    metas.set(Number(answer[4 + 2 * index]), answer[5 + 2 * index] as Buffer | null);
  }
  const publications: Publication[] = [];
  let next = after.offset + 1;
  // The previous epoch ended where the server did: what is left of it is read completely.
  const isOld = after.epoch !== state.epoch;
  for (const bytes of answer.slice(4 + 2 * versions)) {
    const block = new Block(bytes as Buffer, FRAME_LENGTH_BYTES);
    const meta = metas.get(block.metaVersion) ?? null;
    if (block.firstOffset > next || meta === null || !block.isOf(after.epoch)) {
      break;
    }
    let held = true;
    block.each(next, (offset, serverTs, payload, bytesBefore) => {
      held &&=
        isOld ||
        publications.length > 0 ||
        offset === newest ||
        (newest - offset < limits.maxPublications &&
          state.bytes - bytesBefore <= limits.maxBytes &&
          serverTs >= now - limits.maxAgeMs);
      if (held && publications.length < maxPublications) {
        publications.push({
          deviceId,
          epoch: after.epoch,
          offset,
          serverTs,
          payload,
          meta: meta.length === 0 ? null : meta,
        });
        next = offset + 1;
      }
    });
  }
  return publications.length === 0 ? null : { publications, newest };
}

/**
 * Reads the answer of redis/lua/rewind.lua for one room: the offset before its first publication within a range. The limits are applied
 * exactly, as for a page.
 * @param stored the room's head, empty where another epoch is asked for
 * @param bytes the block with the first publication, empty when there is none
 */
export function readRewind(
  deviceId: string,
  stored: Buffer,
  bytes: Buffer,
  { count, ms }: Rewind,
  limits: HistoryLimits,
  now: number,
): number | null {
  if (stored.length === 0) {
    return null;
  }
  const state = decodeState(deviceId, stored, NOTHING, NOTHING);
  if (state.offset === 0 || bytes.length === 0) {
    return state.offset === 0 ? 0 : null;
  }
  const block = new Block(bytes, FRAME_LENGTH_BYTES);
  const minTs = now - Math.min(limits.maxAgeMs, ms ?? limits.maxAgeMs);
  const first = state.offset - Math.min(limits.maxPublications, count ?? limits.maxPublications) + 1;
  let found = 0;
  block.each(first, (offset, serverTs, _payload, bytesBefore) => {
    const isHeld =
      offset === state.offset || (serverTs >= minTs && state.bytes - bytesBefore <= limits.maxBytes);
    found = found === 0 && isHeld ? offset : found;
  });
  // The block's last is within the coarse limits of the script, but not of the exact ones: the next block follows.
  return (found === 0 ? block.lastOffset + 1 : found) - 1;
}
