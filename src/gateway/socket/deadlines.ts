/** An entry of a {@link DeadlineQueue}. The links are in the entry itself, so that a waiting connection allocates nothing. */
export interface Deadline<T> {
  /** Monotonic ms at which it is due. */
  dueAt: number;
  nextDue: T | null;
  previousDue: T | null;
}

/**
 * Entries with equal timeouts, so that the order of arrival is the order of deadlines: adding, removing and finding the next one are O(1),
 * and one timer serves all.
 */
export class DeadlineQueue<T extends Deadline<T>> {
  size = 0;
  private head: T | null = null;
  private tail: T | null = null;

  constructor(readonly waitMs: number) {}

  /** Appends an entry. It must not be in a queue. */
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

  /** Removes an entry, wherever it is. It must be in this queue. */
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

  /** Removes and returns the next due entry, or null. */
  takeDue(now: number): T | null {
    const entry = this.head;
    if (entry === null || entry.dueAt > now) {
      return null;
    }
    this.remove(entry);
    return entry;
  }
}

/** Parts of the interval's second half in which connections are first pinged. */
const PHASES = 60;
/** Coprime to PHASES, so that consecutive connections land far apart. */
const STRIDE = 37;
const LAST = PHASES - 1;

/** An entry of {@link HeartbeatPhases}. */
export interface Beating<T> extends Deadline<T> {
  /** The queue it is in. */
  phase: number;
}

/**
 * Schedules pings: every connection once per interval, first in the second half of its first interval, each at another time. Connections
 * that open together, as after a restart, would otherwise be pinged and answer together for ever: 1 000 of them take 40 ms.
 */
export class HeartbeatPhases<T extends Beating<T>> {
  private readonly queues: readonly DeadlineQueue<T>[];
  private next = LAST;

  constructor(intervalMs: number) {
    this.queues = Array.from(
      { length: PHASES },
      // From half an interval on: a new connection reads its snapshot first.
      (_, phase) => new DeadlineQueue<T>(Math.round((intervalMs * (1 + (phase + 1) / PHASES)) / 2)),
    );
  }

  get size(): number {
    return this.queues.reduce((sum, { size }) => sum + size, 0);
  }

  /** The first connection of all waits a whole interval, each other one a part of it. */
  add(entry: T, now: number): void {
    entry.phase = this.next;
    this.next = (this.next + STRIDE) % PHASES;
    this.queueOf(entry).add(entry, now);
  }

  remove(entry: T): void {
    this.queueOf(entry).remove(entry);
  }

  /** The next due entry, or null; it is due again one interval later. */
  takeDue(now: number): T | null {
    for (const queue of this.queues) {
      const entry = queue.takeDue(now);
      if (entry !== null) {
        entry.phase = LAST;
        this.queueOf(entry).add(entry, now);
        return entry;
      }
    }
    return null;
  }

  private queueOf({ phase }: T): DeadlineQueue<T> {
    return this.queues[phase] as DeadlineQueue<T>;
  }
}

/** An entry of an {@link ExpiryHeap}. */
export interface Expiring {
  /** Unix ms. */
  expiresAt: number;
  /** Its index in the heap; -1 outside. Set by the heap. */
  expiryIndex: number;
}

/** A binary heap by expiry in which each entry knows its index, so that any entry can be removed at once. */
export class ExpiryHeap<T extends Expiring> {
  private readonly entries: T[] = [];

  get size(): number {
    return this.entries.length;
  }

  /** Adds an entry, or moves it after its `expiresAt` changed. */
  add(entry: T): void {
    if (entry.expiryIndex < 0) {
      entry.expiryIndex = this.entries.length;
      this.entries.push(entry);
    }
    this.up(entry);
    this.down(entry);
  }

  /** Removes an entry; does nothing if it is not in the heap. */
  remove(entry: T): void {
    const at = entry.expiryIndex;
    if (at < 0) {
      return;
    }
    entry.expiryIndex = -1;
    const last = this.entries.pop() as T;
    if (last !== entry) {
      this.place(last, at);
      this.up(last);
      this.down(last);
    }
  }

  /** Removes and returns the entry that expires first if it has expired at `now`, or returns null. */
  takeExpired(now: number): T | null {
    const first = this.entries[0];
    if (first === undefined || first.expiresAt > now) {
      return null;
    }
    this.remove(first);
    return first;
  }

  private place(entry: T, at: number): void {
    this.entries[at] = entry;
    entry.expiryIndex = at;
  }

  private up(entry: T): void {
    for (;;) {
      const at = entry.expiryIndex;
      const above = (at - 1) >> 1;
      const parent = this.entries[above];
      if (at === 0 || parent === undefined || parent.expiresAt <= entry.expiresAt) {
        return;
      }
      this.place(parent, at);
      this.place(entry, above);
    }
  }

  private down(entry: T): void {
    for (;;) {
      const at = entry.expiryIndex;
      const left = this.entries[2 * at + 1];
      const right = this.entries[2 * at + 2];
      const child =
        right !== undefined && left !== undefined && right.expiresAt < left.expiresAt ? right : left;
      if (child === undefined || child.expiresAt >= entry.expiresAt) {
        return;
      }
      const below = child.expiryIndex;
      this.place(child, at);
      this.place(entry, below);
    }
  }
}
