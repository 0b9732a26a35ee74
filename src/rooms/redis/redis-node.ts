import { randomBytes } from 'node:crypto';
import type { EncodedBatch } from './batch-encoder.js';
import type { BatchReply } from './partition-queue.js';
import type { Partition } from './partitions.js';
import type { Connect } from './redis-connections.js';
import { RedisLink } from './redis-link.js';
import { type ScriptedRedis, withScripts } from './scripts.js';
import { Subscriber } from './subscriber.js';

export interface NodeOptions {
  readonly connect: Connect;
  readonly connectSubscriber: Connect;
  readonly scripts: ReadonlyMap<string, string>;
  readonly sharded: boolean;
  readonly timeoutMs: number;
  readonly probeMs: number;
  readonly partitionCount: number;
  readonly instanceId: string;
  /** A partition that this node serves. */
  home(): Partition | undefined;
  slotOf: (channel: string) => number;
}

export interface NodeEvents {
  commandsUp(node: RedisNode, redis: ScriptedRedis): void;
  down(node: RedisNode, connection: 'commands' | 'subscriber', why: string): void;
  subscriberUp(node: RedisNode): void;
  message(channel: string, message: Buffer): void;
  confirmed(channels: readonly string[]): void;
  /** The node does not serve a slot (any more): look again who does. */
  moved(node: RedisNode): void;
  /** A heartbeat interval is over: {@link RedisNode.silentMs} may have something to say. */
  tick(): void;
}

/** Answer of redis/lua/publish.lua to a batch that comes too late. */
export const TOO_LATE = 'L';

const GENERATION_BYTES = 9;
const GENERATION_LETTERS = 12;

/** Heartbeats within the time after which a silent server counts as lost. */
const BEATS_PER_TIMEOUT = 8;

/** Errors by which a node of Redis Cluster says that another one serves a slot, or nobody for now. */
const MOVED = /^(MOVED|ASK|CLUSTERDOWN|TRYAGAIN)\b/;
/** The server became a replica: its successor is found by connecting anew. */
const DEMOTED = /^(-?READONLY|UNBLOCKED|MASTERDOWN)\b/;

/** One Redis server: a connection for commands, one for subscriptions, and what is known of its health. */
export class RedisNode {
  readonly subscriber: Subscriber;
  /** Why it takes no writes although it answers; null while it does. */
  refusal: string | null = 'not reached yet';
  private readonly commands: RedisLink<ScriptedRedis>;
  private runId = '';
  /** Unix ms of the server minus ours. */
  private clockOffsetMs = 0;
  private timers: NodeJS.Timeout[] = [];
  /** When the heartbeat that waits for its answer was sent; 0 for none. */
  private beatSentAt = 0;
  /** When the last heartbeat was sent that found everything well. */
  private wellAt = Date.now();
  private tickedAt = Date.now();
  /** Since when no batch was stored though the node answers; 0 while they are. */
  private failingSince = 0;
  private corked = false;
  private random = '';
  private randomAt = 0;

  constructor(
    private readonly options: NodeOptions,
    private readonly events: NodeEvents,
  ) {
    const { timeoutMs, sharded, connect, connectSubscriber, slotOf } = options;
    this.commands = new RedisLink(connect, timeoutMs * 2, {
      prepare: (redis) => this.prepare(withScripts(redis, options.scripts)),
      up: (redis) => {
        events.commandsUp(this, redis);
        if (this.refusal !== null) {
          events.down(this, 'commands', this.refusal);
        }
      },
      down: (why) => {
        this.beatSentAt = 0;
        events.down(this, 'commands', why);
      },
    });
    this.subscriber = new Subscriber(
      connectSubscriber,
      timeoutMs * 2,
      sharded,
      () => this.probeChannel(),
      slotOf,
      {
        up: () => events.subscriberUp(this),
        down: (why) => events.down(this, 'subscriber', why),
        message: (channel, message) => events.message(channel, message),
        confirmed: (channels) => events.confirmed(channels),
        refused: (error) => {
          if (MOVED.test(error.message)) {
            events.moved(this);
          } else {
            this.subscriber.replace(error.message);
          }
        },
      },
    );
  }

  /** Takes commands and delivers what is published. */
  get up(): boolean {
    return this.commands.current !== null && this.refusal === null && this.subscriber.up;
  }

  get redis(): ScriptedRedis | null {
    return this.commands.current;
  }

  /** Time for which not everything was well with it. */
  get silentMs(): number {
    const now = Date.now();
    return Math.max(now - this.wellAt, this.failingSince === 0 ? 0 : now - this.failingSince);
  }

  /** A name that no generation had before; given to scripts for the case that they begin one. */
  get freshGeneration(): string {
    // Drawn ahead for many calls: the system's random numbers cost as much as the rest of a small call.
    if (this.randomAt >= this.random.length) {
      this.random = randomBytes(GENERATION_BYTES * 512).toString('base64url');
      this.randomAt = 0;
    }
    const at = this.randomAt;
    this.randomAt += GENERATION_LETTERS;
    return this.random.slice(at, this.randomAt);
  }

  get serverRunId(): string {
    return this.runId;
  }

  start(): void {
    const { timeoutMs, probeMs } = this.options;
    this.wellAt = this.tickedAt = Date.now();
    this.commands.start();
    this.subscriber.start();
    this.timers = [
      setInterval(() => this.tick(), timeoutMs / BEATS_PER_TIMEOUT),
      setInterval(() => this.probe(), probeMs),
    ];
  }

  stop(): void {
    this.timers.forEach((timer) => clearInterval(timer));
    this.timers = [];
    this.commands.stop();
    this.subscriber.stop();
  }

  /** @returns null while this node takes no calls */
  publish(partition: Partition, batch: EncodedBatch, token: string): Promise<BatchReply> | null {
    const redis = this.commands.current;
    if (redis === null || this.refusal !== null) {
      return null;
    }
    const deadline = Date.now() + this.clockOffsetMs + this.options.timeoutMs;
    this.cork(redis);
    return redis
      .sluicePublish(
        partition.headKey,
        this.runId,
        token,
        String(deadline),
        this.freshGeneration,
        batch.bytes,
      )
      .then(
        (answer): BatchReply => {
          this.failingSince = answer === TOO_LATE ? this.failingSince || Date.now() : 0;
          return { kind: 'answer', answer };
        },
        (error: Error) => {
          // Of a connection that was replaced it says nothing about the next one.
          if (this.commands.current === redis) {
            this.failingSince ||= Date.now();
          }
          return this.failed(error);
        },
      );
  }

  /** Nothing is under way any more: failures of before count no longer. */
  forgetFailures(): void {
    this.failingSince = 0;
  }

  /** What an error says about the call, and does about the connection. */
  failed(error: Error): BatchReply {
    if (error.name !== 'ReplyError') {
      return { kind: 'unknown' };
    }
    if (MOVED.test(error.message)) {
      this.events.moved(this);
    } else {
      this.refuse(error.message);
    }
    return { kind: 'failed' };
  }

  /** All calls of one event-loop turn leave in one write. */
  private cork({ stream }: ScriptedRedis): void {
    if (!this.corked) {
      this.corked = true;
      stream.cork();
      process.nextTick(() => {
        this.corked = false;
        stream.uncork();
      });
    }
  }

  private async prepare(redis: ScriptedRedis): Promise<ScriptedRedis> {
    const info = await redis.info('server');
    const runId = /run_id:(\w+)/.exec(info)?.[1];
    if (runId === undefined) {
      throw new Error('INFO server names no run_id');
    }
    this.runId = runId;
    try {
      await this.beat(redis);
    } catch (error) {
      const { name, message } = error as Error;
      if (name !== 'ReplyError' || DEMOTED.test(message)) {
        throw error;
      }
      this.refusal = message;
    }
    return redis;
  }

  private tick(): void {
    // While this process itself was busy, silence says nothing about the server.
    const now = Date.now();
    const lateMs = Math.max(0, now - this.tickedAt - this.options.timeoutMs / BEATS_PER_TIMEOUT);
    this.tickedAt = now;
    this.wellAt = Math.min(now, this.wellAt + lateMs);
    if (this.beatSentAt > 0) {
      this.beatSentAt = Math.min(now, this.beatSentAt + lateMs);
    }
    this.heartbeat(now);
    this.subscriber.channels.retry();
    this.events.tick();
  }

  private heartbeat(now: number): void {
    const redis = this.commands.current;
    if (redis === null) {
      return;
    }
    if (this.beatSentAt > 0) {
      if (now - this.beatSentAt >= this.options.timeoutMs) {
        this.commands.replace(`no answer for ${now - this.beatSentAt} ms`);
      }
      return;
    }
    this.beatSentAt = now;
    this.beat(redis).catch((error: Error) => {
      if (this.commands.current === redis && error.name === 'ReplyError') {
        this.beatSentAt = 0;
        this.failed(error);
      }
    });
  }

  /** One small write: what Redis refuses to write, it refuses here as well. */
  private async beat(redis: ScriptedRedis): Promise<void> {
    const home = this.options.home();
    if (home === undefined) {
      return;
    }
    const before = Date.now();
    const serverMs = Number(await redis.sluiceHeartbeat(home.headKey, String(this.options.partitionCount)));
    this.clockOffsetMs = serverMs - (before + Date.now()) / 2;
    this.refusal = null;
    this.beatSentAt = 0;
    if (this.subscriber.up) {
      this.wellAt = before;
    }
  }

  private refuse(message: string): void {
    const first = this.refusal === null;
    this.refusal = message;
    if (first) {
      this.events.down(this, 'commands', message);
    }
    if (DEMOTED.test(message)) {
      this.commands.replace(message);
      this.subscriber.replace(message);
    }
  }

  private probe(): void {
    const redis = this.commands.current;
    if (redis !== null) {
      const { sharded, probeMs, timeoutMs } = this.options;
      this.subscriber.probe(
        (channel) => (sharded ? redis.spublish(channel, '') : redis.publish(channel, '')),
        probeMs + timeoutMs,
      );
    }
  }

  private probeChannel(): string | undefined {
    const home = this.options.home();
    return home === undefined ? undefined : `${home.prefix}probe:${this.options.instanceId}`;
  }
}
