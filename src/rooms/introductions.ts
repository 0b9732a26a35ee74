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

/** Brings subscriptions to the room's current position: by a snapshot, or by the publications they missed. */
export class Introductions {
  /** Shared by all work on many rooms. */
  readonly turns = new RoomTurns();
  private readonly resets = new Map<Member, Subscription[]>();

  constructor(
    private readonly adapter: Pick<BroadcastAdapter, 'history'>,
    private readonly config: Config,
    private readonly metrics: Metrics,
  ) {}

  /**
   * Whether the client's lanes must be drained before {@link prepareRestart}, so that no publication of mode `every` is lost. With `since` the
   * client itself says where it continues.
   */
  mustDrain(
    { outbound }: Member,
    subscriptions: readonly Subscription[],
    since?: ReadonlyMap<string, Position>,
  ): boolean {
    return outbound.blocked && subscriptions.some((one) => one.feed !== null && !isNamed(one, since));
  }

  /** Resets live subscriptions to the state before their snapshot, with new options: subscribing again starts again. */
  prepareRestart(
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

  /** Which of the rooms named in `since` can continue at the client's position. */
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

  /** Sends one snapshot of all, without the telemetry of recovered subscriptions; these get what they missed. Then all are live. */
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
   * Answers a pattern: paged `subscribed`, then one snapshot of its rooms, which go live with `delivery`.
   * @returns stops both early, when the pattern is subscribed again or left
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
  /** History was trimmed while the client was reading it: the client continues at the newest publication, and `skipped` counts the gap. */
  onTrimmed(missed: number): void;
}

/**
 * The publications a client missed, page by page from history, as fast as it reads. Meanwhile nothing is queued for the subscription; it
 * goes live in the step in which the last publication sent is the room's newest.
 */
class ResumeSource implements PacedSource {
  readonly telemetry = true;
  readonly bytes = 0;
  done = false;
  private page: readonly Publication[] = [];
  private at = 0;
  private reading = false;
  /** Shapes the publications; the options are compiled once for all of them. */
  private feed: Feed | null = null;
  /** Offset of the last publication processed: sent, or without any of the fields. */
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

  /** @param last sent too, if it is newer than the last one sent */
  private goLive(last: Publication | null): Buffer | null {
    this.done = true;
    this.subscription.room.goLive(this.subscription);
    return last === null ? null : this.frameOf(last);
  }

  /** The publication as this subscription wants it, or null when it has none of the fields or was already sent. */
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
        // Trimmed while the client was reading, or the store is away: the gap is counted in `skipped` of the newest publication, never
        // silent.
        this.context.onTrimmed(room.telemetry.offset - this.seen - 1);
        this.page = [room.telemetry];
      }
    }
    this.subscription.member.outbound.wake();
  }

  /** The subscription left, was restarted, or its room's epoch changed: another introduction replaces this one. */
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
