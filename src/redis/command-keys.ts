import { setTimeout as delay } from 'node:timers/promises';
import type { OnModuleDestroy } from '@nestjs/common';
import {
  CommandKeys,
  type KeyedRecord,
  keysUnavailable,
  type OwnRecord,
} from '../gateway/commands/command-keys.js';
import { background, walled } from '../logging/walls.js';
import { slotOf } from './connection/partitions.js';
import type { ScriptedRedis, StorePlace } from './connection/scripts.js';

/** Interval at which lost connections are noticed, and what was not stored is tried again. */
const TICK_MS = 250;
/** Records written in one tick to one place. */
const MAX_PER_TICK = 5_000;
/** Records that wait to be written; more are not written again. */
export const MAX_DUE = 100_000;
/**
 * A server process younger than this may be one that lost its data, and other instances have not written their records again: a connection
 * to Redis is tried every 2 s at least.
 */
const YOUNG_MS = 3_000;
/** The same wait for a server that replaced another one while this instance was running. */
const CHANGED_MS = 5_000;

/** What is to be done at a place as soon as it can be reached. */
interface Due {
  readonly what: 'put' | 'free';
  readonly record: OwnRecord;
  /** Monotonic ms from which the life of the record counts. */
  readonly at: number;
}

/** Keys of one partition. */
interface Keys {
  readonly place: StorePlace;
  /** By id; the last one counts. */
  readonly due: Map<string, Due>;
  connection: ScriptedRedis | null;
  runId: string;
  /** Monotonic ms before which nothing is claimed. */
  settledAt: number;
  /** Another connection than before: it may be to a server that has lost records, and what was to be stored last may not be. */
  isDoubted: boolean;
}

/**
 * Keys of commands in Redis, one hash each, which expires. Redis decides who is first. It may lose what it has (a restart without
 * persistence, a replica that was behind): each instance then writes its own records again, and claims wait until all have had the time.
 */
export class RedisCommandKeys extends CommandKeys implements OnModuleDestroy {
  private readonly keys: readonly Keys[];
  private readonly timer: NodeJS.Timeout;
  private own: () => Iterable<OwnRecord> = () => [];

  /**
   * @param places keys are spread over them by their id: the same on all instances
   * @param pauses replaced in tests
   */
  constructor(
    places: readonly StorePlace[],
    private readonly timeoutMs: number,
    private readonly pauses = { youngMs: YOUNG_MS, changedMs: CHANGED_MS },
  ) {
    super();
    this.keys = places.map((place) => ({
      place,
      due: new Map(),
      connection: null,
      runId: '',
      settledAt: 0,
      isDoubted: false,
    }));
    this.timer = setInterval(
      walled('redis', () => this.tick()),
      TICK_MS,
    ).unref();
  }

  start(own: () => Iterable<OwnRecord>): void {
    this.own = own;
  }

  onModuleDestroy(): void {
    clearInterval(this.timer);
  }

  async claim(record: OwnRecord): Promise<KeyedRecord | null> {
    const keys = this.keysOf(record.id);
    for (let waitMs = this.unsettledMs(keys); waitMs > 0; waitMs = this.unsettledMs(keys)) {
      await delay(waitMs);
    }
    try {
      return (await this.call(keys, 'claim', record)) ?? null;
    } catch (error) {
      this.postpone(keys, 'free', record); // whether Redis has taken it is not known
      throw error;
    }
  }

  read(id: string): Promise<KeyedRecord | undefined> {
    return this.call(this.keysOf(id), 'read', { id, correlation: '' });
  }

  async put(record: OwnRecord): Promise<KeyedRecord> {
    const keys = this.keysOf(record.id);
    try {
      return (await this.call(keys, 'put', record)) ?? record;
    } catch (error) {
      this.postpone(keys, 'put', record);
      throw error;
    }
  }

  free(id: string, correlation: string): void {
    const keys = this.keysOf(id);
    const record: OwnRecord = { id, correlation, digest: '', state: 'claimed', lifeMs: CHANGED_MS };
    background(
      'redis',
      this.call(keys, 'free', record).catch(() => this.postpone(keys, 'free', record)),
    );
  }

  private keysOf(id: string): Keys {
    return this.keys[slotOf(id) % this.keys.length] as Keys;
  }

  /** @returns for how long nothing may be claimed yet. @throws {ProtocolError} keys_unavailable */
  private unsettledMs(keys: Keys): number {
    if (this.connectionOf(keys) === null) {
      throw keysUnavailable();
    }
    return keys.settledAt - performance.now();
  }

  /** The connection now. */
  private connectionOf(keys: Keys): ScriptedRedis | null {
    const connection = keys.place.connection();
    if (connection === null || connection === keys.connection) {
      return connection;
    }
    keys.connection = connection;
    const { runId, upMs, at } = connection.server;
    const isChanged = keys.runId !== '' && keys.runId !== runId;
    keys.settledAt = Math.max(at - upMs + this.pauses.youngMs, isChanged ? at + this.pauses.changedMs : 0);
    keys.runId = runId;
    keys.isDoubted = true;
    return connection;
  }

  private tick(): void {
    this.keys.forEach((keys) => this.connectionOf(keys));
    if (this.keys.some(({ isDoubted }) => isDoubted)) {
      for (const record of this.own()) {
        const keys = this.keysOf(record.id);
        if (keys.isDoubted) {
          this.postpone(keys, 'put', record);
        }
      }
    }
    for (const keys of this.keys) {
      keys.isDoubted = false;
      this.catchUp(keys);
    }
  }

  private postpone({ due }: Keys, what: Due['what'], record: OwnRecord): void {
    due.delete(record.id);
    if (due.size < MAX_DUE) {
      due.set(record.id, { what, record, at: performance.now() });
    }
  }

  private catchUp(keys: Keys): void {
    if (this.connectionOf(keys) === null || keys.due.size === 0) {
      return;
    }
    let left = MAX_PER_TICK;
    for (const [id, { what, record, at }] of keys.due) {
      keys.due.delete(id);
      const lifeMs = Math.round(record.lifeMs - (performance.now() - at));
      if (lifeMs > 0) {
        const rest = { ...record, lifeMs };
        const done = this.call(keys, what, rest).then(
          () => undefined,
          () => {
            if (!keys.due.has(id)) {
              this.postpone(keys, what, rest);
            }
          },
        );
        background('redis', done);
        left -= 1;
      }
      if (left === 0) {
        return;
      }
    }
  }

  /** @throws {ProtocolError} keys_unavailable: Redis is away, slow, or refuses; what it has done is not known */
  private async call(
    keys: Keys,
    what: 'claim' | 'read' | 'put' | 'free',
    { id, correlation, lifeMs = 0, digest = '', state = 'claimed', delivered, reply }: Partial<OwnRecord>,
  ): Promise<KeyedRecord | undefined> {
    const connection = this.connectionOf(keys);
    if (connection === null) {
      throw keysUnavailable();
    }
    const stop = new AbortController();
    try {
      const answer = await Promise.race([
        connection.sluiceCommandKeyBuffer(
          `${keys.place.prefix}command:${id}`,
          what,
          correlation ?? '',
          String(lifeMs),
          digest,
          state,
          delivered === undefined ? '' : String(delivered),
          reply === undefined ? '' : reply === null ? '-' : Buffer.concat([Buffer.from('+'), reply]),
        ),
        delay(this.timeoutMs, 'late' as const, { signal: stop.signal }),
      ]);
      if (answer === 'late') {
        throw keysUnavailable();
      }
      return answer === null ? undefined : decode(answer);
    } catch {
      throw keysUnavailable();
    } finally {
      stop.abort();
    }
  }
}

/** A record in a form that this release does not write is read as `claimed`: the outcome of its command is not known. */
function decode([correlation, digest, state, delivered, reply]: readonly (Buffer | null)[]): KeyedRecord {
  const known = state?.toString();
  const told = delivered?.toString();
  return {
    correlation: correlation?.toString() ?? '',
    digest: digest?.toString() ?? '',
    state: known === 'sent' || known === 'failed' ? known : 'claimed',
    ...((told === 'true' || told === 'false') && { delivered: told === 'true' }),
    ...(reply?.[0] === 0x2b && { reply: reply.subarray(1) }),
    ...(reply?.[0] === 0x2d && { reply: null }),
  };
}
