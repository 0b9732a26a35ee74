import type { Config } from '../config/config.js';
import { ReturnLostError, type StoreMode } from '../ingest/ports.js';
import { background } from '../logging/walls.js';
import { mirrorGauge } from '../metrics/hot-counters.js';
import type { Metrics } from '../metrics/metrics.js';
import type { BroadcastReceiver, LastHeard, RoomState } from '../rooms/broadcast-adapter.js';
import { MemoryBroadcastAdapter } from '../rooms/memory/memory-adapter.js';
import type { AttachedRoom } from './rooms/attached-room.js';
import type { AttachedRooms } from './rooms/attached-rooms.js';
import type { DeviceWatch } from './rooms/device-watch.js';
import type { RedisStore } from './rooms/redis-store.js';
import type { StoreNodes } from './rooms/cluster.js';

/** Log lines of the adapter. */
export interface AdapterLog {
  log(message: string, facts?: object): void;
  warn(message: string, facts?: object): void;
}

/**
 * Decides whether rooms are in the store or, while Redis is away, in this process, and moves them between the two. It goes local by itself;
 * when to return is decided by ingest (src/ingest/away.ts), which has to bring the broker's queue into the store first.
 */
export class ModeSwitch {
  mode: StoreMode = 'store';
  reachable = false;
  private local: MemoryBroadcastAdapter | null = null;
  /** Incremented when a return to the store begins or is given up. */
  private returns = 0;
  private returning = false;
  /** Last telemetry of the rooms that had returned to the store when the last return was given up. */
  private shown: ReadonlyMap<string, Buffer> = new Map();
  private trouble = 'not reached yet';
  private stopped = false;
  private starters: (() => void)[] = [];

  /**
   * @param modeChanged called in the step of the change
   * @param reachableChanged Redis answers and accepts writes, or no longer, whatever the mode
   */
  constructor(
    private readonly config: Pick<Config, 'rooms' | 'redis'>,
    private readonly metrics: Metrics,
    private readonly logger: AdapterLog,
    private readonly store: RedisStore,
    private readonly nodes: StoreNodes,
    private readonly rooms: AttachedRooms,
    private readonly receiver: BroadcastReceiver,
    private readonly modeChanged: (mode: StoreMode) => void,
    private readonly reachableChanged: (reachable: boolean) => void,
  ) {
    this.claimMetrics();
  }

  stop(): void {
    this.stopped = true;
    background('redis', this.local?.stop());
  }

  /** Resolves when Redis is usable, or after the timeout with local rooms. */
  settled(): Promise<void> {
    return this.reachable || this.mode === 'local'
      ? Promise.resolve()
      : new Promise((resolve) => this.starters.push(resolve));
  }

  /** Recorded for the log, in case it lasts. */
  noteTrouble(why: string): void {
    if (why !== this.trouble) {
      this.trouble = why;
      this.logger.warn(`Redis: ${why}`, { reason: why });
    }
    this.check();
  }

  /** Called at every heartbeat and change: decides again. */
  check(): void {
    if (this.stopped) {
      return;
    }
    const usable = this.store.usable;
    if (usable !== this.reachable) {
      this.setReachable(usable);
    }
    if ((this.mode === 'store' || this.returning) && this.nodes.silentMs >= this.config.redis.timeoutMs) {
      this.goLocal();
    }
    if (usable || this.mode === 'local') {
      const { starters } = this;
      this.starters = [];
      starters.forEach((resolve) => resolve());
    }
  }

  /** The room's local adapter; null when the room is in the store. */
  localFor(deviceId: string): MemoryBroadcastAdapter | null {
    return this.returning && this.rooms.isKnown(deviceId) ? null : this.local;
  }

  /** Every device that is known in local mode. */
  eachLocal(take: (device: LastHeard) => void): Promise<void> {
    return this.local?.eachDevice(take) ?? Promise.resolve();
  }

  /** Where rooms are while Redis is away, also during the return; null otherwise. */
  get localRooms(): MemoryBroadcastAdapter | null {
    return this.local;
  }

  attach(deviceIds: readonly string[]): Promise<RoomState[]> {
    const { local } = this;
    if (local === null || this.returning) {
      return this.rooms.attach(deviceIds);
    }
    for (const deviceId of deviceIds) {
      this.rooms.register(deviceId).announced = true;
    }
    return local.attach(deviceIds);
  }

  detach(deviceId: string): void {
    this.rooms.detach(deviceId);
    this.local?.detach(deviceId);
  }

  watchDevices(devices: DeviceWatch): Promise<readonly string[]> {
    const { local } = this;
    if (local === null) {
      return devices.watch();
    }
    // Takes effect when Redis is back.
    background(
      'redis',
      devices.watch().catch(() => undefined),
    );
    return local.watchDevices();
  }

  async resume(): Promise<void> {
    if (this.mode === 'store') {
      return;
    }
    if (!this.reachable || this.returning) {
      throw new ReturnLostError(this.returning ? 'a return is under way' : this.trouble, new Map());
    }
    this.returning = true;
    const attempt = (this.returns += 1);
    try {
      await this.rooms.resume();
    } catch (error) {
      this.returning &&= attempt !== this.returns; // tried again
      throw error;
    }
    if (attempt !== this.returns) {
      throw new ReturnLostError(this.trouble, this.shown);
    }
    const local = this.local as MemoryBroadcastAdapter;
    this.mode = 'store';
    this.returning = false;
    this.local = null;
    await local.stop();
    this.claimMetrics();
    this.metrics.redisDegraded.set(0);
    this.metrics.redisModeChanges.inc({ mode: 'store' });
    this.logger.log('Redis is back: rooms are served from it again', { mode: 'store' });
    this.modeChanged('store');
  }

  private goLocal(): void {
    const fromStore = this.mode === 'store';
    this.returns += 1;
    this.returning = false;
    this.mode = 'local';
    if (fromStore) {
      // One object per period without Redis, so that no two of them share an epoch.
      this.local = new MemoryBroadcastAdapter(this.config.rooms, this.metrics);
      this.local.bind(this.receiver);
      background('redis', this.local.start());
      this.metrics.redisDegraded.set(1);
      this.metrics.redisModeChanges.inc({ mode: 'local' });
      const why = this.trouble || `no answer for ${this.nodes.silentMs} ms`;
      this.logger.warn(`Redis is away (${why}): rooms are served from this instance`, {
        mode: 'local',
        reason: why,
      });
    }
    const switched = [...this.rooms.all()].filter((room) => fromStore || room.known);
    this.shown = new Map(
      fromStore
        ? []
        : switched.flatMap((room) => {
            const newest = room.newest();
            return newest === null ? [] : [[room.deviceId, newest.payload]];
          }),
    );
    const waiting = [...this.rooms.all()].filter((room) => room.waiters.length > 0);
    this.rooms.suspend();
    this.store.drop(this.trouble);
    const local = this.local as MemoryBroadcastAdapter;
    for (const room of switched) {
      const { announced } = room;
      room.announced = true;
      const taken = takeOver(local, room).then((state) => {
        if (announced && this.rooms.has(room.deviceId)) {
          this.receiver.onReset(state);
        }
      });
      background('redis', taken);
    }
    for (const room of waiting) {
      // The receiver was told the local epoch: the return must be reported as well.
      room.announced = true;
      const waiters = room.takeWaiters();
      const state = local.attachRoom(room.deviceId);
      waiters.forEach((resolve) => resolve(state));
    }
    if (fromStore) {
      this.modeChanged('local');
    }
  }

  private setReachable(reachable: boolean): void {
    this.reachable = reachable;
    this.metrics.redisConnected.set(reachable ? 1 : 0);
    if (reachable) {
      this.trouble = '';
      this.logger.log('Redis is reached');
    }
    this.reachableChanged(reachable);
  }

  /** While rooms are in the store, this process has no history. */
  private claimMetrics(): void {
    const { devicesKnown, historyBytes } = this.metrics;
    mirrorGauge(devicesKnown, () => this.rooms.size);
    mirrorGauge(historyBytes, () => 0);
  }
}

/** Takes a room over into this process, under an epoch of its own. @returns its local state: what was known of it, as values that are no publications */
function takeOver(
  local: MemoryBroadcastAdapter,
  { state: { deviceId, telemetry, status, meta } }: AttachedRoom,
): Promise<RoomState> {
  background('redis', local.setMeta(deviceId, meta));
  if (status !== null) {
    background('redis', local.setStatus(deviceId, status, false));
  }
  if (telemetry !== null) {
    local.fillTelemetry(deviceId, telemetry.payload, telemetry.serverTs);
  }
  return Promise.resolve(local.attachRoom(deviceId));
}
