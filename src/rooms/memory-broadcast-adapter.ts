import { randomBytes } from 'node:crypto';
import type { Config } from '../config/config.js';
import type { Metrics } from '../metrics/metrics.js';
import type { Position } from '../protocol/client-messages.js';
import { BroadcastAdapter, type BroadcastReceiver, type HistoryPage } from './broadcast-adapter.js';
import type { DeviceMessage } from './device-message.js';
import type { HistoryLimits } from './history-log.js';
import { MemoryRoom } from './memory-room.js';
import type { DeviceStatus, MetaBytes, RoomState } from './publication.js';

const SWEEP_INTERVAL_MS = 5_000;

/** Rooms in the memory of this process: one instance, nothing outside it. Numbering starts anew with every process. */
export class MemoryBroadcastAdapter extends BroadcastAdapter {
  readonly healthy = true;
  private receiver: BroadcastReceiver | null = null;
  private readonly rooms = new Map<string, MemoryRoom>();
  private readonly epochBase = randomBytes(9).toString('base64url');
  private epochs = 0;
  private watched = false;
  private historyBytes = 0;
  private evicting: IterableIterator<MemoryRoom> | null = null;
  private sweeper: NodeJS.Timeout | null = null;
  private readonly historyLimits: HistoryLimits;

  /** @param now Unix ms; replaced in tests */
  constructor(
    private readonly limits: Config['rooms'],
    private readonly metrics: Metrics,
    private readonly now: () => number = Date.now,
  ) {
    super();
    this.historyLimits = {
      maxPublications: limits.historyMaxPublications,
      maxAgeMs: limits.historyMaxAgeMs,
      maxBytes: limits.historyMaxBytes,
    };
    Object.assign(metrics.devicesKnown, { collect: () => metrics.devicesKnown.set(this.rooms.size) });
    Object.assign(metrics.historyBytes, { collect: () => metrics.historyBytes.set(this.historyBytes) });
  }

  get roomCount(): number {
    return this.rooms.size;
  }

  bind(receiver: BroadcastReceiver): void {
    this.receiver = receiver;
  }

  start(): Promise<void> {
    this.sweeper = setInterval(() => this.sweep(), SWEEP_INTERVAL_MS);
    this.sweeper.unref();
    return Promise.resolve();
  }

  stop(): Promise<void> {
    if (this.sweeper !== null) {
      clearInterval(this.sweeper);
      this.sweeper = null;
    }
    return Promise.resolve();
  }

  publish(message: DeviceMessage): void {
    const room = this.roomOf(message.deviceId);
    if (room === undefined) {
      message.settle('refused');
      return;
    }
    if (message.dup && this.isStored(room, message)) {
      message.settle('duplicate');
      return;
    }
    const { log } = room;
    this.announceIfNew(room);
    const before = log.allocatedBytes;
    log.append(message.payload, message.receivedAt, room.metaVersion, message.packetId, this.historyLimits);
    room.touchedAt = message.receivedAt;
    if (log.allocatedBytes !== before) {
      this.historyBytes += log.allocatedBytes - before;
      if (this.historyBytes > this.limits.historyTotalMaxBytes) {
        this.evict();
      }
    }
    if (room.attached) {
      this.receiver?.onPublication(room.newest(message.receivedAt), message.receivedMono);
    }
    message.settle('accepted');
  }

  fillTelemetry(deviceId: string, payload: Buffer, receivedAt: number): void {
    const room = this.roomOf(deviceId);
    if (room === undefined || room.log.newest > 0 || room.filled !== null) {
      return;
    }
    this.announceIfNew(room);
    room.touchedAt = receivedAt;
    room.filled = {
      deviceId,
      epoch: room.epoch,
      offset: 0,
      serverTs: receivedAt,
      payload: Buffer.from(payload),
      meta: room.meta,
    };
    this.showFilled(room);
  }

  setStatus(deviceId: string, status: DeviceStatus, onlyIfUnknown: boolean): Promise<void> {
    const room = this.roomOf(deviceId);
    if (room !== undefined) {
      const known = room.status;
      const repeat =
        known !== null && known.isOnline === status.isOnline && known.lastSeen === status.lastSeen;
      if (!repeat && !(onlyIfUnknown && known !== null)) {
        this.announceIfNew(room);
        room.status = status;
        room.touchedAt = this.now();
        if (room.attached) {
          this.receiver?.onStatus(deviceId, status);
        }
      }
    }
    return Promise.resolve();
  }

  setMeta(deviceId: string, meta: MetaBytes): Promise<void> {
    const room = this.roomOf(deviceId);
    if (room !== undefined) {
      const known = room.meta;
      const same = known === null || meta === null ? known === meta : known.equals(meta);
      if (!same) {
        this.announceIfNew(room);
        room.meta = meta === null ? null : Buffer.from(meta);
        room.touchedAt = this.now();
        if (room.attached) {
          this.receiver?.onMeta(deviceId, room.meta);
        }
      }
    }
    return Promise.resolve();
  }

  attach(deviceIds: readonly string[]): Promise<RoomState[]> {
    return Promise.resolve(
      deviceIds.map((deviceId) => {
        const room = this.rooms.get(deviceId) ?? this.create(deviceId);
        room.attached = true;
        return room.state();
      }),
    );
  }

  detach(deviceId: string): void {
    const room = this.rooms.get(deviceId);
    if (room === undefined) {
      return;
    }
    room.attached = false;
    room.touchedAt = this.now();
    if (room.empty) {
      this.rooms.delete(deviceId);
    }
  }

  watchDevices(): Promise<readonly string[]> {
    this.watched = true;
    return Promise.resolve(
      [...this.rooms.values()].filter((room) => !room.empty).map(({ deviceId }) => deviceId),
    );
  }

  history(deviceId: string, after: Position, maxPublications: number): Promise<HistoryPage | null> {
    const room = this.rooms.get(deviceId);
    if (room === undefined || room.epoch !== after.epoch) {
      return Promise.resolve(null);
    }
    room.log.trim(this.now(), this.historyLimits);
    const entries = room.log.after(after.offset, maxPublications);
    if (entries === undefined || (entries.length > 0 && this.historyLimits.maxPublications === 0)) {
      return Promise.resolve(null);
    }
    return Promise.resolve({
      publications: entries.map((entry) => room.publication(entry)),
      newest: room.log.newest,
    });
  }

  /** A retained value that arrives while somebody watches is shown like a snapshot: it is no publication. */
  private showFilled(room: MemoryRoom): void {
    if (room.attached) {
      this.receiver?.onReset(room.state());
    }
  }

  /** Called just before the room stops being empty. */
  private announceIfNew(room: MemoryRoom): void {
    if (this.watched && room.empty) {
      // After the message that made it known is stored, so that whoever joins on this word finds it.
      queueMicrotask(() => this.receiver?.onDevice(room.deviceId));
    }
  }

  private roomOf(deviceId: string): MemoryRoom | undefined {
    const room = this.rooms.get(deviceId);
    if (room !== undefined) {
      return room;
    }
    return this.rooms.size >= this.limits.maxDevices ? undefined : this.create(deviceId);
  }

  private create(deviceId: string): MemoryRoom {
    this.epochs += 1;
    const room = new MemoryRoom(deviceId, `${this.epochBase}.${this.epochs.toString(36)}`);
    room.touchedAt = this.now();
    this.rooms.set(deviceId, room);
    return room;
  }

  /** Only a packet sent again (DUP) can be a duplicate; equal payloads without it are two publications. */
  private isStored(room: MemoryRoom, message: DeviceMessage): boolean {
    const entries = room.log.after(room.log.oldestOffset - 1, Number.MAX_SAFE_INTEGER) ?? [];
    return entries.some(
      ({ packetId, payload }) => packetId === message.packetId && payload.equals(message.payload),
    );
  }

  private evict(): void {
    // Round robin over all devices, so that no device pays for another's flood alone.
    for (
      let tries = this.rooms.size;
      tries > 0 && this.historyBytes > this.limits.historyTotalMaxBytes;
      tries -= 1
    ) {
      let next = this.evicting?.next();
      if (next === undefined || next.done === true) {
        this.evicting = this.rooms.values();
        next = this.evicting.next();
      }
      const room = next.value as MemoryRoom | undefined;
      if (room !== undefined) {
        const before = room.log.allocatedBytes;
        this.metrics.historyEvicted.inc(room.log.evict());
        this.historyBytes += room.log.allocatedBytes - before;
      }
    }
  }

  private sweep(): void {
    const now = this.now();
    const forgetBefore = now - this.limits.deviceExpiryS * 1000;
    for (const room of this.rooms.values()) {
      const before = room.log.allocatedBytes;
      room.log.trim(now, this.historyLimits);
      this.historyBytes += room.log.allocatedBytes - before;
      if (!room.attached && room.touchedAt < forgetBefore) {
        this.historyBytes -= room.log.allocatedBytes;
        this.rooms.delete(room.deviceId);
      }
    }
  }
}
