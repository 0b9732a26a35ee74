import { Injectable, type OnModuleDestroy } from '@nestjs/common';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { walled } from '../logging/walls.js';

/** A window: long enough for a p99 that one stall alone does not make, short enough that those of the start are soon forgotten. */
const WINDOW_MS = 10_000;
/** Each look wakes the process, also where nothing happens. */
const RESOLUTION_MS = 50;
const NS_PER_MS = 1e6;

/** How long the event loop keeps timers waiting, over the current window and the one before. */
@Injectable()
export class EventLoopDelay implements OnModuleDestroy {
  private readonly histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  private readonly timer = setInterval(
    walled('lifecycle', () => this.turn()),
    WINDOW_MS,
  ).unref();
  private lastWindowMs = 0;

  constructor() {
    this.histogram.enable();
  }

  /** The greater p99 of both windows, in ms, without the timer's own resolution. */
  get p99Ms(): number {
    return Math.max(this.lastWindowMs, this.currentMs());
  }

  onModuleDestroy(): void {
    clearInterval(this.timer);
    this.histogram.disable();
  }

  private turn(): void {
    this.lastWindowMs = this.currentMs();
    this.histogram.reset();
  }

  private currentMs(): number {
    if (this.histogram.count === 0) {
      return 0;
    }
    return Math.max(0, this.histogram.percentile(99) / NS_PER_MS - RESOLUTION_MS);
  }
}
