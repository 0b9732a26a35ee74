import type { Config } from '../config/config.js';
import type { Feed } from '../delivery/telemetry-frame.js';
import type { PacedSource } from '../delivery/outbound.js';
import { background, walled } from '../logging/walls.js';
import type { Metrics } from '../metrics/metrics.js';
import type { MessageId, Position } from '../protocol/client-messages.js';
import type { DeliveryOptions } from '../protocol/delivery-options.js';
import type { BroadcastAdapter, HistoryPage, Publication } from './broadcast-adapter.js';
import type { Member, Subscription } from './room.js';
import { RoomTurns } from './room-turns.js';
import { SnapshotSource, SubscribedSource } from './snapshot-source.js';

const NONE: ReadonlySet<never> = new Set<never>();

/** How subscriptions get to where the room stands: by a snapshot, or by the publications they missed. */
export class Introductions {
  /** Shared by all that goes through many rooms. */
  readonly turns = new RoomTurns();
  private readonly resets = new Map<Member, Subscription[]>();

  constructor(
    private readonly adapter: Pick<BroadcastAdapter, 'history'>,
    private readonly config: Config,
    private readonly metrics: Metrics,
  ) {}

  /**
   * Whether what waits for the client must be let out before {@link takeBack}, so that no publication of mode `every` is lost by it; a
   * resume (`since`) says itself where it starts.
   */
  mustDrain(
    { outbound }: Member,
    subscriptions: readonly Subscription[],
    since?: ReadonlyMap<string, Position>,
  ): boolean {
    return outbound.blocked && subscriptions.some((one) => one.feed !== null && !isNamed(one, since));
  }

  /** Takes subscriptions that are live already back to before their snapshot, with new options: subscribing again starts again. */
  takeBack(
    subscriptions: readonly Subscription[],
    delivery: DeliveryOptions,
    since?: ReadonlyMap<string, Position>,
  ): void {
    for (const subscription of subscriptions) {
      if (subscription.feed !== null || isNamed(subscription, since)) {
        subscription.room.hold(subscription);
      }
      subscription.delivery = delivery;
    }
  }

  /** Which of the rooms named in `since` can go on where the client stood. */
  async recover(
    subscriptions: readonly Subscription[],
    since: ReadonlyMap<string, Position>,
  ): Promise<ReadonlySet<string>> {
    const recovered = new Set<string>();
    await Promise.all(
      subscriptions.map(async (subscription) => {
        const { room, delivery } = subscription;
        const after = since.get(room.deviceId);
        if (after === undefined || after.epoch !== room.epoch || after.offset > room.offset) {
          return;
        }
        if (after.offset < room.offset && delivery.mode === 'every') {
          const page = await this.adapter.history(room.deviceId, after, 1);
          if (page === null || page.publications.length === 0 || after.epoch !== room.epoch) {
            return;
          }
        }
        subscription.lastOffset = after.offset;
        recovered.add(room.deviceId);
      }),
    );
    return recovered;
  }

  /** One snapshot of all, without the telemetry of those that recovered; these get what they missed. Then all are live. */
  begin(
    member: Member,
    subscriptions: readonly Subscription[],
    recoveredIds: ReadonlySet<string> = NONE,
    evenIfEmpty = false,
  ): void {
    if (subscriptions.length === 0) {
      return;
    }
    const recovered: ReadonlySet<Subscription> =
      recoveredIds.size === 0
        ? NONE
        : new Set(subscriptions.filter(({ room }) => recoveredIds.has(room.deviceId)));
    const { ws, rooms } = this.config;
    const { outbound } = member;
    const maxFrameBytes = ws.snapshotFrameMaxBytes;
    outbound.addSource(
      new SnapshotSource({ subscriptions, recovered, evenIfEmpty, maxFrameBytes }, outbound, this.turns),
    );
    for (const subscription of recovered) {
      outbound.addSource(
        new ResumeSource(subscription, {
          adapter: this.adapter,
          maxPagePublications: rooms.historyPageMaxPublications,
          onTrimmed: (missed) => this.metrics.dropped.inc({ reason: 'history_trimmed' }, missed),
        }),
      );
    }
  }

  /**
   * Answers a pattern: paged `subscribed`, then one snapshot of its rooms, which are live from there on with `delivery`.
   * @returns what ends both before they are through, when the pattern is asked for again or left
   */
  beginPattern(
    member: Member,
    subscriptions: readonly Subscription[],
    { pattern, id, delivery }: { pattern: string; id?: MessageId; delivery: DeliveryOptions },
  ): () => void {
    const { outbound } = member;
    const { turns } = this;
    const maxFrameBytes = this.config.ws.snapshotFrameMaxBytes;
    const answer = new SubscribedSource({ pattern, id, subscriptions, maxFrameBytes }, outbound, turns);
    const snapshot = new SnapshotSource(
      { subscriptions, recovered: NONE, evenIfEmpty: id !== undefined, maxFrameBytes, delivery },
      outbound,
      turns,
    );
    outbound.addSource(answer);
    if (subscriptions.some(({ explicit, feed }) => !explicit || feed === null)) {
      outbound.addSource(snapshot);
    }
    return () => {
      answer.supersede();
      snapshot.supersede();
    };
  }

  /**
   * The subscription's room cannot be continued where it stood: it gets a snapshot. Resets come for many rooms at once (a new epoch
   * for all), so each connection gets one snapshot of all that a turn of the event loop brought.
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

  /** The connection is gone. */
  forget(member: Member): void {
    this.resets.delete(member);
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

function isNamed({ room }: Subscription, since: ReadonlyMap<string, Position> | undefined): boolean {
  return since !== undefined && since.has(room.deviceId);
}

/** What a resume needs besides its subscription. */
interface ResumeContext {
  adapter: Pick<BroadcastAdapter, 'history'>;
  maxPagePublications: number;
  /** History was trimmed while the client was reading it: it goes on from the newest, told by `skipped`. */
  onTrimmed(missed: number): void;
}

/**
 * The publications a client missed, page by page from history, at the pace at which it reads. While it runs nothing is queued for the
 * subscription; it goes live in the step in which the last sent publication is the room's newest.
 */
class ResumeSource implements PacedSource {
  readonly telemetry = true;
  readonly bytes = 0;
  done = false;
  private page: readonly Publication[] = [];
  private at = 0;
  private reading = false;
  /** Shapes the publications; what the options choose is compiled once for all of them. */
  private feed: Feed | null = null;
  /** Offset of the last publication looked at: sent, or without any of the fields. */
  private seen: number;
  private readonly generation: number;
  private readonly epoch: string;

  constructor(
    private readonly subscription: Subscription,
    private readonly context: ResumeContext,
  ) {
    this.generation = subscription.generation;
    this.seen = subscription.lastOffset;
    this.epoch = subscription.room.epoch;
  }

  pull(): Buffer | null {
    const { subscription } = this;
    if (this.isVoid()) {
      return null;
    }
    const { room } = subscription;
    if (subscription.delivery.mode === 'latest' && room.telemetry !== null) {
      this.seen = Math.max(this.seen, room.offset);
      return this.goLive(room.telemetry);
    }
    while (this.seen < room.offset) {
      const publication = this.page[this.at];
      if (publication === undefined) {
        this.read();
        return null;
      }
      this.at += 1;
      this.seen = publication.offset;
      const frame = this.frameOf(publication);
      if (frame !== null) {
        if (this.seen >= room.offset) {
          this.goLive(null);
        }
        return frame;
      }
    }
    return this.goLive(null);
  }

  /** @param last still to be sent, if it is newer than what was sent last */
  private goLive(last: Publication | null): Buffer | null {
    this.done = true;
    this.subscription.room.goLive(this.subscription);
    return last === null ? null : this.frameOf(last);
  }

  /** The publication as this subscription wants it, or null when none of its fields is in it or it was sent already. */
  private frameOf(publication: Publication): Buffer | null {
    const { subscription } = this;
    const skipped = publication.offset - subscription.lastOffset - 1;
    this.feed ??= subscription.room.feedOf(subscription.delivery);
    const shaped = skipped < 0 ? null : this.feed.shape(publication);
    if (shaped === null) {
      return null;
    }
    subscription.lastOffset = publication.offset;
    return subscription.room.template.frame(shaped, skipped);
  }

  private read(): void {
    if (this.reading) {
      return;
    }
    this.reading = true;
    const { subscription, epoch, context } = this;
    const { room, outbound } = subscription;
    const page = context.adapter.history(
      room.deviceId,
      { epoch, offset: this.seen },
      context.maxPagePublications,
    );
    background(
      'room',
      page.catch(() => null).then((read) => this.take(read)),
      (error) => outbound.fail(error),
    );
  }

  private take(page: HistoryPage | null): void {
    this.reading = false;
    if (!this.isVoid()) {
      this.page = page?.publications ?? [];
      this.at = 0;
      const { room } = this.subscription;
      if (this.page.length === 0 && room.telemetry !== null && room.telemetry.offset > this.seen) {
        // Trimmed while the client was reading (or the store is away): never a silent gap, `skipped` of the newest names it.
        this.context.onTrimmed(room.telemetry.offset - this.seen - 1);
        this.page = [room.telemetry];
      }
    }
    this.subscription.member.outbound.wake();
  }

  /** The subscription left, was restarted, or its room's epoch changed: somebody else takes care of it. */
  private isVoid(): boolean {
    const { subscription } = this;
    if (
      !subscription.current ||
      subscription.generation !== this.generation ||
      subscription.room.epoch !== this.epoch
    ) {
      this.done = true;
      return true;
    }
    return false;
  }
}
