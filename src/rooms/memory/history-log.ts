import type { Config } from '../../config/config.js';
import { viewOf } from '../../protocol/view-of.js';

/** Limits of one device's history; the first one that is reached applies. */
export interface HistoryLimits {
  maxPublications: number;
  maxAgeMs: number;
  maxBytes: number;
}

export function historyLimits(rooms: Config['rooms']): HistoryLimits {
  return {
    maxPublications: rooms.historyMaxPublications,
    maxAgeMs: rooms.historyMaxAgeMs,
    maxBytes: rooms.historyMaxBytes,
  };
}

/** Whether anything is: each limit can switch history off. */
export function historyIsKept(rooms: Config['rooms']): boolean {
  return rooms.historyMaxPublications > 0 && rooms.historyMaxAgeMs > 0 && rooms.historyMaxBytes > 0;
}

/** One stored publication. `payload` is a view that stays valid and unchanged. */
export interface HistoryEntry {
  offset: number;
  serverTs: number;
  metaVersion: number;
  packetId: number;
  payload: Buffer;
}

/** Per entry: serverTs (8 bytes), metaVersion (4), payload length (4), packet id (2). */
const HEADER_BYTES = 18;
const header = new Uint8Array(HEADER_BYTES);
const headerView = new DataView(header.buffer);
const NOTHING = Buffer.alloc(0);
const MIN_SEGMENT_BYTES = 512;
const MAX_SEGMENT_BYTES = 64 * 1024;

interface Segment {
  readonly bytes: Buffer;
  /** The memory of its bytes. */
  readonly memory: ArrayBufferLike;
  used: number;
  /** Offset of its first entry. */
  readonly firstOffset: number;
  count: number;
}

/**
 * The last publications of one device as bytes in append-only segments: no object per publication, so that millions of them cost the
 * garbage collector nothing (measured: with an object each, ingest without watchers cost three times as much). Segments are never
 * overwritten, so views into them stay valid. The newest entry is always kept: it is the last value.
 */
export class HistoryLog {
  /** Offset of the newest publication; 0 before the first. */
  newest = 0;
  /** Bytes of all segments, used or not: the memory of this device's history. */
  allocatedBytes = 0;
  private readonly segments: Segment[] = [];
  /** The last segment. */
  private tail: Segment | null = null;
  /** The oldest entry: its place in the first segment, its offset and time, and the payload and header bytes from there on. */
  private oldestAt = 0;
  private oldest = 1;
  private oldestTs = 0;
  private liveBytes = 0;
  private newestAt = 0;

  /** Offset of the oldest publication that is kept; newest + 1 when there is none. */
  get oldestOffset(): number {
    return this.oldest;
  }

  /** Metadata version of the oldest publication; undefined before the first. */
  get oldestMetaVersion(): number | undefined {
    return this.segments[0]?.bytes.readUInt32LE(this.oldestAt + 8);
  }

  /** Drops publications with metadata of an earlier version, but never the newest publication. */
  dropBefore(metaVersion: number): void {
    while (this.oldest < this.newest && (this.oldestMetaVersion as number) < metaVersion) {
      this.dropOldest(this.segments[0] as Segment);
    }
  }

  /** Appends a publication and drops what exceeds the limits. @returns its offset */
  append(
    payload: Buffer,
    serverTs: number,
    metaVersion: number,
    packetId: number,
    limits: HistoryLimits,
  ): number {
    const size = HEADER_BYTES + payload.length;
    const segment = this.segmentFor(size);
    const { bytes } = segment;
    const at = segment.used;
    // Written by a DataView: the methods of Buffer check every value and take twice the time.
    headerView.setFloat64(0, serverTs, true);
    headerView.setUint32(8, metaVersion, true);
    headerView.setUint32(12, payload.length, true);
    headerView.setUint16(16, packetId, true);
    bytes.set(header, at);
    bytes.set(payload, at + HEADER_BYTES);
    segment.used = at + size;
    segment.count += 1;
    this.newestAt = at;
    this.newest += 1;
    if (this.oldest === this.newest) {
      this.oldestTs = serverTs;
    }
    this.liveBytes += size;
    this.trim(serverTs, limits);
    return this.newest;
  }

  /** Drops what exceeds the limits, but never the newest publication. */
  trim(now: number, limits: HistoryLimits): void {
    while (this.oldest < this.newest) {
      const tooMany = this.newest - this.oldest + 1 > limits.maxPublications;
      if (!tooMany && this.liveBytes <= limits.maxBytes && this.oldestTs >= now - limits.maxAgeMs) {
        return;
      }
      this.dropOldest(this.segments[0] as Segment);
    }
  }

  /** Drops the oldest segment (all but the newest entry), for the bound over all devices. @returns publications dropped */
  evict(): number {
    const before = this.oldest;
    const first = this.segments[0];
    while (this.oldest < this.newest && this.segments[0] === first) {
      this.dropOldest(first as Segment);
    }
    return this.oldest - before;
  }

  /** The newest publication, or undefined before the first. */
  last(): HistoryEntry | undefined {
    return this.tail === null ? undefined : entryAt(this.tail, this.newestAt, this.newest);
  }

  /** Payload of the newest publication; empty before the first. */
  lastPayload(): Buffer {
    const { tail } = this;
    if (tail === null) {
      return NOTHING;
    }
    const start = this.newestAt + HEADER_BYTES;
    return viewOf(tail.memory, start, tail.used - start);
  }

  /** Publications directly after `offset`, oldest first; undefined when some of them were dropped. */
  after(offset: number, maxCount: number): HistoryEntry[] | undefined {
    if (offset + 1 < this.oldest || offset > this.newest) {
      return undefined;
    }
    const entries: HistoryEntry[] = [];
    for (const segment of this.segments) {
      if (segment.firstOffset + segment.count <= offset + 1) {
        continue;
      }
      let at = 0;
      for (let index = 0; index < segment.count && entries.length < maxCount; index += 1) {
        const current = segment.firstOffset + index;
        if (current > offset) {
          entries.push(entryAt(segment, at, current));
        }
        at += HEADER_BYTES + segment.bytes.readUInt32LE(at + 12);
      }
    }
    return entries;
  }

  /** Offset of the oldest publication that is kept and was received at or after `serverTs`; the newest's if there is none. */
  oldestSince(serverTs: number): number {
    let offset = this.oldest;
    let at = this.oldestAt;
    for (const segment of this.segments) {
      const end = segment.firstOffset + segment.count;
      for (; offset < end; offset += 1) {
        if (segment.bytes.readDoubleLE(at) >= serverTs) {
          return offset;
        }
        at += HEADER_BYTES + segment.bytes.readUInt32LE(at + 12);
      }
      at = 0;
    }
    return this.newest;
  }

  private segmentFor(size: number): Segment {
    const last = this.tail;
    if (last !== null && last.used + size <= last.bytes.length) {
      return last;
    }
    // As large as what is kept now, so that a slow device holds little and a fast one has few segments.
    const wanted = Math.min(Math.max(this.liveBytes, MIN_SEGMENT_BYTES), MAX_SEGMENT_BYTES);
    const bytes = Buffer.allocUnsafeSlow(Math.max(wanted, size));
    const segment: Segment = { bytes, memory: bytes.buffer, used: 0, firstOffset: this.newest + 1, count: 0 };
    this.segments.push(segment);
    this.tail = segment;
    this.allocatedBytes += bytes.length;
    return segment;
  }

  private dropOldest(segment: Segment): void {
    const size = HEADER_BYTES + segment.bytes.readUInt32LE(this.oldestAt + 12);
    this.oldestAt += size;
    this.liveBytes -= size;
    this.oldest += 1;
    if (this.oldest >= segment.firstOffset + segment.count) {
      this.segments.shift();
      this.allocatedBytes -= segment.bytes.length;
      this.oldestAt = 0;
    }
    const first = this.segments[0];
    if (first !== undefined) {
      this.oldestTs = first.bytes.readDoubleLE(this.oldestAt);
    }
  }
}

function entryAt(segment: Segment, at: number, offset: number): HistoryEntry {
  const { bytes } = segment;
  const start = at + HEADER_BYTES;
  return {
    offset,
    serverTs: bytes.readDoubleLE(at),
    metaVersion: bytes.readUInt32LE(at + 8),
    packetId: bytes.readUInt16LE(at + 16),
    payload: bytes.subarray(start, start + bytes.readUInt32LE(at + 12)),
  };
}
