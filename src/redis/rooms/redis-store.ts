import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Config } from '../../config/config.js';
import { StoreLostError } from '../../ingest/ports.js';
import { contain, walled } from '../../logging/walls.js';
import { mirrorGauge } from '../../metrics/hot-counters.js';
import type { Metrics } from '../../metrics/metrics.js';
import type {
  DeviceMessage,
  DeviceStatus,
  LastHeard,
  MetaBytes,
  TelemetryBase,
  StateOutcome,
} from '../../rooms/broadcast-adapter.js';
import type { EdgeNodeChange, EdgeNodes } from '../../rooms/edge-nodes.js';
import { historyIsKept } from '../../rooms/memory/history-log.js';
import { ROOM_FOR_HEAD } from './finished-call.js';
import { KeptRooms } from './kept-rooms.js';
import { type BatchReply, PartitionQueue, PendingBound } from './partition-queue.js';
import { type Partition, Partitions } from '../connection/partitions.js';
import { callNode, type RedisNode } from './redis-node.js';
import { BaseReads, StoreReads } from './store-reads.js';
import type { StoreNodes } from './cluster.js';
import type { Operation, StateChange } from './batch.js';
import { devicesOfPartition, type StorePlace } from '../connection/scripts.js';

/** Wait before a call that failed is sent again. */
const RETRY_MS = 50;
/** Rooms that one call deletes: bounds the time for which one call keeps Redis busy. */
const MAX_ROOMS_PER_CALL = 64;

/** Writes into Redis, in batches per partition; {@link StoreReads} reads. */
export class RedisStore {
  readonly instanceId = randomBytes(6).toString('base64url');
  readonly partitions: Partitions;
  /** One per partition. */
  readonly places: readonly StorePlace[];
  /** Of what all instances share, for any number of partitions. */
  readonly commonPlace: StorePlace;
  readonly reads: StoreReads;
  private readonly lanes: Lane[] = [];
  private readonly createQueues: (lane: Lane) => PartitionQueue[];
  private readonly dirty = new Set<PartitionQueue>();
  private readonly bound: PendingBound;
  private scheduled = false;
  private retry: NodeJS.Timeout | null = null;
  private readonly retries = new Set<PartitionQueue>();
  private nodes!: StoreNodes;

  constructor(
    config: Pick<Config, 'rooms' | 'redis' | 'mqtt'>,
    private readonly metrics: Metrics,
    private readonly events: { fenced(shard: number): void; congested(congested: boolean): void },
  ) {
    const { redis, mqtt } = config;
    this.partitions = new Partitions(redis.namespace, redis.partitions);
    const placeOf = (partition: Partition): StorePlace => ({
      prefix: partition.prefix,
      connection: () => this.nodeOf(partition)?.redis ?? null,
    });
    this.places = this.partitions.all.map(placeOf);
    this.commonPlace = placeOf(this.partitions.common);
    this.reads = new StoreReads(config, metrics, this.partitions, (partition) => this.nodeOf(partition));
    this.bound = new PendingBound(redis.maxPendingPublications, (congested) => events.congested(congested));
    this.createQueues = (lane) => {
      const context = {
        maxBatchOperations: redis.batchMaxPublications,
        send: (partition: Partition, batch: Parameters<RedisNode['publish']>[1]) =>
          this.send(partition, batch, lane.token),
        keepingAt: (partition: Partition) =>
          lane.token === '' || mqtt.ingestShards > 1
            ? null
            : (this.nodes.nodeOf(partition)?.serverNow ?? null),
        fenced: () => this.fenced(lane.shard),
        done: (operations: number, bytes: number) => this.bound.settled(operations, bytes),
        retryLater: (queue: PartitionQueue) => this.retryLater(queue),
      };
      const keptRooms = () => new KeptRooms(devicesOfPartition(config), historyIsKept(config.rooms));
      return this.partitions.all.map((partition) => new PartitionQueue(partition, context, keptRooms()));
    };
    metrics.keeps('room_heads', () => this.lanes.reduce((sum, { heads }) => sum + heads, 0));
    mirrorGauge(metrics.redisPending, () => this.bound.pending);
  }

  /** The nodes that serve the partitions; set once, before anything else. */
  use(nodes: StoreNodes): void {
    this.nodes = nodes;
  }

  /** Every partition is served, and instances agree. */
  get usable(): boolean {
    const { all, common } = this.partitions;
    return [common, ...all].every((partition) => this.nodes.nodeOf(partition)?.up === true);
  }

  /** As many publications are under way as redis.maxPendingPublications allows. */
  get congested(): boolean {
    return this.bound.congested;
  }

  nodeOf(partition: Partition): RedisNode | undefined {
    return this.nodes.nodeOf(partition);
  }

  /** What a shard writes, under a token of its own; made when it is first asked for. The first one is that of the only shard. */
  lane(shard: number): Lane {
    for (let next = this.lanes.length; next <= shard; next += 1) {
      this.lanes.push(
        new Lane(next, this.createQueues, (queue, ids) => this.reads.bases(queue.partition, ids)),
      );
    }
    return this.lanes[shard] as Lane;
  }

  /** Queues an operation; all operations of one event-loop turn are sent together. */
  push(operation: Operation, lane: Lane): void {
    if (!this.bound.take(operation)) {
      return;
    }
    const queue = lane.queues[this.partitions.of(operation.deviceId).index] as PartitionQueue;
    queue.push(operation);
    this.dirty.add(queue);
    if (!this.scheduled) {
      this.scheduled = true;
      setImmediate(walled('redis', () => this.flush()));
    }
  }

  /**
   * The newest telemetry of a device, after all that is queued.
   * @throws {StoreLostError} when the store is lost before it answered
   */
  base(deviceId: string, lane: Lane): Promise<TelemetryBase | null> {
    return (lane.bases[this.partitions.of(deviceId).index] as BaseReads).of(deviceId);
  }

  /** Drops all pending operations and all nodes' good health; see {@link PartitionQueue.drop}. */
  drop(why: string): void {
    for (const { queues, bases } of this.lanes) {
      queues.forEach((queue) => queue.drop(why));
      bases.forEach((base) => base.drop(why));
    }
    for (const node of this.nodes.nodes) {
      node.startAnew();
    }
  }

  /** Resolves when nothing is pending, or after the timeout. */
  async settled(timeoutMs: number): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (this.bound.pending > 0 && Date.now() < deadline) {
      await delay(5);
    }
  }

  /** Deletes rooms of which nothing is known, if no instance watches them. */
  async forget(partition: Partition, deviceIds: readonly string[]): Promise<void> {
    for (let from = 0; from < deviceIds.length; from += MAX_ROOMS_PER_CALL) {
      const ids = deviceIds.slice(from, from + MAX_ROOMS_PER_CALL);
      await callNode(this.nodeOf(partition), (redis) => redis.sluiceForget(partition.headKey, ...ids));
    }
  }

  /** What is kept of an edge node; see {@link EdgeNodes}. */
  async readNode(node: string, names?: readonly string[]): Promise<ReadonlyMap<string, string> | null> {
    const partition = this.partitions.of(node);
    const key = `${partition.prefix}n:${node}`;
    const known = await callNode(this.nodeOf(partition), async (redis): Promise<[string, string][]> => {
      try {
        if (names === undefined) {
          return Object.entries(await redis.hgetall(key));
        }
        const texts = await redis.hmget(key, ...names);
        return names.flatMap((name, at): [string, string][] => {
          const text = texts[at] ?? null;
          return text === null ? [] : [[name, text]];
        });
      } catch (error) {
        return nothingOfOtherType(error as Error);
      }
    });
    return known.length === 0 ? null : new Map(known);
  }

  async writeNode(node: string, { replace, parts }: EdgeNodeChange, lane: Lane): Promise<boolean> {
    const partition = this.partitions.of(node);
    const texts = [...parts].flatMap(([name, text]) => [name, text ?? '']);
    let answer: string;
    try {
      answer = await callNode(this.nodeOf(partition), (redis) =>
        redis.sluiceEdgeNode(partition.headKey, lane.token, node, replace ? '1' : '0', ...texts),
      );
    } catch (error) {
      if (error instanceof StoreLostError) {
        throw error;
      }
      return false; // its connection is told of it
    }
    if (answer === 'F') {
      this.fenced(lane.shard);
      throw new StoreLostError('a newer holder has fenced this one');
    }
    return answer === 'A';
  }

  /** From now on this shard's writes carry the token. @returns false when a partition has seen a higher one */
  async raiseFence(token: number, shard: number): Promise<boolean> {
    const text = shard === 0 ? String(token) : `${token}:${shard}`;
    const raised = await Promise.all(
      this.partitions.all.map((partition) =>
        callNode(this.nodeOf(partition), (redis) => redis.sluiceFence(partition.headKey, text)),
      ),
    );
    if (!raised.every((answer) => answer === 1)) {
      return false;
    }
    this.lane(shard).token = text;
    return true;
  }

  private fenced(shard: number): void {
    this.metrics.redisFenced.inc();
    this.events.fenced(shard);
  }

  private send(
    partition: Partition,
    batch: Parameters<RedisNode['publish']>[1],
    token: string,
  ): Promise<BatchReply> | null {
    const sent = this.nodes.nodeOf(partition)?.publish(partition, batch, token) ?? null;
    if (sent !== null) {
      this.metrics.redisBatches.inc();
      const finished = batch.kept === null ? 0 : batch.kept.end - ROOM_FOR_HEAD;
      this.metrics.redisBatchBytes.inc(batch.bytes.length + finished);
      const sentMs = performance.now();
      return sent.then((reply) => {
        this.metrics.redisCall.observe((performance.now() - sentMs) / 1_000);
        return reply;
      });
    }
    return null;
  }

  private flush(): void {
    this.scheduled = false;
    const dirty = [...this.dirty];
    this.dirty.clear();
    dirty.forEach((queue) => flushQueue(queue));
  }

  private retryLater(queue: PartitionQueue): void {
    this.retries.add(queue);
    this.retry ??= setTimeout(
      walled('redis', () => {
        this.retry = null;
        const queues = [...this.retries];
        this.retries.clear();
        queues.forEach((each) => flushQueue(each));
      }),
      RETRY_MS,
    );
  }
}

/** Somebody else has written this key: it says nothing, and the server is well. */
function nothingOfOtherType(error: Error): [] {
  if (error.message.startsWith('WRONGTYPE')) {
    return [];
  }
  throw error;
}

/** An error ends this queue's flush only. */
function flushQueue(queue: PartitionQueue): void {
  try {
    queue.flush();
  } catch (error) {
    contain('redis', error);
  }
}

/** The writes of one shard: in order per device, and refused together when another instance has taken the shard over. */
class Lane {
  readonly queues: readonly PartitionQueue[];
  readonly bases: readonly BaseReads[];
  private fencedBy = '';

  constructor(
    readonly shard: number,
    createQueues: (lane: Lane) => PartitionQueue[],
    readBases: (queue: PartitionQueue, deviceIds: readonly string[]) => Promise<(TelemetryBase | null)[]>,
  ) {
    this.queues = createQueues(this);
    this.bases = this.queues.map(
      (queue) =>
        new BaseReads(
          () => queue.written(),
          (deviceIds) => readBases(queue, deviceIds),
        ),
    );
  }

  /** Of the ingest holder, with its shard; empty without fencing. */
  get token(): string {
    return this.fencedBy;
  }

  /** Another holder may have written in between: what is kept of rooms is no longer true. */
  set token(token: string) {
    this.fencedBy = token;
    this.queues.forEach(({ kept }) => kept.forgetAll());
  }

  /** Heads of rooms that are kept. */
  get heads(): number {
    return this.queues.reduce((sum, { kept }) => sum + kept.size, 0);
  }
}

/** Writes of devices into the store; per device in the order of the calls. */
export class StoreWriter {
  readonly edgeNodes: EdgeNodes;

  private readonly lane: Lane;

  /** @param shard whose devices these are */
  constructor(
    private readonly store: RedisStore,
    shard = 0,
  ) {
    const lane = store.lane(shard);
    this.lane = lane;
    this.edgeNodes = {
      read: (node, names) => store.readNode(node, names),
      write: (node, change) => store.writeNode(node, change, lane),
    };
  }

  publish(message: DeviceMessage): void {
    this.store.push(message, this.lane);
  }

  fillTelemetry(deviceId: string, payload: Buffer, receivedAt: number): void {
    const change = { kind: 'fill', payload, receivedAt } as const;
    this.store.push({ deviceId, change, stored: () => undefined, lost: () => undefined }, this.lane);
  }

  base(deviceId: string): Promise<TelemetryBase | null> {
    return this.store.base(deviceId, this.lane);
  }

  eachDevice(take: (device: LastHeard) => void): Promise<void> {
    return this.store.reads.eachDevice(take);
  }

  /** @throws {StoreLostError} when the store is lost before it answered */
  setStatus(deviceId: string, status: DeviceStatus, onlyIfUnknown: boolean): Promise<StateOutcome> {
    return this.change(deviceId, { kind: 'status', status, onlyIfUnknown });
  }

  /** @throws {StoreLostError} when the store is lost before it answered */
  setMeta(deviceId: string, meta: MetaBytes): Promise<StateOutcome> {
    return this.change(deviceId, { kind: 'meta', meta });
  }

  private change(deviceId: string, change: StateChange['change']): Promise<StateOutcome> {
    return new Promise((resolve, reject) => {
      this.store.push({ deviceId, change, stored: resolve, lost: reject }, this.lane);
    });
  }
}
