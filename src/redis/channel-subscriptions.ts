import type { Redis } from 'ioredis';
import { background, walled } from '../logging/walls.js';

/** Channels in one command; all of them share a slot on Redis Cluster. */
const MAX_CHANNELS_PER_COMMAND = 256;
/** Commands whose confirmation is still to come: more would only queue up in Redis' output buffer. */
const MAX_COMMANDS_UNDER_WAY = 8;

export interface SubscriptionEvents {
  /** From now on everything published to these channels arrives, in order. */
  confirmed(channels: readonly string[]): void;
  /** SUBSCRIBE was refused, though the connection stands. */
  refused(error: Error): void;
}

/**
 * Makes the channels that a subscriber connection has follow those that are wanted. Wishes of one event-loop turn are taken together, so
 * that a room that comes and goes costs nothing; commands go out in one order on one connection, so that the last wish wins.
 */
export class ChannelSubscriptions {
  private readonly wanted = new Set<string>();
  /** What the commands sent so far have asked for, with the number of the command. */
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
    private readonly events: SubscriptionEvents,
  ) {}

  get size(): number {
    return this.wanted.size;
  }

  /** Commands are under way whose answer has not come. */
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

  /** A fresh connection, which has no channels yet: all are asked for again, a limited number at a time. */
  connected(redis: Redis): void {
    this.disconnected();
    this.redis = redis;
    for (const channel of this.wanted) {
      this.mark(channel);
    }
  }

  /** Asks again for what was refused. */
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
      // Dropped and wanted again before a command said so: there was no gap, but somebody waits to hear it.
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
      // Channels that were dropped meanwhile, or asked for once more, wait for that command's answer.
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
