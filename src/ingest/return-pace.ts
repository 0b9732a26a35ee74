import type { StoreMode } from './ports.js';

/** The store has to be well this long before rooms go back to it; doubles while it keeps failing. */
const RETURN_AFTER_MS = 300;
const LONGEST_RETURN_AFTER_MS = 30_000;
/** A time in the store that lasted this long was good. */
const GOOD_STORE_MS = 10_000;

/** When rooms may go back to a store that was away: a store that comes and goes must not take them along each time. */
export class ReturnPace {
  private afterMs = RETURN_AFTER_MS;
  private reachableSince = Infinity;
  private storeSince = -Infinity;
  private localSince = -Infinity;

  /** @param now ms; replaced in tests */
  constructor(private readonly now: () => number = () => performance.now()) {}

  reachable(reachable: boolean): void {
    this.reachableSince = reachable ? this.now() : Infinity;
  }

  changed(mode: StoreMode): void {
    if (mode === 'store') {
      this.storeSince = this.now();
      return;
    }
    this.localSince = this.now();
    if (this.now() - this.storeSince < GOOD_STORE_MS) {
      this.afterMs = Math.min(this.afterMs * 2, LONGEST_RETURN_AFTER_MS);
    } else {
      this.afterMs = RETURN_AFTER_MS;
    }
  }

  mayReturn(): boolean {
    return this.now() - Math.max(this.reachableSince, this.localSince) >= this.afterMs;
  }
}
