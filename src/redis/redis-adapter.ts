import { background } from '../logging/walls.js';
import type { Config } from '../config/config.js';
import type { Metrics } from '../metrics/metrics.js';
import type { Position } from '../protocol/client-messages.js';
import { BroadcastAdapter, type BroadcastReceiver, type HistoryPage } from '../rooms/broadcast-adapter.js';
import type { DeviceMessage } from '../rooms/device-message.js';
import type { DeviceStatus, MetaBytes, RoomState } from '../rooms/publication.js';
import type { LeasePlace } from './ingest-lease.js';
import type { SharedStore, StoreMode } from '../ingest/ports.js';
import { StateDoubt } from '../ingest/state-doubt.js';
import { AttachedRooms } from './attached-rooms.js';
import { DeviceWatch } from './device-watch.js';
import { Listeners, type Unsubscribe } from './listeners.js';
import type { LocalRooms } from './local-rooms.js';
import { type AdapterLog, ModeSwitch } from './away.js';
import type { StoreNodesEvents } from './node-events.js';
import { RedisStore } from './redis-store.js';
import { storeEvents } from './store-events.js';
import type { StoreNodes } from './store-nodes.js';
import type { StorePlace } from './store-place.js';
import { StoreWriter } from './store-writer.js';

const STOP_TIMEOUT_MS = 2_000;

/**
 * Rooms in Redis, shared by all instances. While Redis is away (no answer for REDIS_TIMEOUT_MS, or it takes no writes) the rooms of this
 * instance are served from this process, fed by whoever takes device messages from the broker: see {@link mode}.
 */
export class RedisBroadcastAdapter extends BroadcastAdapter implements SharedStore {
  /** Writes into the store whatever the mode: for a session whose messages belong there, also before the return to it. */
  readonly storeWriter: StoreWriter;
  readonly stateDoubt = new StateDoubt();
  private readonly store: RedisStore;
  private rooms!: AttachedRooms;
  private devices!: DeviceWatch;
  private modes!: ModeSwitch;
  private nodes!: StoreNodes;
  private readonly modeListeners = new Listeners<StoreMode>();
  private readonly reachableListeners = new Listeners<boolean>();
  private readonly congestionListeners = new Listeners<boolean>();
  private readonly fencedListeners = new Listeners<void>();
  private returnsByItself = true;

  /** @param createNodes makes the servers' connections; given the events of each */
  constructor(
    private readonly config: Config,
    private readonly metrics: Metrics,
    private readonly logger: AdapterLog,
    private readonly createNodes: (store: RedisStore, events: StoreNodesEvents) => StoreNodes,
  ) {
    super();
    this.store = new RedisStore(config, metrics, {
      fenced: () => this.fencedListeners.tell(),
      congested: (congested) => this.congestionListeners.tell(congested),
    });
    this.storeWriter = new StoreWriter(this.store);
  }

  // What the ingest side needs besides the port

  /** `store`: rooms are in Redis. `local`: Redis is away, and publications that arrive here are shown to the rooms of this instance only. */
  get mode(): StoreMode {
    return this.modes.mode;
  }

  /** Told in the step of the change. At `local` the session that fed the store ends; at `store` local sessions do. */
  onModeChange(listener: (mode: StoreMode) => void): Unsubscribe {
    return this.modeListeners.add(listener);
  }

  /** Redis answers and takes writes, whatever the mode. */
  get storeReachable(): boolean {
    return this.modes.reachable;
  }

  /** Redis has been reached at least once. */
  get reached(): boolean {
    return this.modes.reached;
  }

  onReachable(listener: (reachable: boolean) => void): Unsubscribe {
    return this.reachableListeners.add(listener);
  }

  /** From now on the return to the store is not made by itself: {@link resumeStore} is called when ingest has caught up. */
  coordinateReturn(): void {
    this.returnsByItself = false;
  }

  /**
   * Ends local mode: rooms switch to the store one by one, told by onReset; then the mode changes.
   * @throws when Redis is lost again before that
   */
  resumeStore(): Promise<void> {
    return this.modes.resume();
  }

  /** More publications are under way than REDIS_MAX_PENDING_PUBLICATIONS: the sender stops reading from its socket until told. */
  get congested(): boolean {
    return this.store.congested;
  }

  onCongestion(listener: (congested: boolean) => void): Unsubscribe {
    return this.congestionListeners.add(listener);
  }

  /**
   * Makes this instance the one whose publications are stored: those of holders with lower tokens are refused in every partition.
   * @param token greater than all before; a whole number below 2^53
   * @throws when a higher one is there already, or Redis does not answer
   */
  async raiseFence(token: number): Promise<void> {
    if (!(await this.store.raiseFence(token))) {
      throw new Error('a newer ingest holder has raised the fence higher');
    }
    this.store.token = String(token);
  }

  /** Publishes without a fence from now on; for MQTT_INGEST=shared. */
  dropFence(): void {
    this.store.token = '';
  }

  /** A newer holder's fence refused what this instance published; nothing of it was stored or settled. */
  onFenced(listener: () => void): Unsubscribe {
    return this.fencedListeners.add(listener);
  }

  /** Where the ingest lease lies: with the first partition. */
  get leasePlace(): LeasePlace {
    return this.places[0] as LeasePlace;
  }

  /** One for each partition, for what else instances share. */
  get places(): readonly StorePlace[] {
    return this.store.places;
  }

  /** Takes a message of a local session: shown while rooms are local, passed over when the store has taken them back. */
  publishLocal(message: DeviceMessage): void {
    const local = this.modes.localFor(message.deviceId);
    if (local === null) {
      message.settle('accepted');
    } else {
      local.publish(message);
    }
  }

  // The port

  get healthy(): boolean {
    return this.modes.mode === 'store' && this.modes.reachable;
  }

  get roomCount(): number {
    return this.rooms.size;
  }

  bind(receiver: BroadcastReceiver): void {
    const { config, metrics, store } = this;
    this.rooms = new AttachedRooms(store, receiver, metrics, config.rooms.deviceExpiryS * 1000);
    this.devices = new DeviceWatch(store, receiver, metrics);
    this.modes = new ModeSwitch(config, metrics, this.logger, store, this.rooms, receiver, {
      mode: (mode) => {
        if (mode === 'store') {
          background('redis', this.devices.announceAll());
        }
        this.modeListeners.tell(mode);
      },
      reachable: (reachable) => this.reachableListeners.tell(reachable),
      returnsByItself: () => this.returnsByItself,
    });
    this.nodes = this.createNodes(
      store,
      storeEvents({
        metrics,
        modes: this.modes,
        rooms: this.rooms,
        devices: this.devices,
        stateDoubt: this.stateDoubt,
        refresh: () => this.nodes.refresh(),
      }),
    );
    store.use(this.nodes);
    this.modes.use(this.nodes);
  }

  async start(): Promise<void> {
    this.nodes.start();
    this.rooms.start();
    await this.modes.settled();
  }

  async stop(): Promise<void> {
    await this.store.settled(STOP_TIMEOUT_MS);
    this.modes.stop();
    this.rooms.stop();
    this.nodes.stop();
    this.store.drop('stopping');
  }

  publish(message: DeviceMessage): void {
    if (this.modes.mode === 'store') {
      this.store.push(message);
    } else {
      this.publishLocal(message);
    }
  }

  fillTelemetry(deviceId: string, payload: Buffer, receivedAt: number): void {
    this.sinkFor(deviceId).fillTelemetry(deviceId, payload, receivedAt);
  }

  setStatus(deviceId: string, status: DeviceStatus, onlyIfUnknown: boolean): Promise<void> {
    return this.sinkFor(deviceId).setStatus(deviceId, status, onlyIfUnknown);
  }

  setMeta(deviceId: string, meta: MetaBytes): Promise<void> {
    return this.sinkFor(deviceId).setMeta(deviceId, meta);
  }

  attach(deviceIds: readonly string[]): Promise<RoomState[]> {
    return this.modes.attach(deviceIds);
  }

  detach(deviceId: string): void {
    this.modes.detach(deviceId);
  }

  async history(deviceId: string, after: Position, maxPublications: number): Promise<HistoryPage | null> {
    const local = this.modes.localFor(deviceId);
    if (local !== null) {
      return local.history(deviceId, after, maxPublications);
    }
    // What cannot be read just now cannot be continued: the client gets a snapshot.
    return this.store.readHistory(deviceId, after, maxPublications).catch(() => null);
  }

  watchDevices(): Promise<readonly string[]> {
    return this.modes.watchDevices(this.devices);
  }

  private sinkFor(deviceId: string): LocalRooms | StoreWriter {
    return this.modes.localFor(deviceId) ?? this.storeWriter;
  }
}
