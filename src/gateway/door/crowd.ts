import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { Fifo } from '../../delivery/fifo.js';
import { contain, walled } from '../../logging/walls.js';

/** Work of a crowd, done in the turns of the event loop that follow, a few each, in the order it came: what is live comes between. */
export class TurnQueue<T extends NonNullable<unknown>> {
  private readonly waiting = new Fifo<T>();
  private immediate: NodeJS.Immediate | null = null;

  /** @param perTurn how many in one turn */
  constructor(
    private readonly perTurn: number,
    private readonly seeTo: (entry: T) => void,
  ) {}

  push(entry: T): void {
    this.waiting.push(entry);
    this.immediate ??= setImmediate(this.turn);
  }

  private readonly turn = walled('connection', (): void => {
    for (let left = Math.min(this.waiting.length, this.perTurn); left > 0; left -= 1) {
      try {
        this.seeTo(this.waiting.shift() as T);
      } catch (error) {
        contain('connection', error); // the others come all the same
      }
    }
    this.immediate = this.waiting.length > 0 ? setImmediate(this.turn) : null;
  });
}

/** New connections whose request is read in one turn of the event loop. */
const REQUESTS_PER_TURN = 8;

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
  private readonly noted = new TurnQueue<Noted>(REQUESTS_PER_TURN, ({ socket, listener }) => {
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

/** So many openings leave together at most; this bounds the turns that the first of them waits too. */
const MAX_OPENINGS = 16;
/** Longest wait of an opening, in ms; a turn that takes longer ends it. */
const MAX_OPENING_WAIT_MS = 4;

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
    const more = held.length > this.heldATurnAgo && held.length < MAX_OPENINGS;
    if (more && this.now() - this.since < MAX_OPENING_WAIT_MS) {
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

const SOCKET = Symbol('socket');

/** What of a socket's handle is touched here: where libuv hands over what it has read; nothing at the end and at an error. */
interface ReadingHandle {
  onread: (this: ReadingHandle, data?: ArrayBuffer) => unknown;
  [SOCKET]?: Socket;
}

type SocketWithHandle = Socket & { _handle: ReadingHandle | null };

/** Ends within one turn of the event loop that are handled as they come. */
const ENDS_AT_ONCE = 8;
/** Of the others, how many are handled in each turn that follows. */
const ENDS_PER_TURN = 16;

/**
 * Spreads the work when very many connections end at once: 10 000 ends that wait in the same turn would keep everybody else waiting for
 * half a second. Beyond a few a turn they are only noted, and handled over the turns that follow, between what is live.
 */
export class Departures {
  private readonly waiting = new TurnQueue<Socket>(ENDS_PER_TURN, (socket) => socket.destroy());
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
    if (this.inTurn <= ENDS_AT_ONCE || socket === undefined) {
      return false;
    }
    this.waiting.push(socket);
    return true;
  }
}
