import { contain } from '../logging/walls.js';
import type { HotCounters } from '../metrics/hot-counters.js';
import type { DeliveryOptions } from '../protocol/delivery-options.js';
import { Aggregate } from './aggregate.js';
import type { Feed, Publication } from './telemetry-frame.js';

const NOTHING = Buffer.alloc(0);

/** A publication that is due, and further members of its message as JSON text. */
interface Due {
  readonly publication: Publication;
  readonly extra: string;
}

/**
 * What live delivery with some options would have sent of publications in history: the same selection, rate and windows, told by their
 * `serverTs` instead of a timer.
 */
export class Replay {
  private readonly due: Due[] = [];
  private readonly intervalMs: number;
  private readonly aggregated: boolean;
  private sentAt = Number.NEGATIVE_INFINITY;
  /** The newest one within the interval or window. */
  private pending: Publication | null = null;
  private window: Aggregate | null = null;

  /** @param hot counts the bytes of an open window: {@link release} it */
  constructor(
    options: DeliveryOptions,
    private readonly feed: Feed,
    private readonly hot: HotCounters,
  ) {
    this.intervalMs = options.maxRateHz === undefined ? 0 : 1_000 / options.maxRateHz;
    this.aggregated = options.aggregate === true;
  }

  /** The next one that is due, or undefined. */
  next(): Due | undefined {
    return this.due.shift();
  }

  /** Nothing is due and nothing waits for its interval to end. */
  get empty(): boolean {
    return this.due.length === 0 && this.pending === null;
  }

  /** The next publication of history. */
  take(publication: Publication): void {
    const shaped = this.feed.shape(publication);
    if (shaped === null) {
      return;
    }
    if (this.pending !== null && shaped.serverTs >= this.sentAt + this.intervalMs) {
      this.sentAt += this.intervalMs;
      this.flush();
    }
    if (this.aggregated) {
      this.collect(shaped);
    } else if (this.intervalMs === 0 || shaped.serverTs >= this.sentAt + this.intervalMs) {
      this.sentAt = shaped.serverTs;
      this.due.push({ publication: shaped, extra: '' });
    } else {
      this.pending = shaped;
    }
  }

  /** History has no more: what waits is due now. */
  flush(): void {
    const { pending, window } = this;
    this.pending = null;
    this.window = null;
    if (pending === null) {
      return;
    }
    if (window === null) {
      this.due.push({ publication: pending, extra: '' });
      return;
    }
    const { count, from, to, truncated } = window;
    window.release();
    try {
      const payload = window.payload();
      const cut = truncated ? ',"truncated":true' : '';
      const extra = `,"aggregated":{"count":${count},"from":${from},"to":${to}${cut}}`;
      this.due.push({ publication: { ...pending, payload }, extra });
    } catch (error) {
      contain('delivery', error);
    }
  }

  /** It will not be read any more. */
  release(): void {
    this.window?.release();
    this.window = null;
    this.pending = null;
    this.due.length = 0;
  }

  private collect(publication: Publication): void {
    if (this.window === null) {
      this.window = new Aggregate(this.hot);
      this.sentAt = publication.serverTs;
    }
    try {
      this.window.add(JSON.parse(publication.payload.toString()), publication.serverTs);
      this.pending = { ...publication, payload: NOTHING };
    } catch (error) {
      contain('delivery', error);
      this.release();
    }
  }
}
