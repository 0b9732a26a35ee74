import {
  BusBoundError,
  boundedJson,
  type BusAnswer,
  type BusAnswers,
  InstanceBus,
  MAX_ASKS,
  MAX_MESSAGE_BYTES,
} from '../instances/instance-bus.js';
import { within } from '../instances/memory-bus.js';
import { background, tellEach, walled } from '../logging/walls.js';
import { mirrorGauge } from '../metrics/hot-counters.js';
import type { Metrics } from '../metrics/metrics.js';
import type { Partition } from './connection/partitions.js';
import type { RedisNode } from './rooms/redis-node.js';
import type { ScriptedRedis } from './connection/scripts.js';

/** An instance that does not show itself for this time counts as gone. */
const LIFE_MS = 15_000;
const RENEW_MS = LIFE_MS / 3;
/** How often it is tried again while the others cannot be reached. */
const RETRY_MS = 250;
/** Messages on their way to Redis, and their bytes: while it is slow, more are not sent and the caller is told so. */
export const MAX_UNDER_WAY = 1_024;
export const MAX_UNDER_WAY_BYTES = 16 * MAX_MESSAGE_BYTES;
/** Longest time that a question of another instance is worked on. */
const MAX_WAIT_MS = 60_000;
/** Questions of others that this instance works on. */
export const MAX_ANSWERING = 64;
/** Bytes of all answers to one question. */
export const MAX_ANSWERS_BYTES = 64 * MAX_MESSAGE_BYTES;
/** Names of live instances that are used; far more than share a Redis. */
export const MAX_INSTANCES = 1_000;

/** On the wire: kind, sender, body; a question has a number and its time-out, an answer that number, and an error where it failed. */
interface Envelope {
  k?: string;
  f: string;
  a?: number;
  t?: number;
  b?: unknown;
  e?: string;
}

interface Question {
  /** Who is to answer; unknown until Redis has told. */
  expected: Set<string> | null;
  readonly answers: Map<string, unknown>;
  readonly failed: Set<string>;
  bytes: number;
  done(this: void): void;
}

interface BusContext {
  /** The partition that holds no rooms: the bus lives there. */
  readonly place: Partition;
  readonly timeoutMs: number;
  nodeOf(place: Partition): RedisNode | undefined;
  readonly sharded: boolean;
}

/**
 * The bus over Redis Pub/Sub: one channel for all, one for the answers to each instance, both with the common partition, and a sorted set of
 * those that live. While Redis is away, or this instance's subscriptions do not stand, nothing is sent.
 */
export class RedisInstanceBus extends InstanceBus {
  private readonly channel: string;
  private readonly ownChannel: string;
  private readonly key: string;
  private node: RedisNode | undefined;
  private readonly confirmedChannels = new Set<string>();
  private readonly listeners = new Set<() => void>();
  private readonly questions = new Map<number, Question>();
  private asked = 0;
  private answering = 0;
  private underWay = 0;
  private underWayBytes = 0;
  /** Live instances as Redis told last. */
  private known: readonly string[] = [];
  /** Messages may have been missed, or were not sent: told by the next heartbeat that goes well. */
  private missed = true;
  private beating = false;
  private timer: NodeJS.Timeout | null = null;
  private stopped = true;

  constructor(
    private readonly context: BusContext,
    private readonly metrics: Metrics,
    instanceId?: string,
  ) {
    super(instanceId);
    const { prefix } = context.place;
    this.channel = `${prefix}bus`;
    this.ownChannel = this.channelOf(this.instanceId);
    this.key = `${prefix}instances`;
    mirrorGauge(metrics.instances, () => this.instances);
  }

  get connected(): boolean {
    return !this.missed && this.reachable() !== null;
  }

  get instances(): number {
    return Math.max(1, this.known.length);
  }

  // Called by the adapter

  start(): void {
    this.stopped = false;
    this.follow();
    this.beatIn(RETRY_MS);
  }

  /** Nobody waits for an answer of this instance any more. Best effort: it is gone after {@link LIFE_MS} in any case. */
  async stop(): Promise<void> {
    this.stopped = true;
    if (this.timer !== null) {
      clearTimeout(this.timer);
      this.timer = null;
    }
    const redis = this.reachable();
    if (redis !== null) {
      await within(this.context.timeoutMs, redis.sluiceBus(this.key, this.instanceId, '0', this.channel, ''));
    }
    this.questions.forEach((question) => question.done());
  }

  /** Another node may serve the place. */
  follow(): void {
    const node = this.context.nodeOf(this.context.place);
    if (this.stopped || node === undefined || node === this.node) {
      return;
    }
    for (const channel of [this.channel, this.ownChannel]) {
      this.node?.subscriber.channels.drop(channel);
      this.confirmedChannels.delete(channel);
      node.subscriber.channels.want(channel);
    }
    this.node = node;
    this.missed = true;
  }

  confirmed(channels: readonly string[]): void {
    for (const channel of channels) {
      if (channel === this.channel || channel === this.ownChannel) {
        // Also when it was confirmed before: the connection is new.
        this.confirmedChannels.add(channel);
        this.missed = true;
      }
    }
    if (this.missed && this.isSubscribed) {
      this.beat();
    }
  }

  /** A connection of a node has ended. */
  down(node: RedisNode, connection: 'commands' | 'subscriber'): void {
    if (node === this.node) {
      this.missed = true;
      if (connection === 'subscriber') {
        this.confirmedChannels.clear();
      }
    }
  }

  /** @returns whether the channel is one of these */
  message(channel: string, bytes: Buffer): boolean {
    if (channel !== this.channel && channel !== this.ownChannel) {
      return false;
    }
    const envelope = bytes.length <= MAX_MESSAGE_BYTES ? read(bytes) : null;
    if (envelope === null) {
      this.metrics.instanceMessages.inc({ outcome: 'unreadable' });
    } else if (envelope.f !== this.instanceId) {
      this.metrics.instanceMessages.inc({ outcome: 'received' });
      this.take(envelope, bytes.length);
    }
    return true;
  }

  // The port

  async publish(kind: string, body: unknown): Promise<boolean> {
    const message = boundedJson({ k: kind, f: this.instanceId, b: body ?? null } satisfies Envelope);
    this.handle(kind, parsedBody(message), this.instanceId);
    return (await this.tell(this.channel, message)) !== null;
  }

  async send(to: string, kind: string, body: unknown): Promise<boolean> {
    const message = boundedJson({ k: kind, f: this.instanceId, b: body ?? null } satisfies Envelope);
    if (to === this.instanceId) {
      this.handle(kind, parsedBody(message), this.instanceId);
      return true;
    }
    const heard = await this.tell(this.channelOf(to), message);
    return heard !== null && heard > 0;
  }

  async ask(kind: string, body: unknown, timeoutMs: number): Promise<BusAnswers> {
    const id = (this.asked += 1);
    const message = boundedJson({
      k: kind,
      f: this.instanceId,
      a: id,
      t: timeoutMs,
      b: body ?? null,
    } satisfies Envelope);
    if (this.questions.size >= MAX_ASKS) {
      throw new BusBoundError('too many questions to other instances wait');
    }
    const question: Question = {
      expected: null,
      answers: new Map(),
      failed: new Set(),
      bytes: 0,
      done: () => undefined,
    };
    this.questions.set(id, question);
    try {
      const reached = await this.gather(question, kind, message, timeoutMs);
      return this.result(question, reached);
    } finally {
      this.questions.delete(id);
    }
  }

  onConnected(listener: () => void): () => void {
    this.listeners.add(listener);
    if (this.connected) {
      queueMicrotask(
        walled('instances', () => {
          if (this.listeners.has(listener)) {
            listener();
          }
        }),
      );
    }
    return () => this.listeners.delete(listener);
  }

  /** Waits until everybody has answered, or the time is over. @returns whether the others were asked */
  private async gather(
    question: Question,
    kind: string,
    message: string,
    timeoutMs: number,
  ): Promise<boolean> {
    const all = new Promise<void>((resolve) => (question.done = resolve));
    const deadline = performance.now() + timeoutMs;
    const own = this.answer(kind, parsedBody(message), this.instanceId).then((answer) => {
      const json = boundedJson({ b: answer ?? null });
      this.answered(question, this.instanceId, { b: parsedBody(json) }, Buffer.byteLength(json));
    });
    background(
      'instances',
      own.catch(() => this.answered(question, this.instanceId, { e: 'failed' }, 0)),
    );
    const members = await this.tellMembers(message, timeoutMs);
    question.expected = new Set([...(members ?? []), this.instanceId]);
    this.settle(question);
    await within(Math.max(0, deadline - performance.now()), all);
    return members !== null;
  }

  private result({ answers, expected, failed }: Question, reached: boolean): BusAnswers {
    const due = new Set([...(expected ?? []), ...failed, ...(reached ? [] : this.known), this.instanceId]);
    const list = [...answers].map(([instance, answer]): BusAnswer => ({ instance, answer }));
    const rank = ({ instance }: BusAnswer): number => (instance === this.instanceId ? 0 : 1);
    return {
      answers: list.sort((a, b) => rank(a) - rank(b) || (a.instance < b.instance ? -1 : 1)),
      silent: [...due].filter((instance) => !answers.has(instance)).sort(),
      reached,
    };
  }

  private answered(question: Question, from: string, { b, e }: Omit<Envelope, 'f'>, bytes: number): void {
    const known = question.answers.has(from) || question.failed.has(from);
    const full = question.answers.size >= MAX_INSTANCES || question.bytes + bytes > MAX_ANSWERS_BYTES;
    if (known) {
      return;
    }
    if (full) {
      this.metrics.instanceMessages.inc({ outcome: 'refused' });
    }
    if (full || e !== undefined) {
      if (question.failed.size < MAX_INSTANCES) {
        question.failed.add(from);
      }
    } else {
      question.bytes += bytes;
      question.answers.set(from, b ?? null);
    }
    this.settle(question);
  }

  private settle({ expected, answers, failed, done }: Question): void {
    if (expected !== null && [...expected].every((name) => answers.has(name) || failed.has(name))) {
      done();
    }
  }

  private take({ k, f, a, t, b, e }: Envelope, bytes: number): void {
    if (k === undefined) {
      const question = a === undefined ? undefined : this.questions.get(a);
      if (question !== undefined) {
        this.answered(question, f, { b, e }, bytes);
      }
    } else if (a === undefined) {
      this.handle(k, b, f);
    } else {
      this.reply(k, b, f, { a, waitsMs: Math.min(Number(t) || 0, MAX_WAIT_MS) });
    }
  }

  private reply(
    kind: string,
    body: unknown,
    to: string,
    { a, waitsMs }: { a: number; waitsMs: number },
  ): void {
    const f = this.instanceId;
    const channel = this.channelOf(to);
    if (this.answering >= MAX_ANSWERING) {
      this.metrics.instanceMessages.inc({ outcome: 'refused' });
      background('instances', this.tell(channel, JSON.stringify({ f, a, e: 'busy' } satisfies Envelope)));
      return;
    }
    this.answering += 1;
    const answer = this.answer(kind, body, to)
      .then((value) => boundedJson({ f, a, b: value ?? null } satisfies Envelope))
      .catch((error: unknown) => {
        if (error instanceof BusBoundError) {
          this.metrics.instanceMessages.inc({ outcome: 'refused' });
        }
        return JSON.stringify({ f, a, e: 'failed' } satisfies Envelope);
      });
    // A handler that never ends gives its place back when nobody waits for it any more.
    const replied = within(waitsMs, answer)
      .then((message) => (message === undefined ? null : this.tell(channel, message)))
      .finally(() => (this.answering -= 1));
    background('instances', replied);
  }

  /** @returns to how many it went; null when it did not, or nobody knows */
  private tell(channel: string, message: string): Promise<number | null> {
    const { sharded, timeoutMs } = this.context;
    return this.call(message, timeoutMs, (redis) =>
      sharded ? (redis.spublish(channel, message) as Promise<number>) : redis.publish(channel, message),
    );
  }

  /** The same to all, with the names of those that live in the same step. */
  private async tellMembers(message: string, timeoutMs: number): Promise<readonly string[] | null> {
    const members = await this.call(message, Math.min(timeoutMs, this.context.timeoutMs), (redis) =>
      redis.sluiceBus(this.key, this.instanceId, String(LIFE_MS), this.channel, message),
    );
    return members === null ? null : this.learn(members);
  }

  private async call<T>(
    message: string,
    timeoutMs: number,
    run: (redis: ScriptedRedis) => Promise<T>,
  ): Promise<T | null> {
    const redis = this.reachable();
    const bytes = Buffer.byteLength(message);
    if (redis === null) {
      this.missed = true;
      this.metrics.instanceMessages.inc({ outcome: 'failed' });
      return null;
    }
    if (this.underWay >= MAX_UNDER_WAY || this.underWayBytes + bytes > MAX_UNDER_WAY_BYTES) {
      this.metrics.instanceMessages.inc({ outcome: 'refused' });
      return null;
    }
    this.underWay += 1;
    this.underWayBytes += bytes;
    const called = run(redis).finally(() => {
      this.underWay -= 1;
      this.underWayBytes -= bytes;
    });
    const answer = await within(timeoutMs, called);
    this.metrics.instanceMessages.inc({ outcome: answer === undefined ? 'failed' : 'sent' });
    if (answer === undefined) {
      this.missed = true;
      return null;
    }
    return answer;
  }

  // Who lives

  private get isSubscribed(): boolean {
    return this.confirmedChannels.size === 2;
  }

  /** The connection to send on, if answers would be heard as well. */
  private reachable(): ScriptedRedis | null {
    const { node } = this;
    // A late heartbeat does not count: it is late after every pause of this process, and a call has a time-out of its own.
    return node !== undefined && this.isSubscribed && node.refusal === null && node.subscriber.up
      ? node.redis
      : null;
  }

  private beat(): void {
    if (this.beating || this.stopped) {
      return;
    }
    const redis = this.reachable();
    if (redis === null) {
      this.missed = true;
      this.beatIn(RETRY_MS);
      return;
    }
    this.beating = true;
    const beaten = within(
      this.context.timeoutMs,
      redis.sluiceBus(this.key, this.instanceId, String(LIFE_MS), this.channel, ''),
    ).then((members) => {
      this.beating = false;
      if (members === undefined) {
        this.missed = true;
      } else {
        this.learn(members);
        if (this.missed && this.isSubscribed) {
          this.missed = false;
          tellEach('instances', [...this.listeners]);
        }
      }
      this.beatIn(this.missed ? RETRY_MS : RENEW_MS);
    });
    background('instances', beaten, () => {
      this.beating = false;
      this.beatIn(RETRY_MS);
    });
  }

  private beatIn(waitMs: number): void {
    if (this.timer !== null) {
      clearTimeout(this.timer);
    }
    this.timer = this.stopped
      ? null
      : setTimeout(
          walled(
            'instances',
            () => this.beat(),
            () => this.beatIn(RENEW_MS),
          ),
          waitMs,
        );
  }

  private learn(members: readonly string[]): readonly string[] {
    this.known = members.slice(0, MAX_INSTANCES);
    return this.known;
  }

  private channelOf(instanceId: string): string {
    return `${this.context.place.prefix}bus:${instanceId}`;
  }
}

function read(bytes: Buffer): Envelope | null {
  try {
    const envelope = JSON.parse(bytes.toString()) as Envelope | null;
    return typeof envelope?.f === 'string' ? envelope : null;
  } catch {
    return null;
  }
}

const parsedBody = (message: string): unknown => (JSON.parse(message) as Envelope).b;
