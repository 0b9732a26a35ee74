import type { Socket } from 'node:net';
import { walled } from '../../logging/walls.js';
import { TurnQueue } from './turn-queue.js';

const SOCKET = Symbol('socket');

/** What of a socket's handle is touched here: where libuv hands over what it has read; nothing at the end and at an error. */
interface ReadingHandle {
  onread: (this: ReadingHandle, data?: ArrayBuffer) => unknown;
  [SOCKET]?: Socket;
}

type SocketWithHandle = Socket & { _handle: ReadingHandle | null };

/** Ends within one turn of the event loop that are handled as they come. */
const AT_ONCE = 8;
/** Of the others, how many are handled in each turn that follows. */
const PER_TURN = 16;

/**
 * Spreads the work when very many connections end at once: 10 000 ends that wait in the same turn would keep everybody else waiting for
 * half a second. Beyond a few a turn they are only noted, and handled over the turns that follow, between what is live.
 */
export class Departures {
  private readonly waiting = new TurnQueue<Socket>(PER_TURN, (socket) => socket.destroy());
  private inTurn = 0;
  private readonly nextTurn = walled('connection', () => (this.inTurn = 0));
  private original: ReadingHandle['onread'] | null = null;
  private readonly onread: ReadingHandle['onread'];

  constructor() {
    // eslint-disable-next-line @typescript-eslint/no-this-alias -- one function for all handles, which are its `this`
    const departures = this;
    this.onread = function (this: ReadingHandle, data?: ArrayBuffer): unknown {
      const original = departures.original as ReadingHandle['onread'];
      return data === undefined && departures.defers(this) ? undefined : original.call(this, data);
    };
  }

  /** Called once for a socket that has been upgraded. */
  watch(socket: Socket): void {
    const handle = (socket as SocketWithHandle)._handle;
    if (typeof handle?.onread !== 'function') {
      return;
    }
    this.original ??= handle.onread;
    if (handle.onread === this.original) {
      handle[SOCKET] = socket;
      handle.onread = this.onread;
    }
  }

  private defers(handle: ReadingHandle): boolean {
    if (this.inTurn === 0) {
      setImmediate(this.nextTurn);
    }
    this.inTurn += 1;
    const socket = handle[SOCKET];
    if (this.inTurn <= AT_ONCE || socket === undefined) {
      return false;
    }
    this.waiting.push(socket);
    return true;
  }
}
