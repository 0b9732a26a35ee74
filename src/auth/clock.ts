import { walled } from '../logging/walls.js';
/** Time as auth sees it; tests inject their own, so that hours pass without a wait. */
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
export const AUTH_CLOCK = 'SLUICE:AUTH_CLOCK';

export const systemClock: Clock = {
  now: () => Date.now(),
  after(delayMs, callback) {
    const timer = setTimeout(walled('auth', callback), delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
