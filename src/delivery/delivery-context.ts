import type { Config } from '../config/config.js';
import { walled } from '../logging/walls.js';
import { type Metrics, mirrorGauge } from '../metrics/metrics.js';
import { FlushWindow } from './flush-window.js';

/** At most this many publications of one window are observed: what a flood brings in one turn tells the same. */
const MAX_SAMPLES = 32;

/** What all connections of an instance share for delivery: limits, counters, the flush window. */
export class DeliveryContext {
  readonly window: FlushWindow;
  readonly hot: Metrics['hot'];
  /** Waiting for slow connections, over all of them. */
  queuedBytes = 0;
  queuedMessages = 0;
  private readonly received: number[] = [];
  private readonly sampling = new Sampling();
  private readonly batchWindows = new Map<number, FlushWindow>();

  constructor(
    readonly limits: Config['ws'],
    readonly metrics: Metrics,
    readonly scheduler: Scheduler = realScheduler,
  ) {
    this.hot = metrics.hot;
    this.window = new FlushWindow(0, () => this.observeLatency());
    mirrorGauge(metrics.queueBytes, () => this.queuedBytes);
    mirrorGauge(metrics.queueMessages, () => this.queuedMessages);
  }

  /** The window that all connections with this `batchMs` (1 to 1000) share, so that they batch, and encode, together. */
  batchWindow(batchMs: number): FlushWindow {
    let window = this.batchWindows.get(batchMs);
    if (window === undefined) {
      window = new FlushWindow(batchMs);
      this.batchWindows.set(batchMs, window);
    }
    return window;
  }

  /** Whether times of the next publication, received at `receivedMono` (performance.now()), are to be observed. */
  isSampling(receivedMono: number): boolean {
    return this.sampling.take(receivedMono) && this.received.length < MAX_SAMPLES;
  }

  /** A publication that {@link isSampling} was true for goes out with the current window, if anybody gets it now. */
  sampleLatency(receivedMono: number): void {
    if (this.window.isDue) {
      this.received.push(receivedMono);
    }
  }

  private observeLatency(): void {
    if (this.received.length > 0) {
      const now = performance.now();
      for (const receivedMono of this.received) {
        // Receipt on another machine is only known by its clock.
        this.metrics.latency.observe(Math.max(0, now - receivedMono) / 1000);
      }
      this.received.length = 0;
    }
  }
}

/** Time for rate limits and windows; replaced in tests. */
export interface Scheduler {
  /** Monotonic milliseconds. */
  now(): number;
  /** Calls `run` once after `ms`. @returns cancels it */
  after(ms: number, run: () => void): () => void;
}

const realScheduler: Scheduler = {
  now: () => performance.now(),
  after: (ms, run) => {
    const timer = setTimeout(walled('delivery', run), ms);
    return () => clearTimeout(timer);
  },
};

/** Observations a second that tell what all of them would. */
const WANTED_PER_S = 50;
const PERIOD_MS = 1_000;

/**
 * Chooses which publications are observed: all of them where few come, else one in so many that some fifty a second are. At random, so
 * that each is as likely as any other whatever rhythm devices have, and what a stall held up weighs as much as it was.
 */
export class Sampling {
  private oneIn = 1;
  private untilNext = 1;
  private seen = 0;
  private periodMono = 0;

  /** @param random as `Math.random` */
  constructor(private readonly random: () => number = Math.random) {}

  /** Whether the next publication, received at `receivedMono` (performance.now()), is to be observed. */
  take(receivedMono: number): boolean {
    this.seen += 1;
    // Receipt on another machine is known by its clock, which may be behind.
    if (Math.abs(receivedMono - this.periodMono) >= PERIOD_MS) {
      this.beginPeriod(receivedMono);
    }
    this.untilNext -= 1;
    if (this.untilNext > 0) {
      return false;
    }
    this.untilNext = this.gap();
    return true;
  }

  /** As many come in the next second as came in the last. */
  private beginPeriod(receivedMono: number): void {
    this.oneIn = Math.max(1, Math.round(this.seen / WANTED_PER_S));
    this.untilNext = Math.min(this.untilNext, this.gap());
    this.seen = 0;
    this.periodMono = receivedMono;
  }

  /** From 1 to twice as many as on average. */
  private gap(): number {
    return 1 + Math.floor(this.random() * (2 * this.oneIn - 1));
  }
}
