/**
 * A token bucket in one number (the generic cell rate algorithm): `due` is the time at which the bucket would be full again.
 * No timer, no refill: a bucket that is not used costs nothing.
 */
export class RateLimit {
  private readonly intervalMs: number;
  private readonly toleranceMs: number;

  /**
   * @param perSecond sustained rate
   * @param burst how many may come at once
   */
  constructor(perSecond: number, burst: number) {
    this.intervalMs = 1000 / perSecond;
    this.toleranceMs = this.intervalMs * (burst - 1);
  }

  /**
   * Takes from the bucket. One must be there; what it costs beyond that is owed, so that nothing is too dear for a full bucket, and what
   * follows waits the longer.
   * @param due what the last call returned; 0 for a full bucket
   * @param now monotonic ms
   * @param cost how many are taken, any number above 0
   * @returns the new `due`, or a negative number: minus the ms until one is free again
   */
  take(due: number, now: number, cost = 1): number {
    const wait = this.waitMs(due, now);
    return wait > 0 ? -wait : this.charge(due, now, cost);
  }

  /** @returns ms until one is free, 0 when it is now */
  waitMs(due: number, now: number): number {
    const wait = Math.max(due, now) - now - this.toleranceMs;
    // A billionth of a ms of rounding must not refuse what is due now.
    return wait > 1e-6 ? wait : 0;
  }

  /** Takes what cannot be refused any more. @returns the new `due` */
  charge(due: number, now: number, cost: number): number {
    return Math.max(due, now) + this.intervalMs * cost;
  }
}
