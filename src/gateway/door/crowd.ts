import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { Fifo } from '../../delivery/fifo.js';
import { contain, walled } from '../../logging/walls.js';

/** Handles entries in order, a few per turn of the event loop, so that other work is done in between. */
export class TurnQueue<T extends NonNullable<unknown>> {
  private readonly waiting = new Fifo<T>();
  private immediate: NodeJS.Immediate | null = null;

  /** @param perTurn entries handled per turn */
  constructor(
    private readonly perTurn: number,
    private readonly handle: (entry: T) => void,
  ) {}

  push(entry: T): void {
    this.waiting.push(entry);
    this.immediate ??= setImmediate(this.turn);
  }

  private readonly turn = walled('connection', (): void => {
    for (let left = Math.min(this.waiting.length, this.perTurn); left > 0; left -= 1) {
      try {
        this.handle(this.waiting.shift() as T);
      } catch (error) {
        contain('connection', error); // the other entries are handled all the same
      }
    }
    this.immediate = this.waiting.length > 0 ? setImmediate(this.turn) : null;
  });
}

/** New connections whose request is read per turn of the event loop. */
const REQUESTS_PER_TURN = 8;

/** A connection that has received data, and the listener that keeps it from being read. */
interface Noted {
  readonly socket: Socket;
  readonly listener: () => void;
}

/**
 * Spreads the work when very many new connections send their request at once: Node.js parses and answers all that have arrived in one turn
 * of the event loop, and a thousand upgrades block it for 50 to 150 ms. A connection's first data is noted, and read in one of the
 * following turns, a few each, in order of arrival.
 */
export class Arrivals {
  private readonly noted = new TurnQueue<Noted>(REQUESTS_PER_TURN, ({ socket, listener }) => {
    // When its last `readable` listener is removed, the stream resumes by itself in the next tick.
    socket.removeListener('readable', listener);
    this.onRead(socket);
  });

  /** @param onRead called when the first data of a connection is about to be read */
  constructor(private readonly onRead: (socket: Socket) => void = () => undefined) {}

  /** Watches all connections that the server accepts from now on. */
  watch(server: Server): void {
    server.on(
      'connection',
      walled('upgrade', (socket: Socket) => this.hold(socket)),
    );
  }

  /**
   * While a `readable` listener exists, data stays in the stream, up to its high-water mark. The listener also detaches Node's parser from
   * the socket's handle for as long as the connection speaks HTTP: it then reads from the stream, which costs some microseconds more.
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

/** Most openings that are written together; this also bounds the turns that the first of them waits. */
const MAX_OPENINGS = 16;
/** Longest wait of an opening, in ms, checked after each turn. */
const MAX_OPENING_WAIT_MS = 4;

/**
 * Corks the first writes of new connections, to save system calls: the answer to an upgrade and the opening messages leave in one; and
 * while every turn of the event loop brings another connection, those of a few consecutive turns leave together. A receiver on the same
 * machine (a proxy, a sidecar) then handles several per wake-up: waking it is the sender's largest cost.
 *
 * A connection that comes alone waits for the next turn: microseconds if there is no other work.
 */
export class FirstWrites {
  private held: Writable[] = [];
  private heldATurnAgo = 0;
  private since = 0;

  /** @param now monotonic ms */
  constructor(private readonly now: () => number = () => performance.now()) {}

  /** Corks a socket for this turn, and for the next ones within the bounds above. */
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

/** The part of a socket's handle used here: libuv passes data to `onread`; no data at the end and at an error. */
interface ReadingHandle {
  onread: (this: ReadingHandle, data?: ArrayBuffer) => unknown;
  [SOCKET]?: Socket;
}

type SocketWithHandle = Socket & { _handle: ReadingHandle | null };

/** Ends per turn of the event loop that are handled at once. */
const ENDS_AT_ONCE = 8;
/** Further ends handled in each following turn. */
const ENDS_PER_TURN = 16;

/**
 * Spreads the work when very many connections end at once: 10 000 ends in one turn would block the event loop for half a second. All but a
 * few per turn are only noted, and handled over the following turns.
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
