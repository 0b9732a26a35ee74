import type { Config } from '../../config/config.js';
import type { Metrics } from '../../metrics/metrics.js';
import { mirrorGauge } from '../../metrics/mirror.js';
import type { HistoryPage } from '../broadcast-adapter.js';
import type { DeviceMessage } from '../device-message.js';
import type { HistoryLimits } from './history-log.js';
import type { MemoryRoom } from './memory-room.js';
import type { MetaBytes } from '../publication.js';

/** The histories of all rooms in memory: each within its own limits, and together within the bound over all devices. */
export class MemoryHistory {
  private bytes = 0;
  private evicting: IterableIterator<MemoryRoom> | null = null;
  private readonly maxBytes: number;
  /** Over so many bytes history is dropped. */
  private evictAt: number;
  private readonly limits: HistoryLimits;

  constructor(
    private readonly rooms: ReadonlyMap<string, MemoryRoom>,
    limits: Config['rooms'],
    private readonly metrics: Metrics,
  ) {
    this.maxBytes = limits.historyTotalMaxBytes;
    this.evictAt = this.maxBytes;
    this.limits = {
      maxPublications: limits.historyMaxPublications,
      maxAgeMs: limits.historyMaxAgeMs,
      maxBytes: limits.historyMaxBytes,
    };
    mirrorGauge(metrics.historyBytes, () => this.bytes);
  }

  /** Stores the next publication of a room. */
  append(room: MemoryRoom, { payload, receivedAt, packetId }: DeviceMessage): void {
    const { log } = room;
    const before = room.heldBytes;
    log.append(payload, receivedAt, room.metaVersion, packetId, this.limits);
    room.dropMetas();
    this.account(room, before);
  }

  /** Takes new metadata of a room; publications keep theirs. */
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
        // What is left is the newest of each device: it is looked through again when there is more.
        this.evictAt = this.bytes > this.maxBytes ? this.bytes + this.maxBytes / 64 : this.maxBytes;
      }
    }
  }

  /** Publications directly after `offset`; null when some of them are gone. */
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

  /** Lets go of what is over the limits of the room, which may have been silent since. */
  trim(room: MemoryRoom, now: number): void {
    const before = room.heldBytes;
    room.log.trim(now, this.limits);
    room.dropMetas();
    this.bytes += room.heldBytes - before;
  }

  /** The room goes, and its history with it. */
  forget(room: MemoryRoom): void {
    this.bytes -= room.heldBytes;
  }

  private evict(): void {
    // Round robin over all devices, so that no device pays for another's flood alone.
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

/** Only a packet sent again (DUP) can be a duplicate; equal payloads without it are two publications. */
export function isStored(room: MemoryRoom, message: DeviceMessage): boolean {
  const entries = room.log.after(room.log.oldestOffset - 1, Number.MAX_SAFE_INTEGER) ?? [];
  return entries.some(
    ({ packetId, payload }) => packetId === message.packetId && payload.equals(message.payload),
  );
}
