import { type Deadline, DeadlineQueue } from './deadline-queue.js';

/** Parts of the interval's second half in which connections have their first turn. */
const PHASES = 60;
/** From one connection's phase to the next one's: has no divisor in common with their number, so that few are spread as well as many. */
const STRIDE = 37;
const LAST = PHASES - 1;

/** An entry of {@link HeartbeatPhases}. */
export interface Beating<T> extends Deadline<T> {
  /** The queue it waits in. */
  phase: number;
}

/**
 * Who is to be pinged when: every connection once in an interval, the first time in the second half of one, each at another time. Connections that
 * open together, as after a restart, would otherwise be pinged and answer together ever after: 1 000 of them take 40 ms.
 */
export class HeartbeatPhases<T extends Beating<T>> {
  private readonly queues: readonly DeadlineQueue<T>[];
  private next = LAST;

  constructor(intervalMs: number) {
    this.queues = Array.from(
      { length: PHASES },
      // From half an interval on: a fresh connection has its snapshot to read first.
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

  /** The next one that is due, or null; it is due again after a whole interval. */
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
