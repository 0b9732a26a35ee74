import type { Recipient } from './recipient.js';
import type { DeliveryContext } from './delivery-context.js';

/** Taken places at the head of a lane are cleared away in bulk. */
const COMPACT_AT = 1_024;

/** A telemetry frame that waits, or (frame null) the mark that the subscription's newest value waits. */
interface Waiting {
  subscription: Recipient;
  generation: number;
  frame: Buffer | null;
}

/**
 * What waits while a socket takes no more: replies, status and metadata in one lane, ahead of telemetry in the other.
 * Both are first in, first out. A subscription in mode `latest` takes one place without bytes: its value is read when it is sent.
 */
export class Lanes {
  /** Bytes of each lane. */
  controlBytes = 0;
  telemetryBytes = 0;
  private control: Buffer[] = [];
  private controlHead = 0;
  private telemetry: Waiting[] = [];
  private telemetryHead = 0;

  get controlCount(): number {
    return this.control.length - this.controlHead;
  }

  get telemetryCount(): number {
    return this.telemetry.length - this.telemetryHead;
  }

  pushControl(frame: Buffer): void {
    this.control.push(frame);
    this.controlBytes += frame.length;
  }

  shiftControl(): Buffer | undefined {
    const frame = this.control[this.controlHead];
    if (frame !== undefined) {
      this.controlBytes -= frame.length;
      this.controlHead += 1;
      if (this.controlHead === this.control.length) {
        this.control = [];
        this.controlHead = 0;
      }
    }
    return frame;
  }

  pushTelemetry(subscription: Recipient, frame: Buffer | null): void {
    this.telemetry.push({ subscription, generation: subscription.generation, frame });
    this.telemetryBytes += frame === null ? 0 : frame.length;
  }

  /** The next telemetry frame; undefined when the lane is empty. Places that have become void are counted and passed over. */
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
    const waiting = this.telemetry[this.telemetryHead];
    if (waiting === undefined) {
      return undefined;
    }
    this.telemetryBytes -= waiting.frame === null ? 0 : waiting.frame.length;
    this.telemetryHead += 1;
    if (this.telemetryHead === this.telemetry.length) {
      this.telemetry = [];
      this.telemetryHead = 0;
    } else if (this.telemetryHead >= COMPACT_AT) {
      this.telemetry.splice(0, this.telemetryHead);
      this.telemetryHead = 0;
    }
    return waiting;
  }
}

/** What a waiting place stands for now: its frame, the newest value in mode `latest`, or nothing any more. */
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
