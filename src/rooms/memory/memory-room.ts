import type { Config } from '../../config/config.js';
import { mirrorGauge } from '../../metrics/hot-counters.js';
import type { Metrics } from '../../metrics/metrics.js';
import type { Rewind } from '../../protocol/client-messages.js';
import type {
  DeviceMemo,
  DeviceMessage,
  DeviceStatus,
  HistoryPage,
  MetaBytes,
  Publication,
  RoomOrigin,
  RoomState,
  TelemetryBase,
} from '../broadcast-adapter.js';
import { type HistoryEntry, type HistoryLimits, historyLimits, HistoryLog } from './history-log.js';

interface MetaVersion {
  version: number;
  meta: MetaBytes;
}

/** Versions of metadata that a room keeps; the same as in Redis. */
const MAX_META_VERSIONS = 16;

/** All that memory mode keeps of one device. */
export class MemoryRoom implements RoomOrigin {
  readonly log = new HistoryLog();
  found: object | null = null;
  attached = false;
  /** Back reference to the topic's memo, at most one, so that a deleted room is not kept alive by the topic cache. */
  private memo: DeviceMemo | null = null;
  status: DeviceStatus | null = null;
  /** A retained value that was never a publication here. */
  filled: Publication | null = null;
  /** {@link DeviceMessage.untransformed} of the newest publication. */
  untransformed: Buffer | null = null;
  /** Unix ms of the last message or detach. */
  touchedAt = 0;
  /** Metadata of the publications in history, newest last: each publication keeps the metadata it was published with. */
  private readonly metas: MetaVersion[] = [{ version: 0, meta: null }];
  private current = this.metas[0] as MetaVersion;
  private metaBytes = 0;

  /** @param home all rooms of the adapter */
  constructor(
    readonly deviceId: string,
    readonly epoch: string,
    readonly home: ReadonlyMap<string, MemoryRoom>,
  ) {}

  /** Messages with this memo find the room without a lookup, until {@link forgetMemo}. */
  remember(memo: DeviceMemo): void {
    this.forgetMemo();
    this.memo = memo;
    memo.found = this;
  }

  forgetMemo(): void {
    if (this.memo?.found === this) {
      this.memo.found = null;
    }
    this.memo = null;
  }

  get meta(): MetaBytes {
    return this.current.meta;
  }

  /** Bytes of the room: history, versions of metadata and the state before TRANSFORM_FILE. */
  get heldBytes(): number {
    return this.log.allocatedBytes + this.metaBytes + (this.untransformed?.length ?? 0);
  }

  /**
   * Sets new metadata. The versions used by publications in history are kept, newest first, within {@link MAX_META_VERSIONS} and
   * `limits.maxBytes`; publications with older versions are dropped. The version of the newest publication is always kept.
   */
  setMeta(meta: MetaBytes, limits: Pick<HistoryLimits, 'maxBytes'>): void {
    const old = this.current;
    this.current = { version: old.version + 1, meta };
    if (this.log.last()?.metaVersion !== old.version) {
      this.metas.pop(); // no publication uses it
      this.metaBytes -= old.meta?.length ?? 0;
    }
    this.metas.push(this.current);
    this.metaBytes += meta?.length ?? 0;
    this.dropMetas();
    // The last two are the newest version and that of the newest publication.
    while (
      this.metas.length > 2 &&
      (this.metas.length > MAX_META_VERSIONS || this.metaBytes > limits.maxBytes)
    ) {
      this.log.dropBefore((this.metas[1] as MetaVersion).version);
      this.dropFirstMeta();
    }
  }

  /** Drops metadata versions that no publication in history uses any more. */
  dropMetas(): void {
    if (this.metas.length === 1) {
      return;
    }
    const oldest = this.log.oldestMetaVersion ?? this.current.version;
    while (this.metas.length > 1 && (this.metas[1] as MetaVersion).version <= oldest) {
      this.dropFirstMeta();
    }
  }

  private dropFirstMeta(): void {
    this.metaBytes -= this.metas.shift()?.meta?.length ?? 0;
  }

  get metaVersion(): number {
    return this.current.version;
  }

  /** Nothing is known of the device: the room exists only because somebody watches. */
  get empty(): boolean {
    return this.log.newest === 0 && this.status === null && this.filled === null && this.meta === null;
  }

  /** The newest publication, or a retained value that never was one. */
  newest(): Publication | null {
    const last = this.log.last();
    return last === undefined ? this.filled : this.publication(last);
  }

  /** The publication that was just appended, received at `serverTs`. */
  appended(serverTs: number): Publication {
    const { deviceId, epoch, log } = this;
    return {
      deviceId,
      epoch,
      offset: log.newest,
      serverTs,
      payload: log.lastPayload(),
      meta: this.current.meta,
    };
  }

  publication(entry: HistoryEntry): Publication {
    return {
      deviceId: this.deviceId,
      epoch: this.epoch,
      offset: entry.offset,
      serverTs: entry.serverTs,
      payload: entry.payload,
      meta: this.metaOf(entry.metaVersion),
    };
  }

  base(): TelemetryBase | null {
    const { untransformed } = this;
    const shown = this.newest()?.payload;
    return shown === undefined ? null : { shown, untransformed, current: untransformed !== null };
  }

  state(): RoomState {
    return {
      deviceId: this.deviceId,
      epoch: this.epoch,
      offset: this.log.newest,
      telemetry: this.newest(),
      status: this.status,
      meta: this.meta,
    };
  }

  private metaOf(version: number): MetaBytes {
    for (let at = this.metas.length - 1; at >= 0; at -= 1) {
      const entry = this.metas[at] as MetaVersion;
      if (entry.version === version) {
        return entry.meta;
      }
    }
    return null;
  }
}

/** The histories of all rooms in memory: each within its own limits, and all within a common bound. */
export class MemoryHistory {
  private bytes = 0;
  private evicting: IterableIterator<MemoryRoom> | null = null;
  private readonly maxBytes: number;
  /** Bytes over which history is dropped. */
  private evictAt: number;
  private readonly limits: HistoryLimits;

  constructor(
    private readonly rooms: ReadonlyMap<string, MemoryRoom>,
    limits: Config['rooms'],
    private readonly metrics: Metrics,
  ) {
    this.maxBytes = limits.historyTotalMaxBytes;
    this.evictAt = this.maxBytes;
    this.limits = historyLimits(limits);
    mirrorGauge(metrics.historyBytes, () => this.bytes);
  }

  /** Stores the next publication of a room. */
  append(room: MemoryRoom, { payload, receivedAt, packetId, untransformed }: DeviceMessage): void {
    const { log } = room;
    const before = room.heldBytes;
    log.append(payload, receivedAt, room.metaVersion, packetId, this.limits);
    room.untransformed = untransformed ?? null;
    room.dropMetas();
    this.account(room, before);
  }

  /** Sets new metadata of a room; its publications keep theirs. */
  setMeta(room: MemoryRoom, meta: MetaBytes): void {
    const before = room.heldBytes;
    room.setMeta(meta, this.limits);
    this.account(room, before);
  }

  private account(room: MemoryRoom, before: number): void {
    if (room.heldBytes !== before) {
      this.bytes += room.heldBytes - before;
      if (this.bytes > this.evictAt) {
        this.evict();
        // Only the newest publication of each device is left: try again when there is more.
        this.evictAt = this.bytes > this.maxBytes ? this.bytes + this.maxBytes / 64 : this.maxBytes;
      }
    }
  }

  /** Publications directly after `offset`; null when some of them were dropped. */
  page(room: MemoryRoom, offset: number, maxPublications: number, now: number): HistoryPage | null {
    this.trim(room, now);
    const entries = room.log.after(offset, maxPublications);
    if (entries === undefined || (entries.length > 0 && this.limits.maxPublications === 0)) {
      return null;
    }
    return {
      publications: entries.map((entry) => room.publication(entry)),
      newest: room.log.newest,
    };
  }

  /** The offset before the first publication within a range; null if no history is kept. */
  rewind(room: MemoryRoom, { count, ms }: Rewind, now: number): number | null {
    const { log } = room;
    if (log.newest === 0) {
      return 0;
    }
    if (this.limits.maxPublications === 0) {
      return null;
    }
    this.trim(room, now);
    const first = ms === undefined ? log.oldestOffset : log.oldestSince(now - ms);
    return Math.max(first, count === undefined ? 1 : log.newest - count + 1) - 1;
  }

  /** Drops what exceeds the limits of a room, which may have been silent since. */
  trim(room: MemoryRoom, now: number): void {
    const before = room.heldBytes;
    room.log.trim(now, this.limits);
    room.dropMetas();
    this.bytes += room.heldBytes - before;
  }

  /** The room is deleted with its history. */
  forget(room: MemoryRoom): void {
    this.bytes -= room.heldBytes;
  }

  private evict(): void {
    // Round robin over all devices, so that no device alone pays for another's flood.
    for (let tries = this.rooms.size; tries > 0 && this.bytes > this.maxBytes; tries -= 1) {
      let next = this.evicting?.next();
      if (next === undefined || next.done === true) {
        this.evicting = this.rooms.values();
        next = this.evicting.next();
      }
      const room = next.value as MemoryRoom | undefined;
      if (room !== undefined) {
        const before = room.heldBytes;
        this.metrics.historyEvicted.inc(room.log.evict());
        room.dropMetas();
        this.bytes += room.heldBytes - before;
      }
    }
  }
}

/** Only a packet with DUP can be a duplicate; equal payloads without it are two publications. */
export function isStored(room: MemoryRoom, message: DeviceMessage): boolean {
  const entries = room.log.after(room.log.oldestOffset - 1, Number.MAX_SAFE_INTEGER) ?? [];
  return entries.some(
    ({ packetId, payload }) => packetId === message.packetId && payload.equals(message.payload),
  );
}
