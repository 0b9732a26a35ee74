import type { Redis } from 'ioredis';
import { background } from '../logging/walls.js';
import { ChannelSubscriptions } from './channel-subscriptions.js';
import { BEATS_PER_TIMEOUT } from './heartbeat.js';
import { type MessageSink, takeMessages } from './push-reader.js';
import type { Connect } from './redis-connections.js';
import { RedisLink } from './link.js';

export interface SubscriberEvents {
  up(): void;
  down(why: string): void;
  /** @returns whether it is a message of a room: {@link message} hears of all others */
  roomMessage: (...message: Parameters<MessageSink>) => boolean;
  message(channel: string, message: Buffer): void;
  confirmed(channels: readonly string[]): void;
  refused(error: Error): void;
}

/**
 * The subscriber connection to one Redis node. A half-open one looks healthy and delivers nothing, so it is probed through a channel of
 * its own: a probe that was published but does not arrive has the connection replaced. Where somebody waits for it, with rooms to subscribe or
 * because it is in {@link doubt}, something has to arrive within the heartbeats' timeout.
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
  /** Ticks in a row in which nothing arrived though something was due: a process of ours that was busy has missed ticks as well. */
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

  /** It stands, as far as anybody knows. */
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

  /** Something else has failed that may have ended this connection too, without a word: it counts as down until a probe has come. */
  doubt(): void {
    this.doubted = this.link.current !== null;
  }

  /** Called {@link BEATS_PER_TIMEOUT} times a timeout. */
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
   * Publishes the next probe through the command connection, and judges the last one.
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
        // It often arrives before the answer to its PUBLISH does, which comes by another connection: then it is not waited for.
        if (this.link.current === connection && this.arrivals === arrivals) {
          this.probeSent = Math.max(Date.now(), this.lastProbe + 1);
        }
      },
      () => undefined, // the command connection's own trouble says nothing about this one
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
