import { randomBytes } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Config } from '../../config/config.js';
import { walled } from '../../logging/walls.js';
import { mirrorGauge } from '../../metrics/hot-counters.js';
import type { Metrics } from '../../metrics/metrics.js';
import type { Position, Rewind } from '../../protocol/client-messages.js';
import { ProtocolError } from '../../protocol/errors.js';
import { tracing } from '../../tracing/tracing.js';
import {
  BroadcastAdapter,
  type BroadcastReceiver,
  type DeviceMessage,
  type DeviceStatus,
  type HistoryPage,
  isRepeat,
  type LastHeard,
  type MetaBytes,
  type RoomState,
  type TelemetryBase,
  type StateOutcome,
} from '../broadcast-adapter.js';
import { MemoryEdgeNodes } from '../edge-nodes.js';
import { isStored, MemoryHistory, MemoryRoom } from './memory-room.js';

/** Ids that are given at once. */
const IDS_PER_BATCH = 5_000;
const SWEEP_INTERVAL_MS = 5_000;

/** Rooms in the memory of this process, for one instance. Epochs are new with every process. */
export class MemoryBroadcastAdapter extends BroadcastAdapter {
  readonly healthy = true;
  readonly edgeNodes: MemoryEdgeNodes;
  private receiver: BroadcastReceiver | null = null;
  private readonly rooms = new Map<string, MemoryRoom>();
  /** Rooms of known devices; the others exist because somebody watches. Each kind is bounded by MAX_DEVICES. */
  private known = 0;
  private readonly epochBase = randomBytes(9).toString('base64url');
  private epochs = 0;
  private watched = false;
  private sweeper: NodeJS.Timeout | null = null;
  private readonly histories: MemoryHistory;

  /** @param now Unix ms; replaced in tests */
  constructor(
    private readonly limits: Config['rooms'],
    metrics: Metrics,
    private readonly now: () => number = Date.now,
  ) {
    super();
    this.edgeNodes = new MemoryEdgeNodes(limits.maxDevices);
    this.histories = new MemoryHistory(this.rooms, limits, metrics);
    mirrorGauge(metrics.devicesKnown, () => this.known);
  }

  get roomCount(): number {
    return this.rooms.size;
  }

  bind(receiver: BroadcastReceiver): void {
    this.receiver = receiver;
  }

  start(): Promise<void> {
    this.sweeper = setInterval(
      walled('room', () => this.sweep()),
      SWEEP_INTERVAL_MS,
    );
    this.sweeper.unref();
    return Promise.resolve();
  }

  stop(): Promise<void> {
    if (this.sweeper !== null) {
      clearInterval(this.sweeper);
      this.sweeper = null;
    }
    this.rooms.forEach((room) => room.forgetMemo());
    return Promise.resolve();
  }

  publish(message: DeviceMessage): void {
    const room = this.roomFor(message);
    if (room === undefined) {
      message.settle('refused');
      return;
    }
    if (message.dup && isStored(room, message)) {
      message.settle('duplicate');
      return;
    }
    this.becomesKnown(room);
    this.histories.append(room, message);
    room.touchedAt = message.receivedAt;
    if (room.attached) {
      this.receiver?.onPublication(room.appended(message.receivedAt), message.receivedMono, room);
      if (tracing.on) {
        this.tellTraced(message);
      }
    }
    message.settle('accepted');
  }

  private tellTraced(message: DeviceMessage): void {
    const traceparent = tracing.of(message);
    if (traceparent !== undefined) {
      this.receiver?.onTraced?.(message.deviceId, traceparent, message.receivedAt);
    }
  }

  fillTelemetry(deviceId: string, payload: Buffer, receivedAt: number): void {
    const room = this.roomOf(deviceId);
    if (room === undefined || room.log.newest > 0 || room.filled !== null) {
      return;
    }
    this.becomesKnown(room);
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

  base(deviceId: string): TelemetryBase | null {
    return this.rooms.get(deviceId)?.base() ?? null;
  }

  /** Some thousand in one turn of the event loop: a fleet may be large. */
  async eachDevice(take: (device: LastHeard) => void): Promise<void> {
    let looked = 0;
    for (const room of this.rooms.values()) {
      looked += 1;
      if (looked % IDS_PER_BATCH === 0) {
        await nextTurn();
      }
      if (!room.empty) {
        const { deviceId, status } = room;
        take({ deviceId, status, telemetryAt: room.newest()?.serverTs ?? 0 });
      }
    }
  }

  setStatus(deviceId: string, status: DeviceStatus, onlyIfUnknown: boolean): Promise<StateOutcome> {
    const room = this.roomOf(deviceId);
    if (room === undefined) {
      return Promise.resolve('refused');
    }
    const known = room.status;
    if (!isRepeat(known, status) && !(onlyIfUnknown && known !== null)) {
      this.becomesKnown(room);
      room.status = status;
      room.touchedAt = this.now();
      if (room.attached) {
        this.receiver?.onStatus(deviceId, status);
      }
    }
    return Promise.resolve();
  }

  setMeta(deviceId: string, meta: MetaBytes): Promise<StateOutcome> {
    const room = meta === null ? this.rooms.get(deviceId) : this.roomOf(deviceId);
    if (room === undefined && meta !== null) {
      return Promise.resolve('refused');
    }
    if (room !== undefined) {
      const known = room.meta;
      const same = known === null || meta === null ? known === meta : known.equals(meta);
      if (!same) {
        this.becomesKnown(room);
        this.histories.setMeta(room, meta === null ? null : Buffer.from(meta));
        room.touchedAt = this.now();
        if (room.attached) {
          this.receiver?.onMeta(deviceId, room.meta);
        }
        if (room.empty) {
          this.nothingKnown(room);
        }
      }
    }
    return Promise.resolve();
  }

  /** @throws {ProtocolError} too_many_rooms: MAX_DEVICES unknown devices are watched already */
  attach(deviceIds: readonly string[]): Promise<RoomState[]> {
    let watchedOnly = this.rooms.size - this.known;
    for (const deviceId of deviceIds) {
      watchedOnly += this.rooms.has(deviceId) ? 0 : 1;
    }
    if (watchedOnly > this.limits.maxDevices && deviceIds.some((deviceId) => !this.rooms.has(deviceId))) {
      return Promise.reject(
        new ProtocolError('too_many_rooms', 'Too many devices are watched of which nothing is known'),
      );
    }
    return Promise.resolve(deviceIds.map((deviceId) => this.attachRoom(deviceId)));
  }

  /** The same for one room, without the bound: its watcher was admitted elsewhere. */
  attachRoom(deviceId: string): RoomState {
    const room = this.rooms.get(deviceId) ?? this.create(deviceId);
    room.attached = true;
    return room.state();
  }

  detach(deviceId: string): void {
    const room = this.rooms.get(deviceId);
    if (room === undefined) {
      return;
    }
    room.attached = false;
    room.found = null;
    room.touchedAt = this.now();
    if (room.empty) {
      this.letGo(room);
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
    return Promise.resolve(this.histories.page(room, after.offset, maxPublications, this.now()));
  }

  rewind(rooms: readonly { deviceId: string; epoch: string }[], range: Rewind): Promise<(number | null)[]> {
    return Promise.resolve(
      rooms.map(({ deviceId, epoch }) => {
        const room = this.rooms.get(deviceId);
        return room?.epoch === epoch ? this.histories.rewind(room, range, this.now()) : null;
      }),
    );
  }

  read(deviceIds: readonly string[]): Promise<(RoomState | null)[]> {
    return Promise.resolve(
      deviceIds.map((deviceId) => {
        const room = this.rooms.get(deviceId);
        return room === undefined || room.empty ? null : room.state();
      }),
    );
  }

  // Asynchronous as where the ids are elsewhere.
  // eslint-disable-next-line @typescript-eslint/require-await
  async *deviceIds(): AsyncIterable<readonly string[]> {
    let batch: string[] = [];
    for (const room of this.rooms.values()) {
      if (!room.empty && batch.push(room.deviceId) === IDS_PER_BATCH) {
        yield batch;
        batch = [];
      }
    }
    yield batch;
  }

  /** A retained value that arrives while somebody watches is shown by a reset: it is no publication. */
  private showFilled(room: MemoryRoom): void {
    if (room.attached) {
      this.receiver?.onReset(room.state());
    }
  }

  /** Called just before a device becomes known. */
  private becomesKnown(room: MemoryRoom): void {
    if (!room.empty) {
      return;
    }
    this.known += 1;
    if (this.watched) {
      // Announced after the message is stored, so that a client that joins at once finds it.
      queueMicrotask(walled('room', () => this.receiver?.onDevice(room.deviceId)));
    }
  }

  /** Called when a device becomes unknown. */
  private nothingKnown(room: MemoryRoom): void {
    this.known -= 1;
    if (!room.attached) {
      this.letGo(room);
    }
  }

  private roomFor({ memo, deviceId }: DeviceMessage): MemoryRoom | undefined {
    const known = memo === undefined ? null : memo.found;
    if (known instanceof MemoryRoom && known.home === this.rooms) {
      return known;
    }
    const room = this.roomOf(deviceId);
    if (memo !== undefined) {
      room?.remember(memo);
    }
    return room;
  }

  /** The room of a device that is known, or becomes known in this step; undefined over MAX_DEVICES. */
  private roomOf(deviceId: string): MemoryRoom | undefined {
    const room = this.rooms.get(deviceId);
    if (room !== undefined && !room.empty) {
      return room;
    }
    return this.known >= this.limits.maxDevices ? undefined : (room ?? this.create(deviceId));
  }

  private create(deviceId: string): MemoryRoom {
    this.epochs += 1;
    const room = new MemoryRoom(deviceId, `${this.epochBase}.${this.epochs.toString(36)}`, this.rooms);
    room.touchedAt = this.now();
    this.rooms.set(deviceId, room);
    return room;
  }

  private letGo(room: MemoryRoom): void {
    this.histories.forget(room);
    this.rooms.delete(room.deviceId);
    room.forgetMemo();
  }

  private sweep(): void {
    const now = this.now();
    const forgetBefore = now - this.limits.deviceExpiryS * 1000;
    for (const room of this.rooms.values()) {
      this.histories.trim(room, now);
      if (!room.attached && room.touchedAt < forgetBefore) {
        this.known -= room.empty ? 0 : 1;
        this.letGo(room);
      }
    }
  }
}
