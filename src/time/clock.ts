import { walled } from '../logging/walls.js';

/** The wall clock, for what is said in Unix time; tests inject their own, so that hours pass without a wait. */
export interface Clock {
  /** Unix ms. */
  now(): number;
  /**
   * Calls back once after `delayMs` (at most 2^31 - 1) and does not keep the process alive.
   * @returns ends the timer; calling it again, or after the callback, does nothing
   */
  after(delayMs: number, callback: () => void): () => void;
}

/** DI token of the {@link Clock}. */
export const CLOCK = 'SLUICE:CLOCK';

export const systemClock: Clock = {
  now: () => Date.now(),
  after(delayMs, callback) {
    const timer = setTimeout(walled('auth', callback), delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
};

/** Time for rate limits and windows; replaced in tests. */
export interface Scheduler {
  /** Monotonic milliseconds. */
  now(): number;
  /** Calls `run` once after `ms`. @returns cancels it */
  after(ms: number, run: () => void): () => void;
}

/** Longest delay of a timer in Node.js, 24.8 days; a longer one would end after 1 ms. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export const realScheduler: Scheduler = {
  now: () => performance.now(),
  after: (ms, run) => {
    const timer = setTimeout(walled('delivery', run), Math.min(ms, LONGEST_TIMER_MS));
    return () => clearTimeout(timer);
  },
};

/** Resolves with the work's result, or with undefined after `timeoutMs`: the work goes on, and nobody waits for it. */
export async function within<T>(timeoutMs: number, work: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), timeoutMs);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
