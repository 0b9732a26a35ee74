import type { Clock } from '../../src/time/clock.js';

interface Timer {
  at: number;
  callback: () => void;
}

/** A clock that stands until it is moved; due timers run, in order, while it moves. */
export class ManualClock implements Clock {
  private readonly timers = new Set<Timer>();

  constructor(private time = 1_700_000_000_000) {}

  now(): number {
    return this.time;
  }

  /** Unix seconds, as claims have them. */
  get seconds(): number {
    return Math.floor(this.time / 1000);
  }

  get pendingTimers(): number {
    return this.timers.size;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { at: this.time + delayMs, callback };
    this.timers.add(timer);
    return () => this.timers.delete(timer);
  }

  advance(byMs: number): void {
    const end = this.time + byMs;
    for (let next = this.nextDue(end); next !== undefined; next = this.nextDue(end)) {
      this.timers.delete(next);
      this.time = next.at;
      next.callback();
    }
    this.time = end;
  }

  private nextDue(end: number): Timer | undefined {
    return [...this.timers].filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
  }
}
