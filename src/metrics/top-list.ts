/** One key of a {@link TopList}. */
export interface TopEntry<Note> {
  readonly key: string;
  /** Lower bound of the weight: the events that were looked at, times what each stands for. */
  readonly weight: number;
  /** What was said of it last. */
  readonly note: Note;
}

interface Place<Note> {
  key: string;
  weight: number;
  /** Largest possible error of the weight: that of the key which this one has replaced. */
  error: number;
  note: Note;
  /** Its index in the heap. */
  at: number;
}

/**
 * The heaviest keys of a stream in bounded memory (space-saving: Metwally, Agrawal, El Abbadi, 2005). A key that has no place takes that of the
 * lightest one, and its weight with it: what is heavier than the whole weight divided by the places is always there.
 */
class Heaviest<Note> {
  private readonly places = new Map<string, Place<Note>>();
  /** A heap with the lightest first. */
  private readonly heap: Place<Note>[] = [];

  constructor(private readonly maxKeys: number) {}

  get size(): number {
    return this.heap.length;
  }

  add(key: string, weight: number, note: Note): void {
    let place = this.places.get(key);
    if (place === undefined && this.heap.length < this.maxKeys) {
      place = { key, weight, error: 0, note, at: this.heap.length };
      this.heap.push(place);
      this.places.set(key, place);
      this.rise(place);
      return;
    }
    if (place === undefined) {
      place = this.heap[0]!;
      this.places.delete(place.key);
      this.places.set(key, place);
      place.key = key;
      place.error = place.weight;
    }
    place.weight += weight;
    place.note = note;
    this.sink(place);
  }

  [Symbol.iterator](): Iterator<Readonly<Place<Note>>> {
    return this.heap[Symbol.iterator]();
  }

  private rise(place: Place<Note>): void {
    const { heap } = this;
    let { at } = place;
    while (at > 0) {
      const parent = heap[(at - 1) >> 1]!;
      if (parent.weight <= place.weight) {
        break;
      }
      heap[at] = parent;
      const above = parent.at;
      parent.at = at;
      at = above;
    }
    heap[at] = place;
    place.at = at;
  }

  private sink(place: Place<Note>): void {
    const { heap } = this;
    const { length } = heap;
    let { at } = place;
    for (let child = 2 * at + 1; child < length; child = 2 * at + 1) {
      const other = child + 1;
      const lighter = other < length && heap[other]!.weight < heap[child]!.weight ? other : child;
      const below = heap[lighter]!;
      if (below.weight >= place.weight) {
        break;
      }
      heap[at] = below;
      below.at = at;
      at = lighter;
    }
    heap[at] = place;
    place.at = at;
  }
}

/** Events of a window after which only every second one is looked at, then every fourth, and so on. */
const LOOKED_AT_BEFORE_THINNING = 512;

/**
 * The heaviest keys over the current window and the one before. While events are few, all are counted. In a flood only a random sample is,
 * and each of its events stands for several: that bounds the time, as the number of places bounds the memory.
 *
 * ```ts
 * if (list.due()) list.take(deviceId, bytes, undefined, receivedMono);
 * ```
 */
export class TopList<Note = undefined> {
  private current: Heaviest<Note>;
  private before: Heaviest<Note>;
  private beganMs: number;
  private beforeMs = 0;
  /** Events until the next one that is looked at. */
  private left = 1;
  /** Events that the next one looked at stands for. */
  private each = 1;
  private looked = 0;

  constructor(
    private readonly maxKeys: number,
    private readonly windowMs: number,
    nowMs = performance.now(),
  ) {
    this.current = new Heaviest(maxKeys);
    this.before = new Heaviest(maxKeys);
    this.beganMs = nowMs;
  }

  /** Keys kept in both windows. */
  get size(): number {
    return this.current.size + this.before.size;
  }

  /** Whether this event is to be looked at. One comparison where it is not. */
  due(): boolean {
    return (this.left -= 1) <= 0;
  }

  /**
   * Looks at an event that is {@link due}.
   * @param nowMs monotonic
   * @returns how many events it stands for
   */
  take(key: string, weight: number, note: Note, nowMs = performance.now()): number {
    this.turn(nowMs);
    const { each } = this;
    this.current.add(key, weight * each, note);
    this.looked += 1;
    if (this.looked % LOOKED_AT_BEFORE_THINNING === 0) {
      this.each *= 2;
    }
    // Chosen at random: a fixed step could always meet the same devices of a fleet that sends in turns.
    this.left = this.each === 1 ? 1 : 1 + Math.floor(Math.random() * (2 * this.each - 1));
    return each;
  }

  /** Adds an event that another list has chosen, for a second measure of it. */
  add(key: string, weight: number, note: Note, nowMs = performance.now()): void {
    this.turn(nowMs);
    this.current.add(key, weight, note);
  }

  /** The heaviest first. @returns with the time that it is about */
  read(limit: number, nowMs = performance.now()): { entries: TopEntry<Note>[]; ms: number } {
    this.turn(nowMs);
    const sums = new Map<string, { key: string; weight: number; note: Note }>();
    for (const window of [this.before, this.current]) {
      for (const { key, weight, error, note } of window) {
        const sum = sums.get(key) ?? { key, weight: 0, note };
        sum.weight += weight - error;
        sum.note = note;
        sums.set(key, sum);
      }
    }
    const entries = [...sums.values()].sort((a, b) => b.weight - a.weight).slice(0, limit);
    return { entries, ms: nowMs - this.beganMs + this.beforeMs };
  }

  private turn(nowMs: number): void {
    const passedMs = nowMs - this.beganMs;
    if (passedMs < this.windowMs) {
      return;
    }
    // After a silence of more than a window, what is old is not what happens now.
    const isRecent = passedMs < 2 * this.windowMs;
    this.before = isRecent ? this.current : new Heaviest(this.maxKeys);
    this.beforeMs = isRecent ? passedMs : this.windowMs;
    this.current = new Heaviest(this.maxKeys);
    this.beganMs = nowMs;
    this.each = 1;
    this.looked = 0;
  }
}
