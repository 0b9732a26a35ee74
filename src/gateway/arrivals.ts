import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/** New connections whose request is read in one turn of the event loop. */
const PER_TURN = 8;
/** What is done is let go in pieces of so many. */
const LET_GO = 1_024;

/** A connection whose client has sent something, and what keeps that from being read. */
interface Held {
  readonly socket: Socket;
  readonly listener: () => void;
}

/**
 * Spreads the work when very many new connections send their request at once: Node.js parses and answers all that have come in one turn
 * of the event loop, and a thousand upgrades are 50 to 150 ms in which nobody else gets anything. The first thing a connection sends is
 * noted, and read in one of the turns that follow, a few each, in the order they came.
 */
export class Arrivals {
  private readonly waiting: Held[] = [];
  private next = 0;
  private immediate: NodeJS.Immediate | null = null;

  /** For all connections that the server accepts from now on. */
  watch(server: Server): void {
    server.on('connection', (socket: Socket) => this.hold(socket));
  }

  /** While there is a listener of `readable`, what comes stays in the socket's buffer, bounded by that, instead of going to the parser. */
  private hold(socket: Socket): void {
    let isNoted = false;
    const listener = (): void => {
      if (!isNoted) {
        isNoted = true;
        this.waiting.push({ socket, listener });
        this.immediate ??= setImmediate(() => this.turn());
      }
    };
    socket.on('readable', listener);
  }

  private turn(): void {
    this.immediate = null;
    const end = Math.min(this.waiting.length, this.next + PER_TURN);
    while (this.next < end) {
      const { socket, listener } = this.waiting[this.next] as Held;
      socket.removeListener('readable', listener);
      this.next += 1;
    }
    if (this.next === this.waiting.length || this.next >= LET_GO) {
      this.waiting.splice(0, this.next);
      this.next = 0;
    }
    if (this.waiting.length > 0) {
      this.immediate = setImmediate(() => this.turn());
    }
  }
}
