import { Logger } from '@nestjs/common';
import type { Config } from '../config/config.js';
import { isRedisCluster } from '../config/setting.js';
import {
  type DeviceSink,
  type SharedStore,
  StateDoubt,
  type StoreIdentity,
  type StoreMode,
  type WatchedDevices,
} from '../ingest/ports.js';
import { background, tellEach } from '../logging/walls.js';
import type { Metrics } from '../metrics/metrics.js';
import type { Position, Rewind } from '../protocol/client-messages.js';
import {
  BroadcastAdapter,
  type BroadcastReceiver,
  type DeviceMessage,
  type DeviceStatus,
  type HistoryPage,
  type LastHeard,
  type MetaBytes,
  type RoomState,
  type TelemetryBase,
  type StateOutcome,
} from '../rooms/broadcast-adapter.js';
import { type EdgeNodes, MemoryEdgeNodes } from '../rooms/edge-nodes.js';
import { AttachedRooms } from './rooms/attached-rooms.js';
import { type AdapterLog, ModeSwitch } from './away.js';
import { ClusterNodes, type HostPort, SingleNode, type StoreNodes } from './rooms/cluster.js';
import { DeviceWatch } from './rooms/device-watch.js';
import { RedisInstanceBus } from './instance-bus.js';
import { RedisNode, type StoreNodesEvents } from './rooms/redis-node.js';
import type { Partition } from './connection/partitions.js';
import { connectTo, RedisAccess } from './connection/link.js';
import { RedisStore, StoreWriter } from './rooms/redis-store.js';
import { scriptTexts, type StorePlace } from './connection/scripts.js';
import { checkServer } from './connection/start-checks.js';
import { identifyStore } from './connection/store-identity.js';

const STOP_TIMEOUT_MS = 2_000;

/**
 * Rooms in Redis, shared by all instances. While Redis is away (no answer for REDIS_TIMEOUT_MS, or it accepts no writes) the rooms of this
 * instance are served from this process, fed by its own reader of device messages: see {@link mode}.
 */
export class RedisBroadcastAdapter extends BroadcastAdapter implements SharedStore {
  /** Writes into the store in every mode: for sessions whose messages belong there, also before the return to it. That of the first shard. */
  readonly storeWriter: StoreWriter;
  private readonly writers: StoreWriter[];
  /** Read where the rooms are; what is written here is of a local session, and stays in this process. */
  readonly edgeNodes: EdgeNodes;
  private readonly localNodes: MemoryEdgeNodes;
  readonly stateDoubt = new StateDoubt();
  /** What instances tell and ask each other: over the connections of the store. */
  readonly bus: RedisInstanceBus;
  private readonly store: RedisStore;
  private receiver!: BroadcastReceiver;
  private rooms!: AttachedRooms;
  private devices!: DeviceWatch;
  private modes!: ModeSwitch;
  private nodes!: StoreNodes;
  private readonly modeListeners = new Listeners<StoreMode>();
  private readonly reachableListeners = new Listeners<boolean>();
  private readonly congestionListeners = new Listeners<boolean>();
  private readonly fencedListeners = new Listeners<number>();

  /** @param createNodes makes the connections to the servers; it is given their events */
  constructor(
    private readonly config: Config,
    private readonly metrics: Metrics,
    private readonly logger: AdapterLog,
    private readonly createNodes: (store: RedisStore, events: StoreNodesEvents) => StoreNodes,
  ) {
    super();
    this.store = new RedisStore(config, metrics, {
      fenced: (shard) => this.fencedListeners.tell(shard),
      congested: (congested) => this.congestionListeners.tell(congested),
    });
    this.storeWriter = new StoreWriter(this.store);
    this.writers = [this.storeWriter];
    this.bus = new RedisInstanceBus(
      {
        place: this.store.partitions.common,
        timeoutMs: config.redis.timeoutMs,
        nodeOf: (place) => this.store.nodeOf(place),
        sharded: isRedisCluster(config.redis.url ?? ''),
      },
      metrics,
    );
    this.localNodes = new MemoryEdgeNodes(config.rooms.maxDevices);
    this.edgeNodes = {
      read: (node, names) =>
        (this.mode === 'store' ? this.storeWriter.edgeNodes : this.localNodes).read(node, names),
      write: (node, change) => this.localNodes.write(node, change),
    };
  }

  // What ingest needs besides the port

  /** `store`: rooms are in Redis. `local`: Redis is away, and publications that arrive here are shown to the rooms of this instance only. */
  get mode(): StoreMode {
    return this.modes.mode;
  }

  /** Called in the step of the change. At `local` the session that fed the store ends; at `store` local sessions end. */
  onModeChange(listener: (mode: StoreMode) => void): Unsubscribe {
    return this.modeListeners.add(listener);
  }

  /** Redis answers and accepts writes, whatever the mode. */
  get storeReachable(): boolean {
    return this.modes.reachable;
  }

  onReachable(listener: (reachable: boolean) => void): Unsubscribe {
    return this.reachableListeners.add(listener);
  }

  /**
   * Ends local mode: rooms switch to the store one by one, reported by onReset; then the mode changes. Nothing else ends it: ingest calls
   * this when it has caught up.
   * @throws when Redis is lost again before that
   */
  resumeStore(): Promise<void> {
    return this.modes.resume();
  }

  /** More publications are under way than redis.maxPendingPublications: the sender stops reading from its socket until told. */
  get congested(): boolean {
    return this.store.congested;
  }

  onCongestion(listener: (congested: boolean) => void): Unsubscribe {
    return this.congestionListeners.add(listener);
  }

  /**
   * Fences the store: publications of holders with lower tokens are refused in every partition.
   * @param token greater than all before; a whole number below 2^53
   * @param shard whose holders these are: each shard has a fence of its own
   * @throws when a higher token is there already, or Redis does not answer
   */
  async raiseFence(token: number, shard = 0): Promise<void> {
    if (!(await this.store.raiseFence(token, shard))) {
      throw new Error('a newer ingest holder has raised the fence higher');
    }
  }

  /** Writes what a shard reads, in every mode. */
  writerOf(shard: number): StoreWriter {
    return (this.writers[shard] ??= new StoreWriter(this.store, shard));
  }

  /** Publishes without a fence from now on; for MQTT_INGEST=shared. */
  dropFence(): void {
    this.store.lane(0).token = '';
  }

  /** A newer holder's fence refused what this instance published; nothing of it was stored or settled. */
  onFenced(listener: (shard: number) => void): Unsubscribe {
    return this.fencedListeners.add(listener);
  }

  /** Where the ingest lease is stored: with the first partition. */
  get leasePlace(): StorePlace {
    return this.places[0] as StorePlace;
  }

  /** For what all instances share, whatever the number of partitions. */
  get commonPlace(): StorePlace {
    return this.store.commonPlace;
  }

  /** One per partition, for other shared data. */
  get places(): readonly StorePlace[] {
    return this.store.places;
  }

  /** Takes a message of a local session: shown while rooms are local, ignored once the store serves them again. */
  publishLocal(message: DeviceMessage): void {
    const local = this.modes.localFor(message.deviceId);
    if (local === null) {
      message.settle('accepted');
    } else {
      local.publish(message);
    }
  }

  get watched(): WatchedDevices {
    const { rooms, receiver } = this;
    return {
      size: rooms.size,
      version: rooms.changes,
      byPattern: receiver.watchesPatterns === true,
      deviceIds: () => rooms.deviceIds(),
    };
  }

  async identify(groupBefore?: string): Promise<StoreIdentity> {
    const { mqtt, redis } = this.config;
    const identity = await identifyStore(this.leasePlace, redis.namespace, groupBefore);
    return { ...identity, group: mqtt.sharedGroup ?? identity.group };
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
    this.receiver = receiver;
    this.rooms = new AttachedRooms(store, receiver, metrics, config.rooms.deviceExpiryS * 1000);
    this.devices = new DeviceWatch(store, receiver, metrics);
    this.nodes = this.createNodes(store, this.storeEvents());
    store.use(this.nodes);
    this.modes = new ModeSwitch(
      config,
      metrics,
      this.logger,
      store,
      this.nodes,
      this.rooms,
      receiver,
      (mode) => {
        if (mode === 'store') {
          this.localNodes.clear();
          background('redis', this.devices.announceAll());
        }
        this.modeListeners.tell(mode);
      },
      (reachable) => this.reachableListeners.tell(reachable),
    );
  }

  async start(): Promise<void> {
    this.nodes.start();
    this.rooms.start();
    this.bus.start();
    await this.modes.settled();
  }

  async stop(): Promise<void> {
    await this.bus.stop();
    await this.store.settled(STOP_TIMEOUT_MS);
    this.modes.stop();
    this.rooms.stop();
    this.nodes.stop();
    this.store.drop('stopping');
  }

  publish(message: DeviceMessage): void {
    if (this.modes.mode === 'store') {
      this.storeWriter.publish(message);
    } else {
      this.publishLocal(message);
    }
  }

  fillTelemetry(deviceId: string, payload: Buffer, receivedAt: number): void {
    this.sinkFor(deviceId).fillTelemetry(deviceId, payload, receivedAt);
  }

  base(deviceId: string): TelemetryBase | null | Promise<TelemetryBase | null> {
    return this.sinkFor(deviceId).base(deviceId);
  }

  eachDevice(take: (device: LastHeard) => void): Promise<void> {
    return this.modes.mode === 'local' ? this.modes.eachLocal(take) : this.store.reads.eachDevice(take);
  }

  setStatus(deviceId: string, status: DeviceStatus, onlyIfUnknown: boolean): Promise<StateOutcome> {
    return this.sinkFor(deviceId).setStatus(deviceId, status, onlyIfUnknown);
  }

  setMeta(deviceId: string, meta: MetaBytes): Promise<StateOutcome> {
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
    // If history cannot be read now, the client gets a snapshot.
    return this.store.reads.history(deviceId, after, maxPublications).catch(() => null);
  }

  async rewind(
    rooms: readonly { deviceId: string; epoch: string }[],
    range: Rewind,
  ): Promise<(number | null)[]> {
    const found = new Map<string, number | null>();
    const stored: { deviceId: string; epoch: string }[] = [];
    for (const room of rooms) {
      const local = this.modes.localFor(room.deviceId);
      if (local === null) {
        stored.push(room);
      } else {
        found.set(room.deviceId, (await local.rewind([room], range))[0] ?? null);
      }
    }
    await this.store.reads.rewind(stored, range, found);
    return rooms.map(({ deviceId }) => found.get(deviceId) ?? null);
  }

  async read(deviceIds: readonly string[]): Promise<(RoomState | null)[]> {
    const local = new Map<string, RoomState | null>();
    for (const deviceId of deviceIds) {
      const rooms = this.modes.localFor(deviceId);
      if (rooms !== null) {
        local.set(deviceId, (await rooms.read([deviceId]))[0] ?? null);
      }
    }
    const stored = deviceIds.filter((deviceId) => !local.has(deviceId));
    const states = await this.store.reads.knownStates(stored);
    stored.forEach((deviceId, at) => {
      const state = states[at];
      local.set(deviceId, state === null || state === undefined ? null : { deviceId, ...state });
    });
    return deviceIds.map((deviceId) => local.get(deviceId) ?? null);
  }

  deviceIds(): AsyncIterable<readonly string[]> {
    return this.modes.localRooms?.deviceIds() ?? this.store.reads.scanDevices();
  }

  watchDevices(): Promise<readonly string[]> {
    return this.modes.watchDevices(this.devices);
  }

  private sinkFor(deviceId: string): DeviceSink {
    return this.modes.localFor(deviceId) ?? this.storeWriter;
  }

  /** Routes the events of the Redis servers to the parts of this adapter. None comes before {@link start}. */
  private storeEvents(): StoreNodesEvents {
    const { rooms, devices, stateDoubt } = this;
    const check = (): void => this.modes.check();
    return {
      commandsUp: check,
      subscriberUp: check,
      tick: check,
      down: (node, connection, why) => {
        this.bus.down(node, connection);
        this.metrics.redisConnectionsLost.inc({ connection });
        this.modes.noteTrouble(`${connection}: ${why}`);
      },
      roomMessage: rooms.roomMessage.bind(rooms),
      message: (channel, message) => {
        if (!this.bus.message(channel, message) && !devices.message(channel, message)) {
          rooms.message(channel, message);
        }
      },
      confirmed: (channels) => {
        rooms.confirmed(channels);
        devices.confirmed(channels);
        this.bus.confirmed(channels);
      },
      serverChanged: () => stateDoubt.raise(),
      moved: () => this.nodes.refresh(),
      partitionsMoved: (partitions) => {
        rooms.moved(partitions);
        devices.subscribe();
        this.bus.follow();
      },
    };
  }
}

/**
 * The adapter for REDIS_URL: one server, Sentinel or Cluster. It connects at start().
 * @param subscriberUrl a separate URL for subscriptions; for tests that break them alone
 * @throws when REDIS_URL cannot be parsed
 */
export function createRedisAdapter(
  config: Config,
  metrics: Metrics,
  logger: AdapterLog = new Logger('Redis'),
  subscriberUrl = config.redis.url,
): RedisBroadcastAdapter {
  const access = new RedisAccess(config);
  const subscriberAccess =
    subscriberUrl === config.redis.url ? access : new RedisAccess(config, subscriberUrl);
  const { address } = access;
  const { timeoutMs, probeMs, namespace, partitions } = config.redis;
  const sharded = address.kind === 'cluster';
  const scripts = scriptTexts(config, sharded);

  return new RedisBroadcastAdapter(config, metrics, logger, (store, outer): StoreNodes => {
    const events: StoreNodesEvents = {
      ...outer,
      commandsUp: (node, redis) => {
        outer.commandsUp(node, redis);
        background(
          'redis',
          checkServer(redis, config, (warning) => logger.warn(warning)),
        );
      },
    };
    const { all, common, agreementKey } = store.partitions;
    const places = [...all, common];
    const slotByPrefix = new Map(places.map(({ prefix, slot }) => [prefix, slot]));
    const shared = { scripts, sharded, timeoutMs, probeMs, partitionCount: partitions };
    const create = (serves: (place: Partition) => boolean, at?: HostPort): RedisNode =>
      new RedisNode(
        {
          ...shared,
          instanceId: store.instanceId,
          connect: connectTo(access, `${namespace}-commands`, at),
          connectSubscriber: connectTo(subscriberAccess, `${namespace}-subscriber`, at),
          home: () => places.find(serves),
          agreementKey: () => (serves(common) ? agreementKey : undefined),
          slotOf: sharded
            ? (channel) => slotByPrefix.get(channel.slice(0, channel.indexOf('}') + 2)) ?? 0
            : () => 0,
        },
        events,
      );
    if (!sharded) {
      return new SingleNode(create(() => true));
    }
    return new ClusterNodes({
      partitions: places,
      seeds: address.hosts,
      timeoutMs,
      createNode: (at, serves) => create(serves, at),
      connect: (at) => connectTo(access, `${namespace}-topology`, at)(),
      moved: (moved) => outer.partitionsMoved(new Set(moved)),
      taken: () => outer.serverChanged(),
    });
  });
}

type Unsubscribe = () => void;

/** Listeners of one event, called in the order of registration. */
class Listeners<T> {
  private readonly listeners = new Set<(value: T) => void>();

  add(listener: (value: T) => void): Unsubscribe {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  tell(value: T): void {
    tellEach('redis', [...this.listeners], value);
  }
}
