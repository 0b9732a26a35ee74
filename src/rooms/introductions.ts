import type { Config } from '../config/config.js';
import { walled } from '../logging/walls.js';
import type { Metrics } from '../metrics/metrics.js';
import type { MessageId, Position, Rewind } from '../protocol/client-messages.js';
import type { DeliveryOptions } from '../protocol/delivery-options.js';
import type { BroadcastAdapter } from './broadcast-adapter.js';
import { historyIsKept } from './memory/history-log.js';
import { FirstPages, type HistoryContext, HistorySource } from './history-source.js';
import type { Member, Room, Subscription } from './room.js';
import { RoomTurns } from './room-turns.js';
import { SnapshotSource, SubscribedSource } from './snapshot-source.js';

const NONE: ReadonlySet<never> = new Set<never>();

/** Where rewound subscriptions begin: the offset before their first publication. */
export type Rewound = ReadonlyMap<Subscription, number>;
/** Where subscriptions stood that were live. */
export type Stood = ReadonlyMap<Subscription, number>;
const NOWHERE: Rewound = new Map<never, number>();

/** Brings subscriptions to the room's current position: by a snapshot, or by the publications they missed. */
export class Introductions {
  /** Shared by all work on many rooms. */
  readonly turns = new RoomTurns();
  private readonly firstPages = new FirstPages();
  private readonly keepsHistory: boolean;
  private readonly historyContext: HistoryContext;
  private readonly resets = new Map<Member, Subscription[]>();

  constructor(
    private readonly adapter: Pick<BroadcastAdapter, 'history' | 'rewind'>,
    private readonly config: Config,
    metrics: Metrics,
  ) {
    this.keepsHistory = historyIsKept(config.rooms);
    metrics.keeps('resume_pages', () => this.firstPages.size);
    this.historyContext = {
      adapter,
      firstPages: this.firstPages,
      turns: this.turns,
      hot: metrics.hot,
      maxPagePublications: config.rooms.historyPageMaxPublications,
      onTrimmed: (missed) => metrics.dropped.inc({ reason: 'history_trimmed' }, missed),
    };
  }

  /**
   * Whether the client's lanes must be drained before {@link prepareRestart}, so that no publication of mode `every` is lost. With `since` the
   * client itself says where it continues. A rewind restarts subscriptions whose history is still being sent, too.
   */
  mustDrain(
    { outbound }: Member,
    subscriptions: readonly Subscription[],
    { since, rewind }: { since?: ReadonlyMap<string, Position>; rewind?: Rewind },
  ): boolean {
    return (
      (outbound.blocked || rewind !== undefined) &&
      subscriptions.some(
        (one) => (one.feed !== null || (rewind !== undefined && one.introduced)) && !isNamed(one, since),
      )
    );
  }

  /**
   * Resets live subscriptions to the state before their snapshot, with new options: subscribing again starts again.
   * @returns where those stood that a rewind restarts in mode `every`: what comes after that must not be lost
   */
  prepareRestart(
    subscriptions: readonly Subscription[],
    delivery: DeliveryOptions,
    { since, rewind }: { since?: ReadonlyMap<string, Position>; rewind?: Rewind },
  ): Stood {
    const stood = new Map<Subscription, number>();
    for (const subscription of subscriptions) {
      if (rewind !== undefined && subscription.feed !== null && subscription.delivery.mode === 'every') {
        stood.set(subscription, subscription.lastOffset);
      }
      // What an earlier message has read for one that resumes is void.
      const { feed, resumes } = subscription;
      if (feed !== null || resumes || rewind !== undefined || isNamed(subscription, since)) {
        subscription.room.hold(subscription);
      }
      // From now on, not from the answer on: a snapshot that was asked for before must not make it live while history is looked up.
      subscription.resumes = rewind !== undefined || isNamed(subscription, since);
      subscription.delivery = delivery;
    }
    return stood;
  }

  /**
   * Which of the rooms named in `since` can continue at the client's position. Where only the newest publication was missed the room has it, and
   * nothing is read. Mostly little was missed: what is read to know it is kept, and sent later, for as many rooms as a connection reads ahead.
   * @param ask has the subscriptions that no later message restarts meanwhile
   */
  async recover(
    member: Member,
    subscriptions: readonly Subscription[],
    since: ReadonlyMap<string, Position>,
    ask: { has(subscription: Subscription): boolean },
  ): Promise<Set<string>> {
    const recovered = new Set<string>();
    const { firstPages } = this;
    let places = firstPages.placesOf(member);
    await Promise.all(
      subscriptions.map(async (subscription) => {
        const { room, delivery, generation } = subscription;
        const after = since.get(room.deviceId);
        if (after === undefined || after.epoch !== room.epoch || after.offset > room.offset) {
          return;
        }
        const readsHistory = delivery.mode === 'every' && !(this.keepsHistory && isBeforeNewest(room, after));
        if (after.offset < room.offset && readsHistory) {
          places -= 1;
          const isKept = places >= 0;
          const page = await this.adapter.history(
            room.deviceId,
            after,
            isKept ? firstPages.publicationsOf(room) : 1,
          );
          if (page === null || page.publications.length === 0 || after.epoch !== room.epoch) {
            return;
          }
          if (!ask.has(subscription)) {
            return; // a later message restarts it
          }
          if (isKept) {
            firstPages.keep(subscription, generation, page.publications);
          }
        }
        subscription.lastOffset = after.offset;
        recovered.add(room.deviceId);
      }),
    );
    return recovered;
  }

  /** Takes those out of `recovered` whose room changed its epoch while others were looked at: they get a snapshot. */
  dropReset(
    recovered: Set<string>,
    subscriptions: readonly Subscription[],
    since: ReadonlyMap<string, Position>,
  ): void {
    for (const { room } of subscriptions) {
      if (since.get(room.deviceId)?.epoch !== room.epoch) {
        recovered.delete(room.deviceId);
      }
    }
  }

  /** Where these can be rewound to, which is not known of rooms whose history cannot be read now. */
  async rewind(
    subscriptions: readonly Subscription[],
    range: Rewind,
    stood: Stood,
  ): Promise<Map<Subscription, number>> {
    const rooms = subscriptions.map(({ room: { deviceId, epoch } }) => ({ deviceId, epoch }));
    const offsets = await this.adapter.rewind(rooms, range);
    const rewound = new Map<Subscription, number>();
    subscriptions.forEach((subscription, at) => {
      const { room, current } = subscription;
      const offset = offsets[at];
      if (offset !== null && offset !== undefined && current && room.epoch === rooms[at]?.epoch) {
        // The store may know of a publication that has not come to this instance yet.
        const last = Math.min(stood.get(subscription) ?? room.offset, Math.max(0, room.offset - 1));
        rewound.set(subscription, Math.min(offset, last));
      }
    });
    return rewound;
  }

  /**
   * Sends one snapshot of all, without the telemetry of those that recovered or are rewound; these get their publications from history. Then
   * all are live.
   */
  begin(
    member: Member,
    subscriptions: readonly Subscription[],
    recoveredIds: ReadonlySet<string> = NONE,
    rewound: Rewound = NOWHERE,
    evenIfEmpty = false,
  ): void {
    if (subscriptions.length === 0) {
      return;
    }
    const back = rewind(subscriptions, rewound);
    const fromHistory =
      recoveredIds.size === 0
        ? back
        : subscriptions.filter((one) => recoveredIds.has(one.room.deviceId) || rewound.has(one));
    const { outbound } = member;
    const maxFrameBytes = this.config.ws.snapshotFrameMaxBytes;
    const recovered: ReadonlySet<Subscription> = fromHistory.length === 0 ? NONE : new Set(fromHistory);
    for (const subscription of subscriptions) {
      subscription.resumes = recovered.has(subscription);
    }
    const snapshot = new SnapshotSource(
      { subscriptions, recovered, evenIfEmpty, maxFrameBytes },
      outbound,
      this.turns,
    );
    outbound.addSource(snapshot);
    if (recovered.size > 0) {
      outbound.addSource(new HistorySource(fromHistory, new Set(back), [snapshot], this.historyContext));
    }
  }

  /**
   * Answers a pattern: paged `subscribed`, then one snapshot of its rooms and what they are rewound to, then they are live with `delivery`.
   * @returns stops both early, when the pattern is subscribed again or left
   */
  beginPattern(
    member: Member,
    subscriptions: readonly Subscription[],
    { pattern, id, delivery }: { pattern: string; id?: MessageId; delivery: DeliveryOptions },
    rewound: Rewound = NOWHERE,
  ): () => void {
    const { outbound } = member;
    const { turns } = this;
    const maxFrameBytes = this.config.ws.snapshotFrameMaxBytes;
    for (const subscription of rewound.keys()) {
      if (!subscription.explicit) {
        subscription.room.hold(subscription);
        subscription.delivery = delivery;
      }
    }
    const back = rewind(
      subscriptions.filter(({ explicit }) => !explicit),
      rewound,
    );
    const recovered: ReadonlySet<Subscription> = back.length === 0 ? NONE : new Set(back);
    for (const subscription of subscriptions) {
      if (!subscription.explicit) {
        subscription.resumes = recovered.has(subscription);
      }
    }
    const answer = new SubscribedSource(
      { pattern, id, subscriptions, rewound, maxFrameBytes },
      outbound,
      turns,
    );
    const snapshot = new SnapshotSource(
      { subscriptions, recovered, evenIfEmpty: id !== undefined, maxFrameBytes, delivery },
      outbound,
      turns,
    );
    outbound.addSource(answer);
    if (subscriptions.some(({ explicit, feed }) => !explicit || feed === null)) {
      outbound.addSource(snapshot);
    }
    if (recovered.size > 0) {
      outbound.addSource(new HistorySource(back, recovered, [answer, snapshot], this.historyContext));
    }
    return () => {
      answer.supersede();
      snapshot.supersede();
    };
  }

  /**
   * The subscription's room cannot continue: it gets a snapshot. A new epoch resets many rooms at once, so each connection gets one
   * snapshot of all rooms that were reset in one turn of the event loop.
   */
  restart(subscription: Subscription): void {
    const { member } = subscription;
    const collected = this.resets.get(member);
    if (collected !== undefined) {
      collected.push(subscription);
      return;
    }
    if (this.resets.size === 0) {
      setImmediate(walled('room', () => this.flushResets()));
    }
    this.resets.set(member, [subscription]);
  }

  /** The connection is closed. */
  forget(member: Member): void {
    this.resets.delete(member);
    this.firstPages.forget(member);
  }

  private flushResets(): void {
    const resets = [...this.resets];
    this.resets.clear();
    for (const [member, subscriptions] of resets) {
      try {
        this.begin(member, subscriptions);
      } catch (error) {
        member.outbound.fail(error);
      }
    }
  }
}

/** How many publications history brings. */
export function publicationsOf(rewound: Rewound): number {
  let publications = 0;
  for (const [{ room }, offset] of rewound) {
    publications += room.offset - offset;
  }
  return publications;
}

/** Sets rewound subscriptions back. @returns those that have publications */
function rewind(subscriptions: readonly Subscription[], rewound: Rewound): Subscription[] {
  return rewound.size === 0
    ? []
    : subscriptions.filter((subscription) => {
        const offset = rewound.get(subscription);
        if (offset === undefined || subscription.room.offset === 0) {
          return false;
        }
        subscription.lastOffset = offset;
        return true;
      });
}

/** Whether the newest publication is the only one after a position. */
function isBeforeNewest({ epoch, offset, telemetry }: Room, after: Position): boolean {
  return after.offset === offset - 1 && telemetry?.offset === offset && telemetry.epoch === epoch;
}

function isNamed({ room }: Subscription, since: ReadonlyMap<string, Position> | undefined): boolean {
  return since !== undefined && since.has(room.deviceId);
}
