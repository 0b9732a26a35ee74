import { walled } from '../logging/walls.js';
import type { AttachedRoom } from './attached-room.js';

/** Parts in which all attached rooms are read again in turn. */
const ROUND_PARTS = 30;

/** Goes round all attached rooms, a part at a time. */
export class ReadingRound {
  private timer: NodeJS.Timeout | null = null;
  private next: IterableIterator<AttachedRoom> | null = null;

  /** @param take called for each room whose turn it is */
  constructor(
    private readonly rooms: ReadonlyMap<string, AttachedRoom>,
    private readonly take: (room: AttachedRoom) => void,
  ) {}

  start(roundMs: number): void {
    this.timer = setInterval(
      walled('redis', () => this.takePart()),
      roundMs / ROUND_PARTS,
    );
  }

  stop(): void {
    if (this.timer !== null) {
      clearInterval(this.timer);
      this.timer = null;
    }
  }

  private takePart(): void {
    for (let count = Math.ceil(this.rooms.size / ROUND_PARTS); count > 0; count -= 1) {
      let next = this.next?.next();
      if (next === undefined || next.done === true) {
        this.next = this.rooms.values();
        next = this.next.next();
      }
      if (next.done !== true) {
        this.take(next.value);
      }
    }
  }
}
