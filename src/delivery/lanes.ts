import type { Subscription } from '../rooms/subscription.js';

/** A telemetry frame that waits, or (frame null) the mark that the subscription's newest value waits. */
interface Waiting {
  subscription: Subscription;
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

  pushTelemetry(subscription: Subscription, frame: Buffer | null): void {
    this.telemetry.push({ subscription, generation: subscription.generation, frame });
    this.telemetryBytes += frame === null ? 0 : frame.length;
  }

  shiftTelemetry(): Waiting | undefined {
    const waiting = this.telemetry[this.telemetryHead];
    if (waiting !== undefined) {
      this.telemetryBytes -= waiting.frame === null ? 0 : waiting.frame.length;
      this.telemetryHead += 1;
      if (this.telemetryHead === this.telemetry.length) {
        this.telemetry = [];
        this.telemetryHead = 0;
      } else if (this.telemetryHead >= 1_024) {
        this.telemetry.splice(0, this.telemetryHead);
        this.telemetryHead = 0;
      }
    }
    return waiting;
  }
}
