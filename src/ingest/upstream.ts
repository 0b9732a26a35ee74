import { Injectable, Logger } from '@nestjs/common';
import { walled } from '../logging/walls.js';
import { Metrics } from '../metrics/metrics.js';

type Listener = (up: boolean, changedAt: number) => void;

/**
 * Whether device messages can reach this instance now: connected to the broker and every subscription granted.
 * While it is up and a device is silent, the device is.
 */
@Injectable()
export class Upstream {
  private readonly logger = new Logger(Upstream.name);
  private readonly listeners = new Set<Listener>();
  private isUp = false;
  private changed = Date.now();

  constructor(private readonly metrics: Metrics) {}

  get up(): boolean {
    return this.isUp;
  }

  /** Unix ms of the last change; of the start before there was one. */
  get changedAt(): number {
    return this.changed;
  }

  /** @returns ends the listening */
  onChange(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  /** Says how it is now; only a change is told. */
  set(up: boolean): void {
    if (up === this.isUp) {
      return;
    }
    this.isUp = up;
    this.changed = Date.now();
    this.metrics.upstreamUp.set(up ? 1 : 0);
    for (const listener of this.listeners) {
      try {
        listener(up, this.changed);
      } catch (error) {
        this.logger.error(
          'A listener of the upstream state failed',
          error instanceof Error ? error.stack : error,
        );
      }
    }
  }
}

/** Longer than a holder takes over from another, and than a change between Redis and the broker takes. */
const GRACE_MS = 2_000;

/** Tells {@link Upstream} of an end only when it lasts: a takeover is no outage. */
export class UpstreamGrace {
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly upstream: Upstream) {}

  /** @param hopeful somebody may be about to take over; else an end is told at once */
  set(up: boolean, hopeful: boolean): void {
    if (up || !hopeful) {
      clearTimeout(this.timer);
      this.timer = undefined;
      this.upstream.set(up);
    } else if (this.upstream.up) {
      this.timer ??= setTimeout(
        walled('ingest', () => this.upstream.set(false)),
        GRACE_MS,
      );
    }
  }

  /** The instance stops: nothing more is told. */
  stop(): void {
    clearTimeout(this.timer);
  }
}
