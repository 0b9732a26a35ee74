import type { Redis } from 'ioredis';
import { background, walled } from '../../logging/walls.js';
import { BEATS_PER_TIMEOUT, type Connect, RedisLink } from './link.js';
import { type MessageSink, takeMessages } from './push-reader.js';

interface SubscriberEvents {
  up(): void;
  down(why: string): void;
  /** @returns true if the channel belongs to a room; otherwise {@link message} is called */
  roomMessage: (...message: Parameters<MessageSink>) => boolean;
  message(channel: string, message: Buffer): void;
  /** From now on everything published to these channels arrives, in order. */
  confirmed(channels: readonly string[]): void;
  /** SUBSCRIBE was refused, though the connection is up. */
  refused(error: Error): void;
}

/**
 * The subscriber connection to one Redis node. A half-open one looks healthy and delivers nothing, so it is probed through a channel of its
 * own: if a published probe does not arrive, the connection is replaced. While rooms wait for it, or it is in {@link doubt}, a message must
 * arrive within the heartbeat's timeout.
 */
export class Subscriber {
  readonly channels: ChannelSubscriptions;
  private readonly link: RedisLink<Redis>;
  private lastProbe = 0;
  private probeSent = 0;
  /** Probes that arrived. */
  private arrivals = 0;
  private doubted = false;
  private bytesRead = 0;
  /** Consecutive ticks in which a message was due and none arrived. Ticks and not time: while this process is busy it misses ticks too. */
  private quietTicks = 0;

  /**
   * @param probeChannel on this node; read at each connect, since slots move
   * @param slotOf groups channels that may share a command
   */
  constructor(
    connect: Connect,
    timeoutMs: number,
    private readonly sharded: boolean,
    private readonly probeChannel: () => string | undefined,
    slotOf: (channel: string) => number,
    private readonly events: SubscriberEvents,
  ) {
    this.channels = new ChannelSubscriptions(sharded, slotOf, events);
    this.link = new RedisLink(connect, timeoutMs, {
      prepare: (redis) => this.prepare(redis),
      up: (redis) => {
        this.lastProbe = Date.now();
        this.probeSent = 0;
        this.doubted = false;
        this.channels.connected(redis);
        events.up();
      },
      down: (why) => {
        this.channels.disconnected();
        events.down(why);
      },
    });
  }

  /** Connected, as far as is known. */
  get up(): boolean {
    return this.link.current !== null && !this.doubted;
  }

  start(): void {
    this.link.start();
  }

  stop(): void {
    this.link.stop();
    this.channels.disconnected();
  }

  replace(why: string): void {
    this.link.replace(why);
  }

  /** Something else has failed that may have ended this connection silently: it counts as down until a probe arrives. */
  doubt(): void {
    this.doubted = this.link.current !== null;
  }

  /** Called {@link BEATS_PER_TIMEOUT} times per timeout. */
  tick(): void {
    const bytesRead = this.link.current?.stream.bytesRead ?? 0;
    const due = this.channels.waiting || (this.doubted && this.probeSent > this.lastProbe);
    this.quietTicks = due && bytesRead === this.bytesRead ? this.quietTicks + 1 : 0;
    this.bytesRead = bytesRead;
    if (this.quietTicks > BEATS_PER_TIMEOUT) {
      this.quietTicks = 0;
      this.replace('it carries nothing any more');
    }
  }

  /**
   * Publishes the next probe through the command connection, and evaluates the last one.
   * @param publish resolves when Redis has published
   * @param patienceMs time a published probe may take to arrive
   */
  probe(publish: (channel: string) => Promise<unknown>, patienceMs: number): void {
    const channel = this.probeChannel();
    const connection = this.link.current;
    if (channel === undefined || connection === null) {
      return;
    }
    if (this.probeSent > this.lastProbe) {
      if (Date.now() - this.probeSent > patienceMs) {
        this.replace(`a probe did not arrive within ${patienceMs} ms`);
      }
      return;
    }
    const { arrivals } = this;
    const published = publish(channel).then(
      () => {
        // It often arrives before the answer to its PUBLISH, which uses another connection: then it is not awaited.
        if (this.link.current === connection && this.arrivals === arrivals) {
          this.probeSent = Math.max(Date.now(), this.lastProbe + 1);
        }
      },
      () => undefined, // an error of the command connection says nothing about this one
    );
    background('redis', published);
  }

  private async prepare(redis: Redis): Promise<Redis> {
    const probe = this.probeChannel();
    takeMessages(redis, this.sharded, (bytes, channelStart, channelEnd, start, end) => {
      if (this.events.roomMessage(bytes, channelStart, channelEnd, start, end)) {
        return;
      }
      const channel = bytes.toString('utf8', channelStart, channelEnd);
      if (channel === probe) {
        this.arrivals += 1;
        this.lastProbe = Date.now();
        this.probeSent = 0;
        if (this.doubted) {
          this.doubted = false;
          this.events.up();
        }
      } else {
        this.events.message(channel, bytes.subarray(start, end));
      }
    });
    if (probe !== undefined) {
      await (this.sharded ? redis.ssubscribe(probe) : redis.subscribe(probe));
    }
    return redis;
  }
}

/** Channels in one command; all of them share a slot on Redis Cluster. */
const MAX_CHANNELS_PER_COMMAND = 256;
/** Commands that are not confirmed: more would only wait in Redis' output buffer. */
const MAX_COMMANDS_UNDER_WAY = 8;

/**
 * Makes the channels of a subscriber connection follow the wanted ones. The changes of one event-loop turn are combined, so that a room
 * that comes and goes costs nothing; commands are sent in order on one connection, so that the last one wins.
 */
class ChannelSubscriptions {
  private readonly wanted = new Set<string>();
  /** The channels requested by the commands sent so far, with the number of the command. */
  private readonly asked = new Map<string, number>();
  private readonly confirmed = new Set<string>();
  private changed = new Set<string>();
  private redis: Redis | null = null;
  private commands = 0;
  private underWay = 0;
  private scheduled = false;

  /** @param slotOf groups channels that may be in one command; constant without Redis Cluster */
  constructor(
    private readonly sharded: boolean,
    private readonly slotOf: (channel: string) => number,
    private readonly events: SubscriberEvents,
  ) {}

  get size(): number {
    return this.wanted.size;
  }

  /** Commands are pending. */
  get waiting(): boolean {
    return this.underWay > 0;
  }

  want(channel: string): void {
    this.wanted.add(channel);
    this.mark(channel);
  }

  drop(channel: string): void {
    this.wanted.delete(channel);
    this.mark(channel);
  }

  /** A new connection has no channels: all are requested again, a limited number at a time. */
  connected(redis: Redis): void {
    this.disconnected();
    this.redis = redis;
    for (const channel of this.wanted) {
      this.mark(channel);
    }
  }

  /** Requests again what was refused. */
  retry(): void {
    if (this.asked.size < this.wanted.size) {
      for (const channel of this.wanted) {
        if (!this.asked.has(channel)) {
          this.mark(channel);
        }
      }
    }
  }

  disconnected(): void {
    this.redis = null;
    this.asked.clear();
    this.confirmed.clear();
    this.changed.clear();
    this.underWay = 0;
  }

  private mark(channel: string): void {
    if (this.redis === null) {
      return;
    }
    this.changed.add(channel);
    if (!this.scheduled) {
      this.scheduled = true;
      setImmediate(
        walled('redis', () => {
          this.scheduled = false;
          this.flush();
        }),
      );
    }
  }

  private flush(): void {
    const subscribe = new Map<number, string[]>();
    const unsubscribe = new Map<number, string[]>();
    const still: string[] = [];
    let room = (MAX_COMMANDS_UNDER_WAY - this.underWay) * MAX_CHANNELS_PER_COMMAND;
    for (const channel of this.changed) {
      if (room <= 0 || this.redis === null) {
        break;
      }
      this.changed.delete(channel);
      const wanted = this.wanted.has(channel);
      if (wanted !== this.asked.has(channel)) {
        const groups = wanted ? subscribe : unsubscribe;
        const slot = this.slotOf(channel);
        const group = groups.get(slot);
        if (group === undefined) {
          groups.set(slot, [channel]);
        } else {
          group.push(channel);
        }
        room -= 1;
      } else if (this.confirmed.has(channel)) {
        still.push(channel);
      }
    }
    if (still.length > 0) {
      // Dropped and wanted again before a command was sent: there was no gap, but a caller waits for the confirmation.
      this.events.confirmed(still);
    }
    for (const channels of unsubscribe.values()) {
      for (const chunk of chunks(channels)) {
        this.send(chunk, false);
      }
    }
    for (const channels of subscribe.values()) {
      for (const chunk of chunks(channels)) {
        this.send(chunk, true);
      }
    }
  }

  private send(channels: string[], subscribe: boolean): void {
    const { redis, sharded } = this;
    if (redis === null) {
      return;
    }
    const command = (this.commands += 1);
    for (const channel of channels) {
      if (subscribe) {
        this.asked.set(channel, command);
      } else {
        this.asked.delete(channel);
        this.confirmed.delete(channel);
      }
    }
    this.underWay += 1;
    const answer = subscribe
      ? sharded
        ? redis.ssubscribe(...channels)
        : redis.subscribe(...channels)
      : sharded
        ? redis.sunsubscribe(...channels)
        : redis.unsubscribe(...channels);
    const answered = answer.then(
      () => this.answered(redis, subscribe ? channels : [], command),
      (error: Error) => this.failed(redis, error, channels, command),
    );
    background('redis', answered);
  }

  private answered(redis: Redis, channels: string[], command: number): void {
    if (redis !== this.redis) {
      return;
    }
    this.underWay -= 1;
    if (channels.length > 0) {
      // Channels that were dropped, or requested again, wait for the later command's answer.
      const current = channels.filter((channel) => this.asked.get(channel) === command);
      current.forEach((channel) => this.confirmed.add(channel));
      this.events.confirmed(current);
    }
    if (this.changed.size > 0) {
      this.flush();
    }
  }

  private failed(redis: Redis, error: Error, channels: string[], command: number): void {
    if (redis !== this.redis) {
      return;
    }
    this.underWay -= 1;
    for (const channel of channels) {
      if (this.asked.get(channel) === command) {
        this.asked.delete(channel);
      }
    }
    this.events.refused(error);
  }
}

function* chunks(channels: string[]): Iterable<string[]> {
  for (let at = 0; at < channels.length; at += MAX_CHANNELS_PER_COMMAND) {
    yield channels.slice(at, at + MAX_CHANNELS_PER_COMMAND);
  }
}
