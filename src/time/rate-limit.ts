/**
 * A token bucket in one number (the generic cell rate algorithm): `due` is the time at which the bucket is full again. No timer, no refill:
 * an unused bucket costs nothing.
 */
export class RateLimit {
  private readonly intervalMs: number;
  private readonly toleranceMs: number;

  /**
   * @param perSecond sustained rate
   * @param burst how many are allowed at once
   */
  constructor(perSecond: number, burst: number) {
    this.intervalMs = 1000 / perSecond;
    this.toleranceMs = this.intervalMs * (burst - 1);
  }

  /**
   * Takes from the bucket. At least one must be there; a higher cost becomes a debt, so that a full bucket allows any cost, and the next
   * call waits longer.
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
    // The small constant absorbs rounding of floating-point times.
    return wait > 1e-6 ? wait : 0;
  }

  /** Charges a cost that can no longer be refused. @returns the new `due` */
  charge(due: number, now: number, cost: number): number {
    return Math.max(due, now) + this.intervalMs * cost;
  }
}
