import type { Outbound } from '../delivery/outbound.js';
import { walled } from '../logging/walls.js';

/** Rooms joined, answered or shown per turn of the event loop, over all connections. */
const ROOMS_PER_TURN = 500;

/** A caller that waits for a later turn, and the number of rooms it asked for. */
interface Waiting {
  rooms: number;
  resume: (granted: number) => void;
}

/**
 * Splits work on many rooms over turns of the event loop: a pattern may have a hundred thousand, and messages of devices and other
 * connections are handled between the turns. When a turn's share is used up, callers queue and get one share at a time, so that a
 * connection with much work does not block one with little.
 */
export class RoomTurns {
  private left = ROOMS_PER_TURN;
  private scheduled = false;
  private waiting: Waiting[] = [];

  /** @returns how many of `rooms` may be handled now; 0: wait for {@link later} */
  take(rooms: number): number {
    if (this.waiting.length > 0) {
      return 0; // callers in the queue come first
    }
    const granted = Math.min(rooms, this.left);
    this.left -= granted;
    this.schedule();
    return granted;
  }

  /** Calls back in a later turn with the number of `rooms` that may be handled then: at least one. */
  later(rooms: number, resume: (granted: number) => void): void {
    this.waiting.push({ rooms, resume });
    this.schedule();
  }

  /** {@link take}, or else {@link later}. */
  async next(rooms: number): Promise<number> {
    const granted = this.take(rooms);
    return granted > 0 ? granted : new Promise((resolve) => this.later(rooms, resolve));
  }

  private schedule(): void {
    if (!this.scheduled) {
      this.scheduled = true;
      setImmediate(walled('room', () => this.turn()));
    }
  }

  private turn(): void {
    this.scheduled = false;
    this.left = ROOMS_PER_TURN;
    const { waiting } = this;
    let served = 0;
    try {
      while (served < waiting.length && this.left > 0) {
        const { rooms, resume } = waiting[served] as Waiting;
        const granted = Math.min(rooms, this.left);
        this.left -= granted;
        served += 1;
        resume(granted);
      }
    } finally {
      waiting.splice(0, served);
      if (waiting.length > 0) {
        this.schedule();
      }
    }
  }
}

/** Memory of a source per room that it names: two sources share one list. */
export const LISTED_BYTES = 4;

/** A source's share of the turns of the event loop; the source is pulled again when it has one. */
export class SourcePace {
  /** Rooms that may be handled now. */
  left = 0;
  private waits = false;

  constructor(
    private readonly outbound: Pick<Outbound, 'wake'>,
    private readonly turns: RoomTurns,
  ) {}

  /** Whether there is a share. If not, the connection is woken when there is. */
  mayGoOn(rooms: number): boolean {
    if (this.left === 0 && !this.waits) {
      this.left = this.turns.take(rooms);
      if (this.left === 0) {
        this.waits = true;
        this.turns.later(rooms, (granted) => {
          this.waits = false;
          this.left = granted;
          this.outbound.wake();
        });
      }
    }
    return this.left > 0;
  }
}
