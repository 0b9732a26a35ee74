import type { Config } from '../config/config.js';
import type { Metrics } from '../metrics/metrics.js';
import { mirrorGauge } from '../metrics/mirror.js';
import { FlushWindow } from './flush-window.js';
import { Sampling } from './sampling.js';
import { realScheduler, type Scheduler } from './scheduler.js';

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
