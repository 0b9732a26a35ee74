import { contain, walled } from '../../logging/walls.js';
/** What is done is let go in pieces of so many: a queue that never empties must not keep all that ever stood in it. */
const LET_GO = 1_024;

/** Work of a crowd, done in the turns of the event loop that follow, a few each, in the order it came: what is live comes between. */
export class TurnQueue<T> {
  private readonly waiting: T[] = [];
  /** Of the next in `waiting`. */
  private next = 0;
  private immediate: NodeJS.Immediate | null = null;

  /** @param perTurn how many in one turn */
  constructor(
    private readonly perTurn: number,
    private readonly seeTo: (entry: T) => void,
  ) {}

  push(entry: T): void {
    this.waiting.push(entry);
    this.immediate ??= setImmediate(this.turn);
  }

  private readonly turn = walled('connection', (): void => {
    const end = Math.min(this.waiting.length, this.next + this.perTurn);
    while (this.next < end) {
      const entry = this.waiting[this.next] as T;
      this.next += 1;
      try {
        this.seeTo(entry);
      } catch (error) {
        contain('connection', error); // the others come all the same
      }
    }
    if (this.next === this.waiting.length || this.next >= LET_GO) {
      this.waiting.splice(0, this.next);
      this.next = 0;
    }
    this.immediate = this.waiting.length > 0 ? setImmediate(this.turn) : null;
  });
}
