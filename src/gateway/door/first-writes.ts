import type { Writable } from 'node:stream';
import { contain, walled } from '../../logging/walls.js';

/** So many openings leave together at most; this bounds the turns that the first of them waits too. */
const AT_MOST = 16;
/** Longest wait of an opening, in ms; a turn that takes longer ends it. */
const MAX_WAIT_MS = 4;

/**
 * Holds what new connections are sent first, so that it leaves with few system calls: the answer to an upgrade and what the connection
 * opens with in one; and while every turn of the event loop brings another connection, those of a few turns in a row. A receiver on the
 * same machine (a proxy in front, a sidecar) then works through several for being woken once: waking it is what costs the sender most.
 *
 * A connection that comes alone waits for the turn after its own: microseconds where nothing else is to be done.
 */
export class FirstWrites {
  private held: Writable[] = [];
  private heldATurnAgo = 0;
  private since = 0;

  /** @param now monotonic ms */
  constructor(private readonly now: () => number = () => performance.now()) {}

  /** Holds all writes to a socket for this turn, and for the next ones within the bounds above. */
  hold(socket: Writable): void {
    socket.cork();
    if (this.held.push(socket) === 1) {
      this.heldATurnAgo = 0;
      this.since = this.now();
      setImmediate(this.endOfTurn);
    }
  }

  private readonly endOfTurn: () => void = walled('connection', () => {
    const { held } = this;
    const more = held.length > this.heldATurnAgo && held.length < AT_MOST;
    if (more && this.now() - this.since < MAX_WAIT_MS) {
      this.heldATurnAgo = held.length;
      setImmediate(this.endOfTurn);
      return;
    }
    this.held = [];
    for (const socket of held) {
      try {
        socket.uncork();
      } catch (error) {
        contain('connection', error);
        socket.destroy();
      }
    }
  });
}
