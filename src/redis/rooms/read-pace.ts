import { Fifo } from '../../delivery/fifo.js';
import { background } from '../../logging/walls.js';

/** Reads under way at once: at first, and most. */
const FIRST_WINDOW = 8;
const MAX_WINDOW = 256;
/** Wait at Redis that others' calls may have because of reads, in ms. Beyond it there are fewer of them. */
const TARGET_WAIT_MS = 5;
/** What is left of the window when Redis answers late. */
const DECREASE = 0.7;
/** Time after which the quickest answer is forgotten: Redis may have moved. */
const FORGET_MS = 30_000;

interface Waiting {
  readonly send: () => void;
}

/**
 * How many reads of history are under way at Redis, by how it answers. A crowd that resumes asks for more than Redis can give at once, and each
 * call of that queue would have to wait, also those that store what devices say, until instances take Redis for lost. So there is one more read
 * at a time with each round of answers that come as quickly as Redis can, and fewer when they come late: all instances together find what
 * Redis has left. The rest waits here.
 */
export class ReadPace {
  private window = FIRST_WINDOW;
  private underWay = 0;
  private readonly queue = new Fifo<Waiting>();
  /** By what is read: reads that wait, for others that ask for the same. */
  private readonly asked = new Map<string, Promise<unknown>>();
  private quickestMs = Infinity;
  private recentQuickestMs = Infinity;
  private forgetAt: number;
  private decreasedAt = -Infinity;

  /** @param now monotonic ms; replaced in tests */
  constructor(private readonly now: () => number = () => performance.now()) {
    this.forgetAt = now() + FORGET_MS;
  }

  /** Reads that wait for their turn. */
  get waiting(): number {
    return this.queue.length;
  }

  /** Reads that may be under way at once. */
  get limit(): number {
    return Math.floor(this.window);
  }

  /**
   * Reads when it is its turn.
   * @param what is read: whoever asks for the same while it waits gets the same answer
   */
  run<T>(what: string, read: () => Promise<T>): Promise<T> {
    if (this.underWay < this.limit && this.queue.length === 0) {
      return this.send(read);
    }
    const known = this.asked.get(what);
    if (known !== undefined) {
      return known as Promise<T>;
    }
    const answer = new Promise<T>((resolve, reject) => {
      this.queue.push({
        send: () => {
          this.asked.delete(what);
          background('redis', this.send(read).then(resolve, reject));
        },
      });
    });
    this.asked.set(what, answer);
    return answer;
  }

  private async send<T>(read: () => Promise<T>): Promise<T> {
    this.underWay += 1;
    const sentAt = this.now();
    try {
      const answer = await read();
      this.answered(sentAt);
      return answer;
    } catch (error) {
      this.late(sentAt);
      throw error;
    } finally {
      this.underWay -= 1;
      while (this.underWay < this.limit && this.queue.length > 0) {
        this.queue.shift()?.send();
      }
    }
  }

  private answered(sentAt: number): void {
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
      this.window = Math.min(MAX_WINDOW, this.window + 1 / this.window);
    }
  }

  /** Once for all answers of a round: those sent before the last decrease say nothing new. */
  private late(sentAt: number): void {
    if (sentAt >= this.decreasedAt) {
      this.decreasedAt = this.now();
      this.window = Math.max(1, this.window * DECREASE);
    }
  }
}
