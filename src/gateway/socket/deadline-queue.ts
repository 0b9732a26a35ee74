/** An entry of a {@link DeadlineQueue}. Its links lie in the entry itself, so that a waiting connection allocates nothing. */
export interface Deadline<T> {
  /** Monotonic ms at which it is due. */
  dueAt: number;
  nextDue: T | null;
  previousDue: T | null;
}

/**
 * Entries that all wait equally long, so that the order of arrival is the order of deadlines: adding, removing and finding the next
 * one each cost one step, and one timer serves all.
 */
export class DeadlineQueue<T extends Deadline<T>> {
  size = 0;
  private head: T | null = null;
  private tail: T | null = null;

  constructor(readonly waitMs: number) {}

  /** Puts an entry at the end. It must not be in a queue. */
  add(entry: T, now: number): void {
    entry.dueAt = now + this.waitMs;
    entry.previousDue = this.tail;
    entry.nextDue = null;
    if (this.tail === null) {
      this.head = entry;
    } else {
      this.tail.nextDue = entry;
    }
    this.tail = entry;
    this.size += 1;
  }

  /** Takes an entry out, wherever it stands. It must be in this queue. */
  remove(entry: T): void {
    const { previousDue: previous, nextDue: next } = entry;
    if (previous === null) {
      this.head = next;
    } else {
      previous.nextDue = next;
    }
    if (next === null) {
      this.tail = previous;
    } else {
      next.previousDue = previous;
    }
    entry.previousDue = null;
    entry.nextDue = null;
    this.size -= 1;
  }

  /** Takes out the next entry that is due, or returns null. */
  takeDue(now: number): T | null {
    const entry = this.head;
    if (entry === null || entry.dueAt > now) {
      return null;
    }
    this.remove(entry);
    return entry;
  }
}
