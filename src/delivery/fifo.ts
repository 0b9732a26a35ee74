/** Entries that have been taken are removed in bulk, so that a queue that never empties does not keep all that ever stood in it. */
const COMPACT_AFTER = 1_024;

/** A queue, first in, first out: an array with the index of its first entry, since `Array.shift` moves all entries of a long one. */
export class Fifo<T extends NonNullable<unknown>> {
  private entries: T[] = [];
  private head = 0;

  get length(): number {
    return this.entries.length - this.head;
  }

  push(entry: T): void {
    this.entries.push(entry);
  }

  /** Takes the first entry; undefined when the queue is empty. */
  shift(): T | undefined {
    const entry = this.entries[this.head];
    if (entry === undefined) {
      return undefined;
    }
    this.head += 1;
    if (this.head === this.entries.length) {
      this.entries = [];
      this.head = 0;
    } else if (this.head >= COMPACT_AFTER) {
      this.entries.splice(0, this.head);
      this.head = 0;
    }
    return entry;
  }
}
