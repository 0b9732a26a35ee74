/**
 * Exponential backoff: the wait before attempt n is a random part of `min * 2^n`, at most `max`. Full jitter by default, because a fleet of
 * instances that loses its broker at one moment must not come back at one moment.
 */
export class Backoff {
  private attempts = 0;

  /** @param randomPart how much of the wait is random; the rest is always waited */
  constructor(
    private readonly minMs: number,
    private readonly maxMs: number,
    private readonly random: () => number = Math.random,
    private readonly randomPart = 1,
  ) {}

  /** Failed attempts since the last {@link reset}. */
  get failures(): number {
    return this.attempts;
  }

  /** Ms to wait before the next attempt. */
  nextMs(): number {
    const ceiling = Math.min(this.maxMs, this.minMs * 2 ** Math.min(this.attempts, 30));
    this.attempts++;
    return Math.floor((1 - this.randomPart + this.randomPart * this.random()) * ceiling);
  }

  reset(): void {
    this.attempts = 0;
  }
}
