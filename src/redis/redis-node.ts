import { randomBytes } from 'node:crypto';
import type { Redis } from 'ioredis';
import { walled } from '../logging/walls.js';
import type { EncodedBatch } from './batch.js';
import { type Connect, Heartbeat, RedisLink } from './link.js';
import { DEMOTED, MOVED, type ScriptedRedis, TOO_LATE, withScripts } from './scripts.js';
import type { BatchReply } from './partition-queue.js';
import type { Partition } from './partitions.js';
import type { MessageSink } from './push-reader.js';
import { Subscriber } from './subscriber.js';
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
  /** Where instances see that they agree; undefined where another node has it. */
  agreementKey(): string | undefined;
  slotOf: (channel: string) => number;
}

/** What a server's connections tell. */
interface NodeEvents {
  commandsUp(node: RedisNode, redis: ScriptedRedis): void;
  down(node: RedisNode, connection: 'commands' | 'subscriber', why: string): void;
  subscriberUp(node: RedisNode): void;
  /** @returns whether it is a message of a room: {@link message} hears of all others */
  roomMessage: (...message: Parameters<MessageSink>) => boolean;
  message(channel: string, message: Buffer): void;
  confirmed(channels: readonly string[]): void;
  /** The node does not serve a slot (any more): look again who does. */
  moved(node: RedisNode): void;
  /** Another server process than before answers: it may have been behind the one before. */
  serverChanged(): void;
  /** A heartbeat interval is over: {@link RedisNode.silentMs} may have something to say. */
  tick(): void;
}

/** What the servers together tell. */
export interface StoreNodesEvents extends NodeEvents {
  /** Others serve these partitions now. */
  partitionsMoved(partitions: ReadonlySet<Partition>): void;
}

/** One Redis server: a connection for commands, one for subscriptions, and what is known of its health. */
export class RedisNode {
  readonly subscriber: Subscriber;
  /** Why it takes no writes although it answers; null while it does. */
  refusal: string | null = 'not reached yet';
  private readonly commands: RedisLink<ScriptedRedis>;
  private runId = '';
  private readonly names = new GenerationNames();
  private readonly heartbeat: Heartbeat;
  private probes: NodeJS.Timeout | null = null;
  /** Since when no batch was stored though the node answers; 0 while they are. */
  private failingSince = 0;
  private readonly turn = new WriteTurn();
  private readonly agreement: Agreement;

  constructor(
    private readonly options: NodeOptions,
    private readonly events: NodeEvents,
  ) {
    const { timeoutMs, sharded, connect, connectSubscriber, slotOf } = options;
    this.agreement = new Agreement(options);
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

  /** Takes commands and delivers what is published, and a heartbeat has found it so: a return that begins now is not given up at once. */
  get up(): boolean {
    const well = this.refusal === null && this.heartbeat.silentMs < this.options.timeoutMs;
    return this.commands.current !== null && well && this.subscriber.up;
  }

  get redis(): ScriptedRedis | null {
    return this.commands.current;
  }

  /** Time for which not everything was well with it. */
  get silentMs(): number {
    const now = Date.now();
    return Math.max(this.heartbeat.silentMs, this.failingSince === 0 ? 0 : now - this.failingSince);
  }

  /** A name that no generation had before; given to scripts for the case that they begin one. */
  get freshGeneration(): string {
    return this.names.next();
  }

  get serverRunId(): string {
    return this.runId;
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

  /** @returns null while this node takes no calls */
  publish(partition: Partition, batch: EncodedBatch, token: string): Promise<BatchReply> | null {
    const redis = this.commands.current;
    if (redis === null || this.refusal !== null) {
      return null;
    }
    const deadline = Date.now() + this.heartbeat.clockOffsetMs + this.options.timeoutMs;
    this.turn.begin(redis);
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

  /** Nothing is under way any more: failures of before count no longer, and before anything begins anew all has to be well. */
  startAnew(): void {
    this.failingSince = 0;
    this.subscriber.doubt();
    this.probe();
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

/** Between two looks while all is well, in ms; agreement.lua remembers who is gone for 30 s. */
const EVERY_MS = 5_000;

/** Asks a server whether all instances agree on what none of them may differ in: on a new connection, then now and then. */
export class Agreement {
  /** The connection that found them in agreement last, and when: monotonic, since a clock that is set back must not put it off. */
  private on: ScriptedRedis | null = null;
  private at = 0;

  constructor(private readonly options: Pick<NodeOptions, 'agreementKey' | 'partitionCount'>) {}

  /**
   * @param doubted something was refused: ask again, whatever was said before
   * @throws ReplyError where they do not agree
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
/** Names drawn ahead: the system's random numbers cost as much as the rest of a small call. */
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

/** Lets all calls that one event-loop turn makes on a connection leave in one write. */
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
