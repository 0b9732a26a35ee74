import type { DeliveryOptions } from '../protocol/delivery-options.js';
import type { DeliveryContext } from './delivery-context.js';
import { Fifo } from './fifo.js';
import type { Feed, TelemetryFrames } from './telemetry-frame.js';
import type { Outbound } from './outbound.js';

/** A subscription as delivery sees it: its position, and the outbound of its connection. Implemented by the rooms' Subscription. */
export interface Recipient {
  readonly outbound: Outbound;
  readonly delivery: DeliveryOptions;
  /** Whether it is still its connection's subscription of the room. */
  readonly current: boolean;
  /** The feed that serves it; null until its snapshot or resume is complete. */
  readonly feed: Feed | null;
  /** Offset of the last publication sent (or queued in order); `skipped` of the next one is computed from it. */
  lastOffset: number;
  /** Another number when its queued publications have become void: it left, was restarted, or its epoch changed. */
  readonly generation: number;
  /** In mode `latest`: it has an entry in the telemetry lane. */
  waiting: boolean;
}

/** A telemetry frame that waits, or (frame null) a mark that the subscription's newest value is to be sent. */
interface Waiting {
  subscription: Recipient;
  generation: number;
  frame: Buffer | null;
}

/**
 * What waits while a socket is full: replies, status and metadata in one lane, which is sent before the lane of telemetry. Both are first
 * in, first out. A subscription in mode `latest` has one entry without bytes: its value is read when it is sent.
 */
class Lanes {
  /** Bytes of each lane. */
  controlBytes = 0;
  telemetryBytes = 0;
  private readonly control = new Fifo<Buffer>();
  private readonly telemetry = new Fifo<Waiting>();

  get controlCount(): number {
    return this.control.length;
  }

  get telemetryCount(): number {
    return this.telemetry.length;
  }

  pushControl(frame: Buffer): void {
    this.control.push(frame);
    this.controlBytes += frame.length;
  }

  shiftControl(): Buffer | undefined {
    const frame = this.control.shift();
    this.controlBytes -= frame === undefined ? 0 : frame.length;
    return frame;
  }

  pushTelemetry(subscription: Recipient, frame: Buffer | null): void {
    this.telemetry.push({ subscription, generation: subscription.generation, frame });
    this.telemetryBytes += frame === null ? 0 : frame.length;
  }

  /** The next telemetry frame; undefined when the lane is empty. Void entries are counted and skipped. */
  shiftTelemetry(context: DeliveryContext): Buffer | undefined {
    for (let waiting = this.shift(); waiting !== undefined; waiting = this.shift()) {
      const frame = frameOf(waiting, context);
      if (frame !== null) {
        return frame;
      }
    }
    return undefined;
  }

  private shift(): Waiting | undefined {
    const waiting = this.telemetry.shift();
    this.telemetryBytes -= waiting?.frame?.length ?? 0;
    return waiting;
  }
}

/** What an entry stands for now: its frame, the newest value in mode `latest`, or null if it is void. */
function frameOf({ subscription, generation, frame }: Waiting, context: DeliveryContext): Buffer | null {
  if (subscription.generation !== generation) {
    context.metrics.dropped.inc({ reason: subscription.current ? 'resync' : 'unsubscribed' });
    return null;
  }
  if (frame !== null) {
    return frame;
  }
  const isWaiting = subscription.waiting;
  subscription.waiting = false;
  const newest = isWaiting ? (subscription.feed?.frames ?? null) : null;
  if (newest === null || newest.publication.offset <= subscription.lastOffset) {
    context.hot.conflated += 1;
    return null;
  }
  const skipped = newest.publication.offset - subscription.lastOffset - 1;
  subscription.lastOffset = newest.publication.offset;
  return newest.frame(skipped);
}

/** The lanes of one connection, each with its bound; both are counted in the totals over all connections. Created at a stall. */
export class BoundedLanes extends Lanes {
  private accountedBytes = 0;
  private accountedMessages = 0;

  constructor(private readonly context: DeliveryContext) {
    super();
  }

  /** Bytes of both lanes. */
  get bytes(): number {
    return this.controlBytes + this.telemetryBytes;
  }

  /** Messages of both lanes. */
  get count(): number {
    return this.controlCount + this.telemetryCount;
  }

  /** Queues a status, metadata or reply frame. @returns whether the lane is over its bound */
  holdControl(frame: Buffer): boolean {
    const { limits } = this.context;
    this.pushControl(frame);
    if (
      this.controlBytes > limits.controlQueueMaxBytes ||
      this.controlCount > limits.controlQueueMaxMessages
    ) {
      return true;
    }
    this.account();
    return false;
  }

  /** Queues the next publication of a live subscription. @returns whether the lane is over its bound */
  holdTelemetry(subscription: Recipient, frames: TelemetryFrames, skipped: number): boolean {
    const { limits, hot } = this.context;
    if (subscription.delivery.mode === 'latest') {
      if (subscription.waiting) {
        hot.conflated += 1;
      } else {
        subscription.waiting = true;
        this.pushTelemetry(subscription, null);
      }
      return false;
    }
    subscription.lastOffset = frames.publication.offset;
    this.pushTelemetry(subscription, frames.frame(skipped));
    if (this.telemetryBytes > limits.queueMaxBytes || this.telemetryCount > limits.queueMaxMessages) {
      return true;
    }
    this.account();
    return false;
  }

  /**
   * Passes on all replies, then telemetry until `budget` bytes were passed.
   * @returns whether anything still waits
   */
  handOut(budget: number, take: (frame: Buffer, isTelemetry: boolean) => void): boolean {
    let left = budget;
    for (let frame = this.shiftControl(); frame !== undefined; frame = this.shiftControl()) {
      take(frame, false);
      left -= frame.length;
    }
    while (left > 0) {
      const frame = this.shiftTelemetry(this.context);
      if (frame === undefined) {
        break;
      }
      take(frame, true);
      left -= frame.length;
    }
    return this.count > 0;
  }

  /** Updates the totals over all connections. */
  account(): void {
    this.accountAs(this.bytes, this.count);
  }

  /** Empties the lanes: everything was written or is discarded. */
  letGo(): void {
    this.accountAs(0, 0);
  }

  private accountAs(bytes: number, messages: number): void {
    const { context } = this;
    context.queuedBytes += bytes - this.accountedBytes;
    context.queuedMessages += messages - this.accountedMessages;
    this.accountedBytes = bytes;
    this.accountedMessages = messages;
  }
}

/** Interval after the first repeated stall; doubles with each further one. */
const FIRST_INTERVAL_MS = 100;
const LONGEST_INTERVAL_MS = 2_000;
/** After this time without a stall a connection counts as fast again. */
const CALM_MS = 10_000;

/**
 * The step between conflation and closing a slow connection: one that stalls again and again gets the newest values of its `latest`
 * subscriptions at intervals, so that it reads fresh values instead of old ones from the buffers on the way. Updates skipped by the
 * interval are counted in `skipped`. Mode `every`, status and replies are unaffected.
 */
export class Easing {
  private intervalMs = 0;
  private stalledAt = Number.NEGATIVE_INFINITY;
  private readonly waiting = new Lanes();
  private cancel: (() => void) | null = null;

  /** @param release sends the waiting values, or calls {@link again} when the socket is full */
  constructor(
    private readonly context: DeliveryContext,
    private readonly release: () => void,
  ) {}

  /** The socket is full. The first stall alone changes nothing. */
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

  /** Whether the next value of this subscription must wait for the end of an interval. */
  takes(recipient: Recipient): boolean {
    return recipient.delivery.mode === 'latest' && (recipient.waiting || this.active);
  }

  /** Values that wait. */
  get count(): number {
    return this.waiting.telemetryCount;
  }

  /** Marks the subscription: its newest value is sent when the interval ends. */
  hold(recipient: Recipient): void {
    recipient.waiting = true;
    this.waiting.pushTelemetry(recipient, null);
    this.cancel ??= this.context.scheduler.after(this.intervalMs, () => {
      this.cancel = null;
      this.release();
    });
  }

  /** The next due value; undefined when none is left. */
  next(): Buffer | undefined {
    return this.waiting.shiftTelemetry(this.context);
  }

  /** The socket is full again: the remaining values wait one more interval. */
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

  /** Whether values of mode `latest` are delayed now. */
  private get active(): boolean {
    return this.intervalMs > 0 && this.context.scheduler.now() - this.stalledAt < CALM_MS;
  }
}
