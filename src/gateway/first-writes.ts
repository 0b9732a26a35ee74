import type { Writable } from 'node:stream';

/** So many openings leave together at most. */
const AT_MOST = 16;

/**
 * Holds what new connections are sent first, so that it leaves with few system calls: the answer to an upgrade and all that the
 * connection opens with in one; and while more connections come turn after turn, those of a few turns in a row. A receiver on the same
 * machine (a proxy in front, a sidecar) then works through several for being woken once: waking it is what costs the sender most.
 *
 * A connection that comes alone waits for one pass of the event loop that brings nothing, which takes microseconds.
 */
export class FirstWrites {
  private held: Writable[] = [];
  private heldATurnAgo = 0;

  /** Holds all writes to a socket from now on, for at most {@link AT_MOST} turns. */
  hold(socket: Writable): void {
    socket.cork();
    if (this.held.push(socket) === 1) {
      this.heldATurnAgo = 0;
      setImmediate(this.endOfTurn);
    }
  }

  private readonly endOfTurn = (): void => {
    const { held } = this;
    if (held.length > this.heldATurnAgo && held.length < AT_MOST) {
      this.heldATurnAgo = held.length;
      setImmediate(this.endOfTurn);
      return;
    }
    this.held = [];
    for (const socket of held) {
      socket.uncork();
    }
  };
}
