import { Buffer } from 'node:buffer';
import { Metrics } from '../../src/metrics/metrics.js';
import { topicsWhileAway } from '../../src/ingest/away.js';
import { Shares } from '../../src/ingest/shares.js';
import type { EncodedBatch } from '../../src/redis/rooms/batch.js';
import type { StoreNodes } from '../../src/redis/rooms/cluster.js';
import type { BatchReply } from '../../src/redis/rooms/partition-queue.js';
import { type Partition, Partitions } from '../../src/redis/connection/partitions.js';
import { type HistoryAnswer, HistoryReads } from '../../src/redis/rooms/history-reads.js';
import { ReadPace } from '../../src/redis/rooms/read-pace.js';
import { RedisStore, StoreWriter } from '../../src/redis/rooms/redis-store.js';
import { testConfig } from '../support/test-config.js';
import { VirtualTime } from './virtual-time.js';

/** Measured costs, in ms of one core; docs/scaling.md has the symbols and how each was measured. */
export const COST = {
  /** c_i: the reader, for one message. */
  read: 0.0041,
  /** c_r: an instance, for one publication that comes from Redis. */
  hear: 0.0021,
  /** c_d: an instance, for one delivery; c_d4 where it is full. */
  deliver: 0.013,
  deliverFull: 0.0005,
  /** A call to Redis, and r_p in it for each publication. */
  call: 0.021,
  store: 0.004,
  /** r_f: handing a publication to one instance, in batches. */
  fanOut: 0.0005,
  /** A call that reads histories, and r_h in it for each room. */
  historyCall: 0.009,
  history: 0.014,
  network: 0.2,
} as const;

/** What one session at a broker can be sent, and what the broker can send in all, messages a second. */
export interface Broker {
  readonly name: string;
  readonly perSession: number;
  readonly inAll: number;
}

export const BROKERS = {
  /** One thread for all of it. */
  mosquitto: { name: 'Mosquitto', perSession: 100_000, inAll: 100_000 },
  /** One process a session; 60 000 to one subscriber is more than its makers promise. */
  emqx: { name: 'EMQX, 3 nodes', perSession: 60_000, inAll: 1_000_000 },
  /** A service quota: 100 publications a second and connection, not adjustable. */
  aws: { name: 'AWS IoT Core', perSession: 100, inAll: Infinity },
} as const satisfies Record<string, Broker>;

export interface Deployment {
  readonly instances: number;
  readonly dashboards: number;
  readonly devices: number;
  /** Publications a second of each device. */
  readonly rate: number;
  readonly devicesPerDashboard: number;
  readonly shards: number;
  readonly redisServers: number;
  readonly broker: Broker;
  /** ROLE: those that read serve no dashboards. */
  readonly apart?: boolean;
  /** The cost of a delivery, in ms. */
  readonly deliver?: number;
}

/** Share of what a part can do, for each part that may be full first. */
export interface Load {
  /** One session at the broker. */
  readonly session: number;
  /** The busiest reader: one core. */
  readonly reader: number;
  /** The busiest Redis server: one core. */
  readonly redis: number;
  /** An instance that only serves dashboards: one core. */
  readonly instance: number;
  /** The broker in all, while Redis is away. */
  readonly brokerAway: number;
}

/** Instances that have somebody who watches a given device. */
export function audience({ instances, dashboards, devices, devicesPerDashboard }: Deployment): number {
  const watchers = (dashboards * devicesPerDashboard) / devices;
  return instances * (1 - (1 - 1 / instances) ** watchers);
}

/** How many shards each instance reads, as the instances agree on it among themselves. */
export function spread(instances: number, shards: number): number[] {
  const held = new Map(Array.from({ length: instances }, (_, at) => [`i${at}`, 0]));
  for (let free = shards; free > 0;) {
    for (const [name, has] of held) {
      const shares = new Shares(name, shards, 1_500);
      shares.told(new Map(held));
      if (free > 0 && has < shares.own) {
        held.set(name, has + 1);
        free -= 1;
      }
    }
  }
  return [...held.values()];
}

/** Device messages a second that the broker sends while Redis is away, by what the instances ask for. */
export function whileAway(deployment: Deployment): { readonly perSecond: number; readonly scope: string } {
  const { instances, devices, rate } = deployment;
  const rooms = Math.round((devices * audience(deployment)) / instances);
  const ids = Array.from({ length: rooms }, (_, at) => `device-${at}`);
  const { scope } = topicsWhileAway(
    { size: rooms, version: 1, byPattern: false, deviceIds: () => ids },
    {
      subscriptions: [{ filter: 'devices/+/telemetry', qos: 1 }],
      subscriptionsFor: (deviceIds, max) => {
        const filters = [...deviceIds].flatMap((id) =>
          ['telemetry', 'status', 'meta'].map((kind) => ({
            filter: `devices/${id}/${kind}`,
            qos: 1 as const,
          })),
        );
        return filters.length > max ? null : filters;
      },
    },
  );
  const read = scope === 'watched' ? rooms : devices;
  return { perSecond: instances * read * rate, scope };
}

/** One server of Redis: one thing after the other. */
class Server {
  busyMs = 0;
  private freeAt = 0;

  constructor(private readonly time: VirtualTime) {}

  call(costMs: number): Promise<void> {
    const begins = Math.max(this.freeAt, this.time.now + COST.network / 2);
    this.freeAt = begins + costMs;
    this.busyMs += costMs;
    return new Promise((resolve) => this.time.at(this.freeAt + COST.network / 2, resolve));
  }
}

const PAYLOAD = Buffer.alloc(120, '7');
const TICK_MS = 1;
/** Messages that wait for one session as a rule: those of some ticks. */
const CAUGHT_UP = 500;

export interface Flow {
  /** Messages a second that were stored. */
  readonly stored: number;
  readonly offered: number;
  /** From the broker to the store, ms; the messages that waited at the broker are not in it. */
  readonly p99Ms: number;
  /** Part of the time in which the busiest server was busy. */
  readonly redisBusy: number;
  /** Messages that waited at the broker at the end. */
  readonly waiting: number;
  /** Most of them that waited for one session, and when none did any more, ms after the takeover. */
  readonly queued: number;
  readonly caughtUpMs: number;
}

/** The first reader is killed: the messages of its shards wait at the broker until others read them. */
export interface Takeover {
  readonly atMs: number;
  /** From the kill to the first message that the heir is sent: measured with real parts by `npm run test:chaos`. */
  readonly gapMs: number;
}

/**
 * Device messages for some time, through the adapter as it is: batches per partition, one call a partition and shard under way, a bound on what
 * is under way at which reading pauses. Broker, network and Redis are models.
 */
export async function flow(deployment: Deployment, forMs: number, takeover?: Takeover): Promise<Flow> {
  const { devices, rate, shards, redisServers, broker } = deployment;
  const time = new VirtualTime();
  const servers = Array.from({ length: redisServers }, () => new Server(time));
  const heardBy = audience(deployment);
  const tookMs: number[] = [];
  let stored = 0;
  let queued = 0;
  let caughtUpAt = 0;
  const isStill = (reader: number): boolean =>
    takeover !== undefined &&
    reader === 0 &&
    time.now >= takeover.atMs &&
    time.now < takeover.atMs + takeover.gapMs;
  const readers = spread(deployment.instances, shards).flatMap((held, instance) =>
    held === 0 ? [] : [{ instance, held }],
  );
  const offered = devices * rate;
  const perShard = offered / shards;
  let shard = 0;
  const sources: { waiting: number; due: number; allowed: number; write: () => boolean }[] = [];
  for (const { held } of readers) {
    const config = testConfig({
      REDIS_URL: 'redis://model',
      REDIS_PARTITIONS: String(redisServers === 1 ? 4 : redisServers * 8),
    });
    const store = new RedisStore(config, new Metrics(), {
      fenced: () => undefined,
      congested: () => undefined,
    });
    const publish = (partition: Partition, batch: EncodedBatch): Promise<BatchReply> => {
      const operations = batch.groups.reduce((sum, group) => sum + group.length, 0);
      const server = servers[partition.index % servers.length]!;
      const costMs = COST.call + operations * (COST.store + heardBy * COST.fanOut);
      return server.call(costMs).then(() => ({ kind: 'answer', answer: 'A' }));
    };
    const nodes = { nodes: [], nodeOf: () => ({ up: true, publish }) } as unknown as StoreNodes;
    store.use(nodes);
    for (let own = 0; own < held; own += 1) {
      const number = shard++;
      const writer = new StoreWriter(store, number);
      let next = 0;
      sources.push({
        waiting: 0,
        due: 0,
        allowed: 0,
        write: () => {
          if (store.congested) {
            return false;
          }
          const sentAt = time.now;
          const deviceId = `s${number}-${next++ % Math.ceil(devices / shards)}`;
          writer.publish({
            deviceId,
            payload: PAYLOAD,
            receivedAt: 1,
            receivedMono: 0,
            packetId: 1,
            dup: false,
            settle: () => {
              stored += 1;
              tookMs.push(time.now - sentAt);
            },
          });
          return true;
        },
      });
    }
  }
  // What a core has left for reading beside the dashboards of its instance.
  const readsPerTick = Math.max(0, 1 - beside(deployment)) / COST.read;
  const tick = (): void => {
    let at = 0;
    for (const [reader, { held }] of readers.entries()) {
      let left = isStill(reader) ? 0 : readsPerTick * TICK_MS;
      for (const source of sources.slice(at, at + held)) {
        source.due += (perShard * TICK_MS) / 1_000;
        source.waiting += Math.floor(source.due);
        source.due %= 1;
        const most = (broker.perSession * TICK_MS) / 1_000;
        // A session that is sent less than one in a tick has some in the next.
        source.allowed = Math.min(source.allowed + most, Math.max(1, most));
        while (source.waiting > 0 && left >= 1 && source.allowed >= 1 && source.write()) {
          source.waiting -= 1;
          left -= 1;
          source.allowed -= 1;
        }
        queued = Math.max(queued, source.waiting);
      }
      at += held;
    }
    if (sources.some(({ waiting }) => waiting > CAUGHT_UP)) {
      caughtUpAt = time.now + TICK_MS;
    }
    if (time.now < forMs) {
      time.after(TICK_MS, tick);
    }
  };
  time.at(0, tick);
  await time.run(() => time.now >= forMs, 4, true);
  const sorted = tookMs.sort((one, other) => one - other);
  return {
    stored: (stored * 1_000) / forMs,
    offered,
    p99Ms: sorted[Math.floor(sorted.length * 0.99)] ?? 0,
    redisBusy: Math.max(...servers.map(({ busyMs }) => busyMs)) / forMs,
    waiting: sources.reduce((sum, { waiting }) => sum + waiting, 0),
    queued,
    caughtUpMs: takeover === undefined ? 0 : Math.max(0, caughtUpAt - takeover.atMs - takeover.gapMs),
  };
}

/** Part of a core that a reader needs for dashboards. */
const beside = (deployment: Deployment): number => (deployment.apart === true ? 0 : instanceBusy(deployment));

/** Part of a core that an instance needs for its dashboards. */
function instanceBusy(deployment: Deployment): number {
  const { instances, dashboards, devices, devicesPerDashboard, rate, deliver = COST.deliver } = deployment;
  const deliveries = (dashboards * devicesPerDashboard * rate) / instances;
  const heard = (devices * rate * audience(deployment)) / instances;
  return (deliveries * deliver + heard * COST.hear) / 1_000;
}

/** How full each part is; what is over 1 breaks, the greatest first. */
export function loadOf(deployment: Deployment, { redisBusy, stored, offered }: Flow): Load {
  const { shards, broker, instances } = deployment;
  const most = Math.max(...spread(instances, shards));
  const instance = instanceBusy(deployment);
  return {
    session: offered / shards / broker.perSession,
    reader: beside(deployment) + ((offered / shards) * most * COST.read) / 1_000,
    // What could not be stored was no work for Redis.
    redis: redisBusy * Math.max(1, offered / Math.max(1, stored)),
    instance,
    brokerAway: whileAway(deployment).perSecond / broker.inAll,
  };
}

export interface Crowd {
  /** Until the last client has what it missed. */
  readonly allBackMs: number;
  /** The longest time that a call which stores took meanwhile. */
  readonly storeMaxMs: number;
}

/** Arguments of history.lua for each room. */
const HISTORY_ARGUMENTS = 5;

/** Clients resume at once, each a number of devices that few others watch, at instances that read together and pace their reads as they do. */
export async function resume(
  { instances, devicesPerDashboard }: Pick<Deployment, 'instances' | 'devicesPerDashboard'>,
  clients: number,
  paced = true,
): Promise<Crowd> {
  const time = new VirtualTime();
  const server = new Server(time);
  const { all } = new Partitions('model', 4);
  const call = async (_: unknown, args: readonly string[]): Promise<HistoryAnswer[]> => {
    const rooms = args.length / HISTORY_ARGUMENTS;
    await server.call(COST.historyCall + rooms * COST.history);
    return Array<HistoryAnswer>(rooms).fill(null);
  };
  const config = testConfig({});
  const readers = Array.from(
    { length: instances },
    () => new HistoryReads(config, call, new ReadPace(() => time.now)),
  );
  let left = clients;
  let allBackMs = 0;
  let storeMaxMs = 0;
  const store = (): void => {
    const sentAt = time.now;
    void server.call(0.1).then(() => (storeMaxMs = Math.max(storeMaxMs, time.now - sentAt)));
    time.after(2, store);
  };
  time.at(0, store);
  const alone = Array<string>(HISTORY_ARGUMENTS).fill('');
  for (let client = 0; client < clients; client += 1) {
    const reads = readers[client % instances]!;
    time.at(100, () => {
      const rooms = Array.from({ length: devicesPerDashboard }, (_, device) => {
        const position = { epoch: 'e', offset: 1 };
        return paced
          ? reads.read(all[device % all.length]!, `${client}-${device}`, position, 8, false)
          : call(null, alone);
      });
      void Promise.all<unknown>(rooms).then(() => {
        left -= 1;
        allBackMs = time.now - 100;
      });
    });
  }
  const backAt = (): boolean => left === 0 && time.now > 100 + allBackMs + storeMaxMs;
  await time.run(backAt, 8, true);
  return { allBackMs, storeMaxMs };
}
