/** Rooms under way at once: fewest, which still share the cost of a call, at first, and most. */
const MIN_WINDOW = 4;
const FIRST_WINDOW = 8;
const MAX_WINDOW = 256;
/** Wait at Redis that others' calls may have because of reads, in ms. Beyond it there are fewer of them. */
const TARGET_WAIT_MS = 5;
/** What is left of the window when Redis answers late. */
const DECREASE = 0.7;
/** Time after which the quickest answer is forgotten: Redis may have moved. */
const FORGET_MS = 30_000;

/**
 * Of how many rooms the history is read at once, by how Redis answers. A crowd that resumes asks for more than Redis can give at once, and each
 * call of that queue would have to wait, also those that store what devices say, until instances take Redis for lost. So there is one more
 * room at a time with each round of answers that come as quickly as Redis can, and fewer when they come late: all instances together find what
 * Redis has left. The rest waits at who asks ({@link HistoryReads}).
 */
export class ReadPace {
  private window = FIRST_WINDOW;
  private underWay = 0;
  private quickestMs = Infinity;
  private recentQuickestMs = Infinity;
  private forgetAt: number;
  private decreasedAt = -Infinity;

  /** @param now monotonic ms; replaced in tests */
  constructor(private readonly now: () => number = () => performance.now()) {
    this.forgetAt = now() + FORGET_MS;
  }

  /** Rooms that may be under way at once. */
  get limit(): number {
    return Math.floor(this.window);
  }

  /** How many of these rooms may be read now, by one call: all, or as many as there may be at once; 0 until others are answered. */
  allows(rooms: number): number {
    if (this.underWay === 0) {
      return Math.min(rooms, this.limit);
    }
    return this.underWay + rooms <= this.limit ? rooms : 0;
  }

  /** Makes a call; its rooms count as under way until it is answered. */
  async run<T>(rooms: number, call: () => Promise<T>): Promise<T> {
    this.underWay += rooms;
    const sentAt = this.now();
    try {
      const answer = await call();
      this.answered(rooms, sentAt);
      return answer;
    } catch (error) {
      this.late(sentAt);
      throw error;
    } finally {
      this.underWay -= rooms;
    }
  }

  private answered(rooms: number, sentAt: number): void {
    const now = this.now();
    const tookMs = now - sentAt;
    if (now >= this.forgetAt) {
      this.forgetAt = now + FORGET_MS;
      this.quickestMs = this.recentQuickestMs;
      this.recentQuickestMs = Infinity;
    }
    this.recentQuickestMs = Math.min(this.recentQuickestMs, tookMs);
    this.quickestMs = Math.min(this.quickestMs, tookMs);
    if (tookMs > 2 * this.quickestMs + TARGET_WAIT_MS) {
      this.late(sentAt);
    } else {
      this.window = Math.min(MAX_WINDOW, this.window + rooms / this.window);
    }
  }

  /** Once for all answers of a round: those sent before the last decrease say nothing new. */
  private late(sentAt: number): void {
    if (sentAt >= this.decreasedAt) {
      this.decreasedAt = this.now();
      this.window = Math.max(MIN_WINDOW, this.window * DECREASE);
    }
  }
}
