/** Observations a second that tell what all of them would. */
const WANTED_PER_S = 50;
const PERIOD_MS = 1_000;

/**
 * Chooses which publications are observed: all of them where few come, else one in so many that some fifty a second are. At random, so
 * that each is as likely as any other whatever rhythm devices have, and what a stall held up weighs as much as it was.
 */
export class Sampling {
  private oneIn = 1;
  private untilNext = 1;
  private seen = 0;
  private periodMono = 0;

  /** @param random as `Math.random` */
  constructor(private readonly random: () => number = Math.random) {}

  /** Whether the next publication, received at `receivedMono` (performance.now()), is to be observed. */
  take(receivedMono: number): boolean {
    this.seen += 1;
    // Receipt on another machine is known by its clock, which may be behind.
    if (Math.abs(receivedMono - this.periodMono) >= PERIOD_MS) {
      this.beginPeriod(receivedMono);
    }
    this.untilNext -= 1;
    if (this.untilNext > 0) {
      return false;
    }
    this.untilNext = this.gap();
    return true;
  }

  /** As many come in the next second as came in the last. */
  private beginPeriod(receivedMono: number): void {
    this.oneIn = Math.max(1, Math.round(this.seen / WANTED_PER_S));
    this.untilNext = Math.min(this.untilNext, this.gap());
    this.seen = 0;
    this.periodMono = receivedMono;
  }

  /** From 1 to twice as many as on average. */
  private gap(): number {
    return 1 + Math.floor(this.random() * (2 * this.oneIn - 1));
  }
}
