import type { PacedSource } from '../delivery/outbound.js';
import { Replay } from '../delivery/replay.js';
import type { Feed } from '../delivery/telemetry-frame.js';
import { background } from '../logging/walls.js';
import type { HotCounters } from '../metrics/hot-counters.js';
import type { BroadcastAdapter, HistoryPage, Publication } from './broadcast-adapter.js';
import { LISTED_BYTES, type RoomTurns } from './room-turns.js';
import type { Member, Room, Subscription } from './room.js';

/** Reading, shaping and sending this many publications costs about as much as joining one room. */
export const PUBLICATIONS_PER_ROOM = 8;
/** Memory of a device that waits: its entry in the list, and its generation. */
const WAITING_BYTES = 2 * LISTED_BYTES;
const NOTHING: readonly Publication[] = [];

/** First pages that are kept for one connection, and the bytes of their payloads: what is over that is read again. */
const MAX_FIRST_PAGES = 16;
const MAX_FIRST_PAGES_BYTES = 1_048_576;

interface FirstPage {
  readonly publications: readonly Publication[];
  readonly generation: number;
  readonly bytes: number;
}

/**
 * The first pages of histories that were looked at to know whether a client can continue there: kept until it is their turn to be sent, so that
 * they are read once. Few for each connection, since one that does not read may ask for many.
 */
export class FirstPages {
  private readonly ofMember = new Map<Member, Map<Subscription, FirstPage>>();

  /** Pages that are kept, over all connections. */
  get size(): number {
    let size = 0;
    for (const pages of this.ofMember.values()) {
      size += pages.size;
    }
    return size;
  }

  /** How many more may be kept for a connection. */
  placesOf(member: Member): number {
    const pages = this.ofMember.get(member);
    if (pages === undefined) {
      return MAX_FIRST_PAGES;
    }
    // What was restarted or left meanwhile is not sent by anybody.
    for (const [subscription, { generation }] of pages) {
      if (!subscription.current || subscription.generation !== generation) {
        pages.delete(subscription);
      }
    }
    return MAX_FIRST_PAGES - pages.size;
  }

  /** How many publications the first page of a room may have: fewer where they are as large as the newest. */
  publicationsOf({ telemetry }: Room): number {
    const most = (MAX_FIRST_PAGES_BYTES / MAX_FIRST_PAGES / Math.max(1, telemetry?.payload.length ?? 0)) | 0;
    return Math.min(Math.max(1, most), PUBLICATIONS_PER_ROOM);
  }

  /** @param generation of the subscription when its page was asked for */
  keep(subscription: Subscription, generation: number, publications: readonly Publication[]): void {
    const { member } = subscription;
    if (!subscription.current || subscription.generation !== generation || this.placesOf(member) <= 0) {
      return;
    }
    const pages = this.ofMember.get(member) ?? new Map<Subscription, FirstPage>();
    const bytes = publications.reduce((sum, { payload }) => sum + payload.length, 0);
    const kept = [...pages.values()].reduce((sum, page) => sum + page.bytes, 0);
    if (kept + bytes <= MAX_FIRST_PAGES_BYTES) {
      pages.set(subscription, { publications, generation, bytes });
      this.ofMember.set(member, pages);
    }
  }

  /** Its page, which is no longer kept; empty where there is none, or where it is void: the subscription does not begin there any more. */
  take(subscription: Subscription): readonly Publication[] {
    const pages = this.ofMember.get(subscription.member);
    const page = pages?.get(subscription);
    if (pages === undefined || page === undefined) {
      return NOTHING;
    }
    pages.delete(subscription);
    if (pages.size === 0) {
      this.ofMember.delete(subscription.member);
    }
    const { publications, generation } = page;
    const { room, lastOffset } = subscription;
    const first = publications[0];
    const goesOn = first?.offset === lastOffset + 1 && first.epoch === room.epoch;
    return goesOn && generation === subscription.generation ? publications : NOTHING;
  }

  /** The connection is closed. */
  forget(member: Member): void {
    this.ofMember.delete(member);
  }
}

/** What reading history needs. */
export interface HistoryContext {
  readonly adapter: Pick<BroadcastAdapter, 'history' | 'rewind'>;
  readonly firstPages: FirstPages;
  readonly turns: RoomTurns;
  readonly hot: HotCounters;
  readonly maxPagePublications: number;
  /** History was trimmed while the client was reading it: `skipped` of the next publication counts the gap. */
  onTrimmed(missed: number): void;
}

/**
 * The publications that subscriptions missed, or asked to be rewound to, page by page from history, as fast as the client reads. At most as
 * many devices are read ahead as the connection allows; the others wait without memory of their own.
 */
export class HistorySource implements PacedSource {
  readonly telemetry = true;
  readonly bytes: number;
  private waiting: readonly Subscription[];
  private at = 0;
  /** Whatever restarts a subscription later replaces this introduction of it. */
  private readonly generations: Uint32Array;
  private active: DeviceHistory[] = [];

  /**
   * @param subscriptions not live; `lastOffset` is where each begins
   * @param rewound those that get every publication in mode `latest` too, thinned as their options say; others get only the newest
   * @param after sources that are sent first: they say where each begins
   */
  constructor(
    subscriptions: readonly Subscription[],
    private readonly rewound: ReadonlySet<Subscription>,
    private readonly after: readonly PacedSource[],
    private readonly context: HistoryContext,
  ) {
    this.waiting = subscriptions;
    this.bytes = subscriptions.length * WAITING_BYTES;
    this.generations = Uint32Array.from(subscriptions, ({ generation }) => generation);
  }

  get ahead(): number {
    return this.active.length;
  }

  get done(): boolean {
    return this.active.length === 0 && this.at >= this.waiting.length;
  }

  pull(_telemetryWaits: boolean, maxAhead: number): Buffer | null {
    if (!this.after.every(({ done }) => done)) {
      return null;
    }
    for (let at = 0; at < this.active.length || this.startNext(maxAhead);) {
      const history = this.active[at] as DeviceHistory;
      const frame = history.pull();
      if (history.done) {
        this.active.splice(at, 1);
      } else {
        at += 1;
      }
      if (frame !== null) {
        return frame;
      }
    }
    return null;
  }

  release(): void {
    this.active.forEach((history) => history.release());
    this.active = [];
    this.waiting = [];
  }

  private startNext(maxAhead: number): boolean {
    const subscription = this.active.length < maxAhead ? this.waiting[this.at] : undefined;
    if (subscription === undefined) {
      return false;
    }
    const generation = this.generations[this.at] as number;
    this.at += 1;
    const rewound = this.rewound.has(subscription);
    this.active.push(new DeviceHistory(subscription, generation, rewound, this.context));
    return true;
  }
}

/** The history of one subscription. It goes live in the step in which the last publication sent is the room's newest. */
class DeviceHistory {
  done = false;
  /** Read already; shown when it is its turn. */
  private first: readonly Publication[];
  private page: readonly Publication[] = NOTHING;
  private at = 0;
  private reading = false;
  /** Shapes the publications; the options are compiled once for all of them. */
  private feed: Feed | null = null;
  private replay: Replay | null = null;
  /** Offset of the last publication processed: sent, or without any of the fields. */
  private seen: number;
  private readonly epoch: string;

  constructor(
    private readonly subscription: Subscription,
    private readonly generation: number,
    private readonly rewound: boolean,
    private readonly context: HistoryContext,
  ) {
    this.seen = subscription.lastOffset;
    this.epoch = subscription.room.epoch;
    this.first = context.firstPages.take(subscription);
  }

  pull(): Buffer | null {
    const { subscription } = this;
    if (this.isVoid()) {
      return null;
    }
    const { room } = subscription;
    if (!this.rewound && subscription.delivery.mode === 'latest' && room.telemetry !== null) {
      this.seen = Math.max(this.seen, room.offset);
      return this.goLive(room.telemetry);
    }
    this.feed ??= room.feedOf(subscription.delivery);
    const replay = (this.replay ??= new Replay(
      this.rewound ? subscription.delivery : { mode: 'every' },
      this.feed,
      this.context.hot,
    ));
    for (;;) {
      const due = replay.next();
      if (due !== undefined) {
        const frame = this.frameOf(due.publication, due.extra);
        if (this.seen >= room.offset && replay.empty) {
          this.goLive(null);
        }
        if (frame !== null) {
          return frame;
        }
      } else if (this.done) {
        return null;
      } else if (this.seen < room.offset) {
        const publication = this.page[this.at] ?? this.newestIfNext(room);
        if (publication === undefined) {
          this.read();
          return null;
        }
        this.at += 1;
        this.seen = publication.offset;
        replay.take(publication);
      } else if (replay.empty) {
        return this.goLive(null);
      } else {
        replay.flush();
      }
    }
  }

  /** A last one that came since the page was read needs no other page. */
  private newestIfNext({ telemetry }: Room): Publication | undefined {
    return telemetry !== null && telemetry.offset === this.seen + 1 && telemetry.epoch === this.epoch
      ? telemetry
      : undefined;
  }

  release(): void {
    this.replay?.release();
  }

  /** @param last sent too, if it is newer than the last one sent */
  private goLive(last: Publication | null): Buffer | null {
    this.done = true;
    this.release();
    this.subscription.room.goLive(this.subscription);
    return last === null ? null : this.shapedFrameOf(last);
  }

  private shapedFrameOf(publication: Publication): Buffer | null {
    this.feed ??= this.subscription.room.feedOf(this.subscription.delivery);
    const shaped = this.feed.shape(publication);
    return shaped === null ? null : this.frameOf(shaped, '');
  }

  /** The message of a publication as its feed shaped it, or null when it was already sent. */
  private frameOf(shaped: Publication, extra: string): Buffer | null {
    const { subscription } = this;
    const skipped = shaped.offset - subscription.lastOffset - 1;
    if (skipped < 0) {
      return null;
    }
    subscription.lastOffset = shaped.offset;
    return (this.feed ?? subscription.room).template.frame(shaped, skipped, extra);
  }

  private read(): void {
    if (!this.reading) {
      this.reading = true;
      const { outbound } = this.subscription;
      background('room', this.readPage(), (error) => outbound.fail(error));
    }
  }

  /** A page costs a share of the turn of the event loop, as rooms do: histories of a fleet are read over many turns. */
  private async readPage(): Promise<void> {
    const { context, first } = this;
    const most = first.length > 0 ? first.length : context.maxPagePublications;
    const granted = await context.turns.next(Math.ceil(most / PUBLICATIONS_PER_ROOM));
    if (first.length > 0) {
      this.first = NOTHING;
      this.take(first);
      return;
    }
    this.take(await this.pageOf(Math.min(granted * PUBLICATIONS_PER_ROOM, context.maxPagePublications)));
  }

  private async pageOf(count: number): Promise<readonly Publication[]> {
    const { subscription, context, epoch } = this;
    const { deviceId } = subscription.room;
    const pageAfter = (offset: number): Promise<HistoryPage | null> =>
      context.adapter.history(deviceId, { epoch, offset }, count).catch(() => null);
    let page = this.isVoid() ? null : await pageAfter(this.seen);
    if (page === null && !this.isVoid()) {
      // Trimmed while the client was reading: it goes on with the oldest that is left.
      const [from] = await context.adapter.rewind([{ deviceId, epoch }], {}).catch(() => [null]);
      page = from === null || from === undefined || from <= this.seen ? null : await pageAfter(from);
    }
    return page?.publications ?? NOTHING;
  }

  private take(page: readonly Publication[]): void {
    this.reading = false;
    if (!this.isVoid()) {
      this.page = page;
      this.at = 0;
      const { room } = this.subscription;
      if (this.page.length === 0 && room.telemetry !== null && room.telemetry.offset > this.seen) {
        this.page = [room.telemetry]; // trimmed again, or the store is away
      }
      const missed = (this.page[0]?.offset ?? this.seen + 1) - this.seen - 1;
      if (missed > 0) {
        this.context.onTrimmed(missed);
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
      this.release();
      return true;
    }
    return false;
  }
}
