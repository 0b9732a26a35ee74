/** What is done is let go in pieces of so many: a line that never empties must not keep all who ever stood in it. */
const LET_GO = 1_024;
/** Handshakes in one turn of the event loop: what else is due comes between them. */
const MAX_PER_TURN = 4;

interface Waiting {
  /** performance.now() from which it may go on. */
  readonly dueAt: number;
  readonly proceed: () => void;
}

/**
 * Handshakes that wait for their time, in the order they came. A crowd that comes at once costs those that are connected little more
 * than the same number spread over time, and most of it needs no second attempt.
 */
export class HandshakeLine {
  private waiting: Waiting[] = [];
  /** Of the next in `waiting`. */
  private next = 0;
  private timer: NodeJS.Timeout | undefined;
  private immediate: NodeJS.Immediate | undefined;

  /** @param now monotonic ms; replaced in tests */
  constructor(private readonly now: () => number = () => performance.now()) {}

  get length(): number {
    return this.waiting.length - this.next;
  }

  /** By how much the first of them is late, in ms: turns of the event loop take longer than the line allows for. */
  get lateMs(): number {
    const first = this.waiting[this.next];
    return first === undefined ? 0 : Math.max(0, this.now() - first.dueAt);
  }

  /** @param dueAt not before that of those who wait already */
  join(dueAt: number, proceed: () => void): void {
    this.waiting.push({ dueAt, proceed });
    if (this.timer === undefined && this.immediate === undefined) {
      this.schedule();
    }
  }

  /** Everybody goes on now: nobody may wait any more. */
  close(): void {
    clearTimeout(this.timer);
    clearImmediate(this.immediate);
    const left = this.waiting.slice(this.next);
    this.waiting = [];
    this.next = 0;
    this.timer = undefined;
    this.immediate = undefined;
    left.forEach(({ proceed }) => proceed());
  }

  private schedule(): void {
    const first = this.waiting[this.next];
    if (first === undefined) {
      this.waiting = [];
      this.next = 0;
      return;
    }
    const leftMs = first.dueAt - this.now();
    if (leftMs > 0) {
      this.timer = setTimeout(() => this.turn(), Math.ceil(leftMs));
    } else {
      this.immediate = setImmediate(() => this.turn());
    }
  }

  private turn(): void {
    this.timer = undefined;
    this.immediate = undefined;
    const now = this.now();
    for (let count = 0; count < MAX_PER_TURN; count += 1) {
      const first = this.waiting[this.next];
      if (first === undefined || first.dueAt > now) {
        break;
      }
      this.next += 1;
      first.proceed();
    }
    if (this.next >= LET_GO) {
      this.waiting.splice(0, this.next);
      this.next = 0;
    }
    this.schedule();
  }
}
