import type { Outbound } from '../delivery/outbound.js';
import type { RoomTurns } from './room-turns.js';

/** What a source keeps for each room that it names: two sources share one list. */
export const LISTED_BYTES = 4;

/** A source's share of the turns of the event loop: it is pulled again when it has one. */
export class SourcePace {
  /** Rooms that may be seen to now. */
  left = 0;
  private waits = false;

  constructor(
    private readonly outbound: Pick<Outbound, 'wake'>,
    private readonly turns: RoomTurns,
  ) {}

  /** Whether there is a share. If not, the connection is woken when there is one. */
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
