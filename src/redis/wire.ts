import type { DeviceStatus, MetaBytes, Publication } from '../rooms/publication.js';

/** Format that this release writes; see docs/scaling.md, "What Redis holds". */
export const FORMAT_VERSION = 1;
export const EPOCH_BYTES = 24;
export const RECORD_HEAD_BYTES = 18;

const HAS_STATUS = 1;
const ONLINE = 2;
const HAS_TELEMETRY = 4;
const EPOCH_AT = 80;

/** Stored or fanned-out bytes in a format this release cannot read. */
export class UnreadableError extends Error {
  constructor(format: number | undefined) {
    super(`a newer release wrote format ${format ?? 'none'}, this one reads ${FORMAT_VERSION}`);
    this.name = 'UnreadableError';
  }
}

/** What reading over the end of a buffer throws; a stack that is full is a RangeError too, and no fault of the bytes. */
const OUT_OF_BYTES = new Set(['ERR_OUT_OF_RANGE', 'ERR_BUFFER_OUT_OF_BOUNDS']);

/** Whether an error says that stored or fanned-out bytes cannot be read; any other is the reader's own. */
export function isUnreadable(error: unknown): boolean {
  return (
    error instanceof UnreadableError ||
    (error instanceof RangeError && OUT_OF_BYTES.has(String((error as NodeJS.ErrnoException).code)))
  );
}

/** One publication or retained value as stored: its head (length, packet id, tag, time) and its payload. */
export interface TelemetryRecord {
  readonly serverTs: number;
  readonly payload: Buffer;
  /** Where the next record begins. */
  readonly end: number;
}

/** All that the store knows of a room. */
export interface StoredState {
  readonly epoch: string;
  readonly offset: number;
  /** Payload and head bytes of all publications of the epoch; measures history. */
  readonly bytes: number;
  readonly metaVersion: number;
  /** Grows with every change of the status. */
  readonly revision: number;
  readonly status: DeviceStatus | null;
  readonly meta: MetaBytes;
  readonly telemetry: Publication | null;
}

/**
 * Reads a room's state (written by redis/lua/room-state.lua).
 * @param meta metadata in force, empty for none
 * @param telemetryMeta metadata of the last telemetry where it is another one
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
    status:
      (flags & HAS_STATUS) === 0
        ? null
        : {
            isOnline: (flags & ONLINE) !== 0,
            lastSeen: bytes.readDoubleLE(32),
            serverTs: bytes.readDoubleLE(40),
          },
    meta: currentMeta,
    telemetry,
  };
}

/** @param recordHead bytes of the record's head, as the writer said: a later release may make it longer */
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

/** Whether the epoch in `bytes` is this one: no string is made for it. */
export function isEpoch(bytes: Buffer, at: number, epoch: string): boolean {
  for (let index = 0; index < epoch.length; index += 1) {
    if (bytes[at + index] !== epoch.charCodeAt(index)) {
      return false;
    }
  }
  return epoch.length === EPOCH_BYTES || bytes[at + epoch.length] === 0;
}

export function readEpoch(bytes: Buffer, at: number): string {
  let end = at + EPOCH_BYTES;
  while (end > at && bytes[end - 1] === 0) {
    end -= 1;
  }
  return bytes.toString('latin1', at, end);
}
