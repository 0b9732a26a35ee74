import type { DeviceStatus } from '../rooms/publication.js';
import { FORMAT_VERSION, isEpoch, UnreadableError, readEpoch, readRecord } from './wire.js';

/** Each frame has its length before it, in a channel's message as well as in history. */
export const FRAME_LENGTH_BYTES = 4;

const FRAME_BLOCK = 1;
const FRAME_STATUS = 2;
const FRAME_META = 3;
const FRAME_FILLED = 4;
const FRAME_DEVICE = 5;

/** Publications of one room that were stored in one step: what history keeps and what is fanned out. */
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

/** Receives what a fanned-out message says, in its order. */
export interface FrameSink {
  onBlock(block: Block): void;
  onStatus(epoch: string, revision: number, status: DeviceStatus): void;
  /** @param bytes empty when the metadata is forgotten */
  onMeta(epoch: string, version: number, bytes: Buffer): void;
  onFilled(epoch: string, serverTs: number, payload: Buffer): void;
}

/**
 * Reads a message of a room's channel. Frames of a kind this release does not know are passed over.
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
        sink.onStatus(readEpoch(bytes, at + 24), bytes.readUInt32LE(at + 4), {
          isOnline: bytes[at + 3] === 1,
          lastSeen: bytes.readDoubleLE(at + 8),
          serverTs: bytes.readDoubleLE(at + 16),
        });
        break;
      case FRAME_META:
        sink.onMeta(readEpoch(bytes, at + 8), bytes.readUInt32LE(at + 4), bytes.subarray(body, next));
        break;
      case FRAME_FILLED: {
        const { serverTs, payload } = readRecord(bytes, body, bytes[at + 3] as number);
        sink.onFilled(readEpoch(bytes, at + 8), serverTs, payload);
        break;
      }
      default:
    }
  }
}

/** Reads a message of a partition's channel of new devices; undefined for what this release does not know. */
export function readDeviceAnnouncement(bytes: Buffer): string | undefined {
  checkFormat(bytes, 0);
  return bytes[1] === FRAME_DEVICE ? bytes.toString('utf8', bytes[2]) : undefined;
}

function checkFormat(bytes: Buffer, at: number): void {
  if (bytes[at] !== FORMAT_VERSION) {
    throw new UnreadableError(bytes[at]);
  }
}
