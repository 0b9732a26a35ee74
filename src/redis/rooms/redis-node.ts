import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { StoreLostError } from '../../ingest/ports.js';
import { walled } from '../../logging/walls.js';
import type { EncodedBatch } from './batch.js';
import { FinishedCalls } from './finished-call.js';
import { type Connect, Heartbeat, RedisLink } from '../connection/link.js';
import { DEMOTED, MOVED, type ScriptedRedis, TOO_LATE, withScripts } from '../connection/scripts.js';
import type { BatchReply } from './partition-queue.js';
import type { Partition } from '../connection/partitions.js';
import type { MessageSink } from '../connection/push-reader.js';
import { Subscriber } from '../connection/subscriber.js';
import { FORMAT_VERSION } from './wire.js';

interface NodeOptions {
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
  /** The key by which instances check that they agree; undefined if another node has it. */
  agreementKey(): string | undefined;
  slotOf: (channel: string) => number;
}

/** What the connections of all servers report. */
export interface StoreNodesEvents {
  commandsUp(node: RedisNode, redis: ScriptedRedis): void;
  down(node: RedisNode, connection: 'commands' | 'subscriber', why: string): void;
  subscriberUp(node: RedisNode): void;
  /** @returns true if the channel belongs to a room; otherwise `message` is called */
  roomMessage: (...message: Parameters<MessageSink>) => boolean;
  message(channel: string, message: Buffer): void;
  confirmed(channels: readonly string[]): void;
  /** The node does not serve a slot (any more): check again which node does. */
  moved(node: RedisNode): void;
  /** Another server process than before answers: its data may be older. */
  serverChanged(): void;
  /** Called at every heartbeat interval: {@link RedisNode.silentMs} may have changed. */
  tick(): void;
  /** Other nodes serve these partitions now. */
  partitionsMoved(partitions: ReadonlySet<Partition>): void;
}

/** One Redis server: a connection for commands, one for subscriptions, and their health. */
export class RedisNode {
  readonly subscriber: Subscriber;
  /** Why it accepts no writes although it answers; null while it does. */
  refusal: string | null = 'not reached yet';
  private readonly commands: RedisLink<ScriptedRedis>;
  private runId = '';
  private readonly names = new GenerationNames();
  private readonly heartbeat: Heartbeat;
  private probes: NodeJS.Timeout | null = null;
  /** Since when batches fail though the node answers; 0 while they succeed. */
  private failingSince = 0;
  private readonly turn = new WriteTurn();
  private readonly agreement: Agreement;
  private readonly publishing: FinishedCalls;

  constructor(
    private readonly options: NodeOptions,
    private readonly events: StoreNodesEvents,
  ) {
    const { timeoutMs, sharded, connect, connectSubscriber, slotOf } = options;
    this.agreement = new Agreement(options);
    this.publishing = new FinishedCalls(options.scripts.get('sluicePublish') as string);
    this.commands = new RedisLink(connect, timeoutMs * 2, {
      prepare: (redis) => this.prepare(withScripts(redis, options.scripts)),
      up: (redis) => {
        events.commandsUp(this, redis);
        this.probe();
        if (this.refusal !== null) {
          events.down(this, 'commands', this.refusal);
        }
      },
      down: (why) => {
        this.heartbeat.forget();
        this.subscriber.doubt();
        events.down(this, 'commands', why);
      },
    });
    this.heartbeat = new Heartbeat(timeoutMs, {
      connection: () => this.commands.current,
      ask: (redis) => this.ask(redis),
      answered: () => {
        this.refusal = null;
        return this.subscriber.up;
      },
      refused: (error) => this.failed(error),
      silent: (why) => this.commands.replace(why),
      tick: () => {
        this.subscriber.channels.retry();
        this.subscriber.tick();
        events.tick();
      },
    });
    this.subscriber = new Subscriber(
      connectSubscriber,
      timeoutMs * 2,
      sharded,
      () => this.probeChannel(),
      slotOf,
      {
        up: () => {
          this.heartbeat.now();
          events.subscriberUp(this);
        },
        down: (why) => events.down(this, 'subscriber', why),
        roomMessage: events.roomMessage,
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

  /** Accepts commands, delivers messages, and a heartbeat has confirmed it: a return that begins now is not given up at once. */
  get up(): boolean {
    const well = this.refusal === null && this.heartbeat.silentMs < this.options.timeoutMs;
    return this.commands.current !== null && well && this.subscriber.up;
  }

  get redis(): ScriptedRedis | null {
    return this.commands.current;
  }

  /** Time for which the node was not well. */
  get silentMs(): number {
    const now = Date.now();
    return Math.max(this.heartbeat.silentMs, this.failingSince === 0 ? 0 : now - this.failingSince);
  }

  /** A name that no generation had before; scripts use it if they begin one. */
  get freshGeneration(): string {
    return this.names.next();
  }

  get serverRunId(): string {
    return this.runId;
  }

  /** Unix ms there, as of the last heartbeat. */
  get serverNow(): number {
    return Date.now() + this.heartbeat.clockOffsetMs;
  }

  start(): void {
    this.commands.start();
    this.subscriber.start();
    this.heartbeat.start();
    this.probes = setInterval(
      walled('redis', () => this.probe()),
      this.options.probeMs,
    );
  }

  stop(): void {
    this.heartbeat.stop();
    if (this.probes !== null) {
      clearInterval(this.probes);
    }
    this.commands.stop();
    this.subscriber.stop();
  }

  /** @returns null while this node accepts no calls */
  publish(partition: Partition, batch: EncodedBatch, token: string): Promise<BatchReply> | null {
    const redis = this.commands.current;
    if (redis === null || this.refusal !== null) {
      return null;
    }
    const deadline = this.serverNow + this.options.timeoutMs;
    this.turn.begin(redis);
    const { headKey } = partition;
    const { bytes, kept } = batch;
    const args = [this.runId, token, String(deadline), this.freshGeneration, bytes] as const;
    const called: Promise<unknown> =
      kept === null
        ? redis.sluicePublish(headKey, ...args)
        : this.publishing.call(
            redis,
            headKey,
            [...args, kept.stamp, kept.listsWatched ? '1' : ''],
            kept.rooms * ARGUMENTS_PER_ROOM,
            kept,
          );
    return called.then(
      (answered): BatchReply => {
        const reply = readReply(answered);
        this.failingSince = reply.answer === TOO_LATE ? this.failingSince || Date.now() : 0;
        return reply;
      },
      (error: Error) => {
        // An error of a replaced connection says nothing about the current one.
        if (this.commands.current === redis) {
          this.failingSince ||= Date.now();
        }
        return this.failed(error);
      },
    );
  }

  /** Called when all pending calls were dropped: earlier failures no longer count. The node must pass a heartbeat and a probe before it is used again. */
  startAnew(): void {
    this.failingSince = 0;
    this.subscriber.doubt();
    this.probe();
  }

  /** Handles an error: what it means for the call, and what for the connection. */
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

  private async prepare(redis: ScriptedRedis): Promise<ScriptedRedis> {
    const info = await redis.info('server');
    const runId = /run_id:(\w+)/.exec(info)?.[1];
    if (runId === undefined) {
      throw new Error('INFO server names no run_id');
    }
    if (this.runId !== '' && this.runId !== runId) {
      this.events.serverChanged();
    }
    this.runId = runId;
    const upS = Number(/uptime_in_seconds:(\d+)/.exec(info)?.[1] ?? 0);
    redis.server = { runId, upMs: upS * 1000, at: performance.now() };
    try {
      await this.heartbeat.beat(redis);
    } catch (error) {
      const { name, message } = error as Error;
      if (name !== 'ReplyError' || DEMOTED.test(message)) {
        throw error;
      }
      this.refusal = message;
    }
    return redis;
  }

  private async ask(redis: ScriptedRedis): Promise<number | null> {
    const { options } = this;
    const home = options.home();
    if (home === undefined) {
      return null;
    }
    const [serverMs] = await Promise.all([
      redis.sluiceHeartbeat(home.headKey, String(options.partitionCount)),
      this.agreement.check(redis, this.refusal !== null),
    ]);
    return Number(serverMs);
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

/**
 * Asks the server of a partition. An error counts against the health of its node.
 * @throws {StoreLostError} when the partition has no connection
 */
export async function callNode<T>(
  node: RedisNode | undefined,
  ask: (redis: ScriptedRedis, node: RedisNode) => Promise<T>,
): Promise<T> {
  const redis = node?.redis ?? null;
  if (node === undefined || redis === null) {
    throw new StoreLostError('not connected');
  }
  try {
    return await ask(redis, node);
  } catch (error) {
    if (error instanceof Error) {
      node.failed(error);
    }
    throw error;
  }
}

/** Of publish.lua, for each room whose head is kept. */
const ARGUMENTS_PER_ROOM = 3;

/** An answer of publish.lua: a text, or an array that begins with it. */
function readReply(answered: unknown): BatchReply & { kind: 'answer' } {
  if (!Array.isArray(answered)) {
    return { kind: 'answer', answer: String(answered) };
  }
  const [answer, stamp, watched, ...heads] = answered as Buffer[];
  return { kind: 'answer', answer: String(answer), stamp: String(stamp), watched: Number(watched), heads };
}

/** Interval of the check while all is well, in ms. agreement.lua forgets an instance after 30 s. */
const EVERY_MS = 5_000;

/** Asks a server whether all instances agree on the settings that must be equal: on each new connection, then at intervals. */
export class Agreement {
  /** The connection on which they agreed last, and when; monotonic, so that a clock set back does not delay the next check. */
  private on: ScriptedRedis | null = null;
  private at = 0;

  constructor(private readonly options: Pick<NodeOptions, 'agreementKey' | 'partitionCount'>) {}

  /**
   * @param doubted something was refused: ask again, whatever the last answer was
   * @throws ReplyError if they do not agree
   */
  async check(redis: ScriptedRedis, doubted: boolean): Promise<void> {
    const key = this.options.agreementKey();
    const now = performance.now();
    if (key === undefined || (!doubted && this.on === redis && now - this.at < EVERY_MS)) {
      return;
    }
    await redis.sluiceAgree(key, String(this.options.partitionCount), String(FORMAT_VERSION));
    this.on = redis;
    this.at = now;
  }
}

const BYTES = 9;
const LETTERS = 12;
/** Names drawn at once: the system's random numbers cost as much as the rest of a small call. */
const NAMES = 512;

/** Names that no generation of a partition had before. */
class GenerationNames {
  private letters = '';
  private at = 0;

  next(): string {
    if (this.at >= this.letters.length) {
      this.letters = randomBytes(BYTES * NAMES).toString('base64url');
      this.at = 0;
    }
    const { at } = this;
    this.at += LETTERS;
    return this.letters.slice(at, this.at);
  }
}

/** Sends all calls that one event-loop turn makes on a connection in one write. */
class WriteTurn {
  private corked = false;

  begin({ stream }: Redis): void {
    if (!this.corked) {
      this.corked = true;
      stream.cork();
      process.nextTick(
        walled('redis', () => {
          this.corked = false;
          stream.uncork();
        }),
      );
    }
  }
}
