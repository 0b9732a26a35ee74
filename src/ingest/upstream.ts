import { Injectable, Logger } from '@nestjs/common';
import { walled } from '../logging/walls.js';
import { Metrics } from '../metrics/metrics.js';

type Listener = (up: boolean, changedAt: number) => void;

const BEHIND_MS = 5_000;
const CAUGHT_UP_MS = 2_000;

/**
 * Whether device messages can reach this instance now: connected to the broker and every subscription granted. While it is up, silence of a
 * device means that the device is silent.
 */
@Injectable()
export class Upstream {
  private readonly logger = new Logger(Upstream.name);
  private readonly listeners = new Set<Listener>();
  private isUp = false;
  private toldMs = 0;
  private changed = Date.now();
  /** Why this instance does not read although it could; for health. */
  hindrance: string | undefined;

  /** Shards of INGEST_SHARDS that this instance reads; undefined where there is no lease. */
  shards: readonly number[] | undefined;

  constructor(private readonly metrics: Metrics) {}

  get up(): boolean {
    return this.isUp;
  }

  /** What device messages wait at the broker, as it was last told; 0 while that is less than a few seconds, or not known. */
  get behindMs(): number {
    return this.toldMs;
  }

  /** Listeners hear it when it is over 5 s, when it has changed by half, and when it is under 2 s again. */
  setBehind(ms: number): void {
    const { toldMs } = this;
    const telling = toldMs === 0 ? ms >= BEHIND_MS : ms < CAUGHT_UP_MS || Math.abs(ms - toldMs) >= toldMs / 2;
    if (telling) {
      this.toldMs = ms < CAUGHT_UP_MS ? 0 : Math.round(ms);
      this.tell();
    }
  }

  /** Unix ms of the last change; of the start if there was none. */
  get changedAt(): number {
    return this.changed;
  }

  /** @returns removes the listener */
  onChange(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  /** Sets the state; listeners hear changes only. */
  set(up: boolean): void {
    if (up === this.isUp) {
      return;
    }
    this.isUp = up;
    this.changed = Date.now();
    this.metrics.upstreamUp.set(up ? 1 : 0);
    this.tell();
  }

  private tell(): void {
    for (const listener of this.listeners) {
      try {
        listener(this.isUp, this.changed);
      } catch (error) {
        this.logger.error(
          'A listener of the upstream state failed',
          error instanceof Error ? error.stack : error,
        );
      }
    }
  }
}

/** Longer than a takeover between holders, and than a switch between Redis and the broker. */
const GRACE_MS = 2_000;

/** Reports an outage to {@link Upstream} only if it lasts: a takeover is no outage. */
export class UpstreamGrace {
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly upstream: Upstream) {}

  /** @param hopeful another reader may take over soon: then the outage is reported only after GRACE_MS */
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

  /** Stops reporting (the instance stops). */
  stop(): void {
    clearTimeout(this.timer);
  }
}
