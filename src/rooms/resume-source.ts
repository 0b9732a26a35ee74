import type { Feed } from '../delivery/feed.js';
import type { PacedSource } from '../delivery/paced-source.js';
import { background } from '../logging/walls.js';
import type { BroadcastAdapter, HistoryPage } from './broadcast-adapter.js';
import type { Publication } from './publication.js';
import type { Subscription } from './subscription.js';

/** What a resume needs besides its subscription. */
export interface ResumeContext {
  adapter: Pick<BroadcastAdapter, 'history'>;
  maxPagePublications: number;
  /** History was trimmed while the client was reading it: it goes on from the newest, told by `skipped`. */
  onTrimmed(missed: number): void;
}

/**
 * The publications a client missed, page by page from history, at the pace at which it reads. While it runs nothing is queued for the
 * subscription; it goes live in the step in which the last sent publication is the room's newest.
 */
export class ResumeSource implements PacedSource {
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
