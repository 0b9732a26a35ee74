import type { PacedSource } from '../delivery/paced-source.js';
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
  done = false;
  private page: readonly Publication[] = [];
  private at = 0;
  private reading = false;
  private readonly generation: number;
  private readonly epoch: string;

  constructor(
    private readonly subscription: Subscription,
    private readonly context: ResumeContext,
  ) {
    this.generation = subscription.generation;
    this.epoch = subscription.room.epoch;
  }

  pull(): Buffer | null {
    const { subscription } = this;
    if (this.isVoid()) {
      return null;
    }
    const { room } = subscription;
    if (subscription.lastOffset >= room.offset) {
      return this.goLive();
    }
    if (subscription.delivery.mode === 'latest') {
      return this.newest();
    }
    const publication = this.page[this.at];
    if (publication === undefined) {
      this.read();
      return null;
    }
    this.at += 1;
    const skipped = publication.offset - subscription.lastOffset - 1;
    subscription.lastOffset = publication.offset;
    const frame = room.template.frame(publication, skipped);
    if (subscription.lastOffset >= room.offset) {
      this.goLive();
    }
    return frame;
  }

  private goLive(): null {
    this.done = true;
    this.subscription.room.goLive(this.subscription);
    return null;
  }

  private newest(): Buffer | null {
    const { subscription } = this;
    const frames = subscription.room.frames;
    this.goLive();
    if (frames === null || frames.publication.offset <= subscription.lastOffset) {
      return null;
    }
    const skipped = frames.publication.offset - subscription.lastOffset - 1;
    subscription.lastOffset = frames.publication.offset;
    return frames.frame(skipped);
  }

  private read(): void {
    if (this.reading) {
      return;
    }
    this.reading = true;
    const { subscription, epoch, context } = this;
    const { room, lastOffset } = subscription;
    context.adapter.history(room.deviceId, { epoch, offset: lastOffset }, context.maxPagePublications).then(
      (page) => this.take(page),
      () => this.take(null),
    );
  }

  private take(page: HistoryPage | null): void {
    this.reading = false;
    if (!this.isVoid()) {
      this.page = page?.publications ?? [];
      this.at = 0;
      const { room, lastOffset } = this.subscription;
      if (this.page.length === 0 && room.telemetry !== null && room.telemetry.offset > lastOffset) {
        // Trimmed while the client was reading (or the store is away): never a silent gap, `skipped` of the newest names it.
        this.context.onTrimmed(room.telemetry.offset - lastOffset - 1);
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
