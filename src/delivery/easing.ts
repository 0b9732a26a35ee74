import type { DeliveryContext } from './delivery-context.js';
import { Lanes } from './lanes.js';
import type { Recipient } from './recipient.js';

/** Interval of the first step; doubles with every further stall. */
const FIRST_INTERVAL_MS = 100;
const LONGEST_INTERVAL_MS = 2_000;
/** Without a stall for this long a connection is as fast as any other again. */
const CALM_MS = 10_000;

/**
 * The second step for a slow connection, between conflating while its socket is full and closing it: one that stalls again and again gets the
 * newest values of its `latest` subscriptions at intervals, so that what it reads is fresh instead of what has stood in buffers on
 * the way. What the interval skipped is told by `skipped`. Mode `every`, status and replies are not touched.
 */
export class Easing {
  private intervalMs = 0;
  private stalledAt = Number.NEGATIVE_INFINITY;
  private readonly waiting = new Lanes();
  private cancel: (() => void) | null = null;

  /** @param release sends what waits, or comes back later when the socket is full */
  constructor(
    private readonly context: DeliveryContext,
    private readonly release: () => void,
  ) {}

  /** The socket takes no more. The first stall alone changes nothing. */
  stalled(): void {
    const now = this.context.scheduler.now();
    const isAgain = now - this.stalledAt < CALM_MS;
    this.stalledAt = now;
    if (!isAgain) {
      this.intervalMs = 0;
      return;
    }
    const next =
      this.intervalMs === 0 ? FIRST_INTERVAL_MS : Math.min(this.intervalMs * 2, LONGEST_INTERVAL_MS);
    if (next !== this.intervalMs) {
      this.intervalMs = next;
      this.context.metrics.eased.inc();
    }
  }

  /** Whether the next value of this subscription has to wait for the end of an interval. */
  takes(recipient: Recipient): boolean {
    return recipient.delivery.mode === 'latest' && (recipient.waiting || this.active);
  }

  /** Values that wait. */
  get count(): number {
    return this.waiting.telemetryCount;
  }

  /** The newest value of a subscription is due at the end of the interval. */
  hold(recipient: Recipient): void {
    recipient.waiting = true;
    this.waiting.pushTelemetry(recipient, null);
    this.cancel ??= this.context.scheduler.after(this.intervalMs, () => {
      this.cancel = null;
      this.release();
    });
  }

  /** The next value that is due; undefined when there is none left. */
  next(): Buffer | undefined {
    return this.waiting.shiftTelemetry(this.context);
  }

  /** The socket is full again: the values stay newest, and are due an interval later. */
  again(): void {
    this.cancel ??= this.context.scheduler.after(Math.max(this.intervalMs, FIRST_INTERVAL_MS), () => {
      this.cancel = null;
      this.release();
    });
  }

  stop(): void {
    this.cancel?.();
    this.cancel = null;
  }

  /** Whether values of mode `latest` are eased now. */
  private get active(): boolean {
    return this.intervalMs > 0 && this.context.scheduler.now() - this.stalledAt < CALM_MS;
  }
}
