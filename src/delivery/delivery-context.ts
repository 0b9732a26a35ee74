import type { Config } from '../config/config.js';
import { mirrorGauge } from '../metrics/hot-counters.js';
import type { Metrics } from '../metrics/metrics.js';
import { tracing } from '../tracing/tracing.js';
import { realScheduler, type Scheduler } from '../time/clock.js';
import { FlushWindow } from './flush-window.js';

/** Most traced publications to which the span of one flush is linked. */
const MAX_LINKS = 32;
/** Most publications observed per window: those of one turn have nearly the same latency. */
const MAX_SAMPLES = 32;

/** What all connections of an instance share for delivery: limits, counters, the flush window. */
export class DeliveryContext {
  readonly window: FlushWindow;
  readonly hot: Metrics['hot'];
  /** Bytes that wait for slow connections, over all connections. */
  queuedBytes = 0;
  queuedMessages = 0;
  private readonly received: number[] = [];
  /** `traceparent` of publications that the current window sends. */
  private readonly links: string[] = [];
  private tracedAt = 0;
  private readonly sampling = new Sampling();
  private readonly batchWindows = new Map<number, FlushWindow>();

  constructor(
    readonly limits: Config['ws'],
    readonly metrics: Metrics,
    readonly scheduler: Scheduler = realScheduler,
  ) {
    this.hot = metrics.hot;
    this.window = new FlushWindow(0, () => this.flushed());
    mirrorGauge(metrics.queueBytes, () => this.queuedBytes);
    mirrorGauge(metrics.queueMessages, () => this.queuedMessages);
  }

  /** The window shared by all connections with this `batchMs` (1 to 1000), so that they batch and encode together. */
  batchWindow(batchMs: number): FlushWindow {
    let window = this.batchWindows.get(batchMs);
    if (window === undefined) {
      window = new FlushWindow(batchMs);
      this.batchWindows.set(batchMs, window);
    }
    return window;
  }

  /** Whether the latency of the next publication, received at `receivedMono` (performance.now()), is to be observed. */
  isSampling(receivedMono: number): boolean {
    return this.sampling.take(receivedMono) && this.received.length < MAX_SAMPLES;
  }

  /** Records a publication for which {@link isSampling} returned true; it is observed when the current window is flushed. */
  sampleLatency(receivedMono: number): void {
    if (this.window.isDue) {
      this.received.push(receivedMono);
    }
  }

  /** A publication that was just handed to rooms is traced: the write that sends it is linked to it. @param receivedAt Unix ms */
  deliversTraced(traceparent: string, receivedAt: number): void {
    if (this.window.isDue && this.links.length < MAX_LINKS) {
      this.tracedAt = this.links.length === 0 ? receivedAt : Math.min(this.tracedAt, receivedAt);
      this.links.push(traceparent);
    }
  }

  private flushed(): void {
    const traceparent = this.links.length === 0 ? undefined : this.endTraced();
    if (this.received.length > 0) {
      const now = performance.now();
      for (const receivedMono of this.received) {
        // Another machine's receipt is known by its wall clock only.
        this.metrics.observeLatency(Math.max(0, now - receivedMono) / 1000, traceparent);
      }
      this.received.length = 0;
    }
  }

  /** One span for all that one write sends, however many of it are traced. */
  private endTraced(): string | undefined {
    const span = tracing.start('delivery', {
      kind: 'producer',
      startMs: this.tracedAt,
      facts: { 'sluice.publications': this.links.length },
      links: [...this.links],
    });
    span.end();
    this.links.length = 0;
    return span.traceparent;
  }
}

/** Observations per second; more would not change the distribution. */
const WANTED_PER_S = 50;
const PERIOD_MS = 1_000;

/**
 * Chooses which publications are observed: all at a low rate, else a random sample of about fifty per second. Random, so that regular
 * rhythms of devices do not bias it and a stall has its true weight.
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
    // Another machine's receipt is known by its wall clock only, which may be behind.
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

  /** Assumes that the next second brings as many publications as the last. */
  private beginPeriod(receivedMono: number): void {
    this.oneIn = Math.max(1, Math.round(this.seen / WANTED_PER_S));
    this.untilNext = Math.min(this.untilNext, this.gap());
    this.seen = 0;
    this.periodMono = receivedMono;
  }

  /** From 1 to twice the average gap. */
  private gap(): number {
    return 1 + Math.floor(this.random() * (2 * this.oneIn - 1));
  }
}
