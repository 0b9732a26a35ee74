import { walled } from '../logging/walls.js';

/** Time for rate limits and windows; replaced in tests. */
export interface Scheduler {
  /** Monotonic milliseconds. */
  now(): number;
  /** Calls `run` once after `ms`. @returns cancels it */
  after(ms: number, run: () => void): () => void;
}

export const realScheduler: Scheduler = {
  now: () => performance.now(),
  after: (ms, run) => {
    const timer = setTimeout(walled('delivery', run), ms);
    return () => clearTimeout(timer);
  },
};
