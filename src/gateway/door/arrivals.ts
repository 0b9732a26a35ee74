import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { walled } from '../../logging/walls.js';
import { TurnQueue } from './turn-queue.js';

/** New connections whose request is read in one turn of the event loop. */
const PER_TURN = 8;

/** A connection whose client has sent something, and what keeps that from being read. */
interface Noted {
  readonly socket: Socket;
  readonly listener: () => void;
}

/**
 * Spreads the work when very many new connections send their request at once: Node.js parses and answers all that have come in one turn
 * of the event loop, and a thousand upgrades are 50 to 150 ms in which nobody else gets anything. The first thing a connection sends is
 * noted, and read in one of the turns that follow, a few each, in the order they came.
 */
export class Arrivals {
  private readonly noted = new TurnQueue<Noted>(PER_TURN, ({ socket, listener }) => {
    // With its last `readable` listener gone, the stream goes on by itself, in the next tick.
    socket.removeListener('readable', listener);
    this.onRead(socket);
  });

  /** @param onRead called when what a connection sent first is about to be read */
  constructor(private readonly onRead: (socket: Socket) => void = () => undefined) {}

  /** For all connections that the server accepts from now on. */
  watch(server: Server): void {
    server.on(
      'connection',
      walled('upgrade', (socket: Socket) => this.hold(socket)),
    );
  }

  /**
   * While there is a listener of `readable`, what comes stays in the stream, up to its high-water mark. It also takes Node's parser off the
   * socket's handle, for as long as the connection speaks HTTP: it reads from the stream then, which costs some microseconds more.
   */
  private hold(socket: Socket): void {
    let isNoted = false;
    const listener = walled('upgrade', (): void => {
      if (!isNoted) {
        isNoted = true;
        this.noted.push({ socket, listener });
      }
    });
    socket.on('readable', listener);
  }
}
