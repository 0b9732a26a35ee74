import type { DeliveryContext } from './delivery-context.js';
import { Lanes } from './lanes.js';
import type { Recipient } from './recipient.js';
import type { TelemetryFrames } from './telemetry-frame.js';

/** The lanes of one connection: each with its bound, and both in the sums over all connections. Made with a stall. */
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

  /** A status, metadata or reply frame waits. @returns whether the lane is over its bound */
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

  /** The next publication of a live subscription waits. @returns whether the lane is over its bound */
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
   * Hands out all replies, and telemetry after them while less than `budget` bytes have gone.
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

  /** Brings the sums over all connections up to date. */
  account(): void {
    this.accountAs(this.bytes, this.count);
  }

  /** Nothing of it waits any more: it was written, or is discarded. */
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
