import { setTimeout as delay } from 'node:timers/promises';
import type { Config } from '../../config/config.js';
import { StoreLostError } from '../../ingest/ports.js';
import { contain, walled } from '../../logging/walls.js';
import { mirrorGauge } from '../../metrics/hot-counters.js';
import type { Metrics } from '../../metrics/metrics.js';
import type { Position, Rewind } from '../../protocol/client-messages.js';
import type { HistoryPage, LastHeard, TelemetryBase } from '../../rooms/broadcast-adapter.js';
import { historyLimits } from '../../rooms/memory/history-log.js';
import type { Partition, Partitions } from '../connection/partitions.js';
import { HistoryReads } from './history-reads.js';
import { callNode, type RedisNode } from './redis-node.js';
import {
  decodeBase,
  decodeLastHeard,
  decodeState,
  isUnreadable,
  LAST_HEARD_BYTES,
  readRewind,
  type StoredState,
} from './wire.js';

/** Rooms read by one call: bounds the time for which one call keeps Redis busy. */
const MAX_ROOMS_PER_READ = 64;
/** The same where a few bytes of each are read. */
const MAX_HEARD_PER_READ = 512;
/** Ids that one step of a scan looks at. */
const IDS_PER_SCAN = 1_000;

/** Reads of rooms, their history and the list of devices, from the server of each partition. Histories are read at a pace that Redis can bear. */
export class StoreReads {
  private readonly histories: HistoryReads;

  constructor(
    private readonly config: Pick<Config, 'rooms'>,
    private readonly metrics: Metrics,
    private readonly partitions: Partitions,
    private readonly nodeOf: (partition: Partition) => RedisNode | undefined,
  ) {
    this.histories = new HistoryReads(config, (partition, args) =>
      this.call(partition, (redis) => redis.sluiceHistoryBuffer(partition.headKey, ...args)),
    );
    mirrorGauge(metrics.redisReadsWaiting, () => this.histories.waiting);
    mirrorGauge(metrics.redisReadLimit, () => this.histories.limit);
  }

  /** The states of rooms of one partition; unknown rooms get an epoch. In the order of the ids; null for a state that cannot be decoded. */
  states(partition: Partition, deviceIds: readonly string[]): Promise<(StoredState | null)[]> {
    return this.read(partition, deviceIds, 'sluiceAttachBuffer');
  }

  /** The states of known rooms, in the order of the ids; null for one of which nothing is known. Makes none, and keeps none. */
  async knownStates(deviceIds: readonly string[]): Promise<(StoredState | null)[]> {
    const found = new Map<string, StoredState | null>();
    const groups = [...this.partitions.group(deviceIds)];
    await Promise.all(
      groups.map(async ([partition, ids]) => {
        const states = await this.read(partition, ids, 'sluiceReadBuffer');
        ids.forEach((deviceId, at) => found.set(deviceId, states[at] ?? null));
      }),
    );
    return deviceIds.map((deviceId) => found.get(deviceId) ?? null);
  }

  private async read(
    partition: Partition,
    deviceIds: readonly string[],
    script: 'sluiceAttachBuffer' | 'sluiceReadBuffer',
  ): Promise<(StoredState | null)[]> {
    const states: (StoredState | null)[] = [];
    for (let from = 0; from < deviceIds.length; from += MAX_ROOMS_PER_READ) {
      const ids = deviceIds.slice(from, from + MAX_ROOMS_PER_READ);
      const answer = await this.call(partition, (redis, node) =>
        redis[script](partition.headKey, node.serverRunId, node.freshGeneration, ...ids),
      );
      ids.forEach((deviceId, at) => {
        const [state, meta, telemetryMeta] = answer.slice(at * 3, at * 3 + 3) as [Buffer, Buffer, Buffer];
        if (state.length === 0) {
          states.push(null);
          return;
        }
        states.push(
          this.readable(() =>
            decodeState(deviceId, state, meta ?? Buffer.alloc(0), telemetryMeta ?? Buffer.alloc(0)),
          ),
        );
      });
    }
    return states;
  }

  /** Every device that is known, with when it was heard last. @throws when the store does not answer */
  async eachDevice(take: (device: LastHeard) => void): Promise<void> {
    for (const partition of this.partitions.all) {
      const ids = await this.devicesOf(partition);
      for (let from = 0; from < ids.length; from += MAX_HEARD_PER_READ) {
        const some = ids.slice(from, from + MAX_HEARD_PER_READ);
        const answer = await this.call(partition, (redis) =>
          redis.sluiceHeardBuffer(partition.headKey, String(LAST_HEARD_BYTES - 1), ...some),
        );
        some.forEach((deviceId, at) => {
          const heard = this.readable(() => decodeLastHeard(deviceId, answer[at] as Buffer));
          if (heard !== null) {
            take(heard);
          }
        });
      }
    }
  }

  async bases(partition: Partition, deviceIds: readonly string[]): Promise<(TelemetryBase | null)[]> {
    const answer = await this.call(partition, (redis) =>
      redis.sluiceBaseBuffer(partition.headKey, ...deviceIds),
    );
    return deviceIds.map((deviceId, at) => {
      const [state, untransformed] = answer.slice(at * 2, at * 2 + 2) as [Buffer, Buffer];
      return this.readable(() => decodeBase(deviceId, state, untransformed));
    });
  }

  /** @param alsoOld the previous epoch as well */
  history(
    deviceId: string,
    after: Position,
    maxPublications: number,
    alsoOld = false,
  ): Promise<HistoryPage | null> {
    return this.histories.read(this.partitions.of(deviceId), deviceId, after, maxPublications, alsoOld);
  }

  /** Sets the offset before the first publication of each room within a range; rooms whose history cannot be read now are left out. */
  async rewind(
    rooms: readonly { deviceId: string; epoch: string }[],
    range: Rewind,
    found: Map<string, number | null>,
  ): Promise<void> {
    const byPartition = new Map<Partition, { deviceId: string; epoch: string }[]>();
    for (const room of rooms) {
      const partition = this.partitions.of(room.deviceId);
      const those = byPartition.get(partition);
      if (those === undefined) {
        byPartition.set(partition, [room]);
      } else {
        those.push(room);
      }
    }
    await Promise.all(
      [...byPartition].map(async ([partition, those]) => {
        for (let from = 0; from < those.length; from += MAX_ROOMS_PER_READ) {
          const some = those.slice(from, from + MAX_ROOMS_PER_READ);
          const answer = await this.call(partition, (redis) =>
            redis.sluiceRewindBuffer(
              partition.headKey,
              String(range.count ?? 0),
              String(range.ms ?? 0),
              ...some.flatMap(({ deviceId, epoch }) => [deviceId, epoch]),
            ),
          ).catch(() => null);
          if (answer === null) {
            return;
          }
          const now = Number(answer[0]);
          const limits = historyLimits(this.config.rooms);
          some.forEach(({ deviceId }, at) => {
            const [state, block] = answer.slice(1 + 2 * at, 3 + 2 * at) as [Buffer, Buffer];
            try {
              found.set(deviceId, readRewind(deviceId, state, block, range, limits, now));
            } catch (error) {
              contain('redis', error); // the others are read all the same
            }
          });
        }
      }),
    );
  }

  /** Devices of which something is known. */
  async listDevices(): Promise<string[]> {
    const lists = await Promise.all(this.partitions.all.map((partition) => this.devicesOf(partition)));
    return lists.flat();
  }

  private devicesOf(partition: Partition): Promise<string[]> {
    return this.call(partition, (redis) =>
      redis.zrangebyscore(partition.devicesChannel, this.oldestScore(), '+inf'),
    );
  }

  /** The devices of {@link listDevices}, a page at a time and one partition after the other, with the guarantees of Redis' SCAN. */
  async *scanDevices(): AsyncIterable<string[]> {
    const oldest = this.oldestScore();
    for (const partition of this.partitions.all) {
      let cursor = '0';
      do {
        const [next, found] = await this.call(partition, (redis) =>
          redis.zscan(partition.devicesChannel, cursor, 'COUNT', IDS_PER_SCAN),
        );
        cursor = next;
        yield found.filter((_, at) => at % 2 === 0 && Number(found[at + 1]) >= oldest);
      } while (cursor !== '0');
    }
  }

  private oldestScore(): number {
    return Date.now() - this.config.rooms.deviceExpiryS * 1000 * (9 / 8);
  }

  /** An unreadable state must not keep the others from being read: it counts as nothing. */
  private readable<T>(decode: () => T): T | null {
    try {
      return decode();
    } catch (error) {
      if (isUnreadable(error)) {
        this.metrics.redisUnreadable.inc();
      } else {
        contain('redis', error);
      }
      return null;
    }
  }

  private call<T>(partition: Partition, ask: Parameters<typeof callNode<T>>[1]): Promise<T> {
    return callNode(this.nodeOf(partition), ask);
  }
}

/** Wait before a read that failed is tried again. */
const RETRY_MS = 50;
/** Devices read by one call: bounds the time for which one call keeps Redis busy. */
const MAX_DEVICES_PER_READ = 64;

interface Asked {
  readonly deviceId: string;
  resolve(this: void, base: TelemetryBase | null): void;
  reject(this: void, error: Error): void;
}

/**
 * Reads of where devices stand in one partition, many by one call. A read comes after all writes of this instance that were queued before
 * it: an earlier reader's publication that is still under way is not overlooked. A read that fails is tried again, until the store counts
 * as lost.
 */
export class BaseReads {
  private asked: Asked[] = [];
  private reading = false;
  private drops = 0;

  /**
   * @param written resolves when what is queued now is written
   * @param read in the order of the ids; null where there is nothing
   */
  constructor(
    private readonly written: () => Promise<void>,
    private readonly read: (deviceIds: readonly string[]) => Promise<(TelemetryBase | null)[]>,
  ) {}

  of(deviceId: string): Promise<TelemetryBase | null> {
    return new Promise((resolve, reject) => {
      this.asked.push({ deviceId, resolve, reject });
      if (!this.reading) {
        this.reading = true;
        // In a turn of its own, with all that this one asks for.
        setImmediate(walled('redis', () => this.readAll()));
      }
    });
  }

  /** The store is lost: nobody gets an answer. */
  drop(why: string): void {
    this.drops += 1;
    const { asked } = this;
    this.asked = [];
    asked.forEach(({ reject }) => reject(new StoreLostError(why)));
  }

  private async readAll(): Promise<void> {
    try {
      while (this.asked.length > 0) {
        const some = this.asked.slice(0, MAX_DEVICES_PER_READ);
        const { drops } = this;
        await this.written();
        const bases = await this.read(some.map(({ deviceId }) => deviceId)).catch(() => null);
        if (drops !== this.drops) {
          continue; // they were told that the store is lost
        }
        if (bases === null) {
          await delay(RETRY_MS);
          continue;
        }
        this.asked.splice(0, some.length);
        some.forEach(({ resolve }, at) => resolve(bases[at] ?? null));
      }
    } finally {
      this.reading = false;
    }
  }
}
