/** An entry of an {@link ExpiryHeap}. */
export interface Expiring {
  /** Unix ms. */
  expiresAt: number;
  /** Its place in the heap; -1 outside. Kept by the heap. */
  expiryIndex: number;
}

/** A binary heap by expiry that knows where each entry is, so that one that leaves early is gone at once. */
export class ExpiryHeap<T extends Expiring> {
  private readonly entries: T[] = [];

  get size(): number {
    return this.entries.length;
  }

  /** Adds an entry, or finds its place again after its `expiresAt` changed. */
  add(entry: T): void {
    if (entry.expiryIndex < 0) {
      entry.expiryIndex = this.entries.length;
      this.entries.push(entry);
    }
    this.up(entry);
    this.down(entry);
  }

  /** Takes an entry out; nothing happens when it is not in. */
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

  /** Takes out the entry that expires first if it expires at or before `now`, or returns null. */
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
