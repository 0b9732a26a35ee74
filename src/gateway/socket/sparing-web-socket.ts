import type { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import { walled } from '../../logging/walls.js';
import {
  type BoundedReceiverClass,
  type FrameOwner,
  type WsReceiver,
  type WsReceiverClass,
  boundedReceiver,
} from './bounded-receiver.js';

/** `_state` of a parser that waits for the first byte of a frame. */
const GET_INFO = 0;
const RECEIVER_EVENTS = ['conclude', 'drain', 'error', 'message', 'ping', 'pong'] as const;
const SOCKET_EVENTS = ['close', 'data', 'end', 'error'] as const;
const NO_EXTENSIONS = Object.freeze({});
/** Bytes that are still parsed after the closing handshake has begun: data in flight, and the peer's close frame. */
const AFTER_CLOSE_BYTES = 128 * 1024;
/** Time a peer that is no longer read has to receive its close frame. */
const LINGER_MS = 100;

const pause = walled('connection', (webSocket: SparingWebSocket): void => webSocket.pause());
const leave = walled('connection', (webSocket: SparingWebSocket): void => webSocket._socket.destroySoon());

type WsSenderClass = new (socket: Socket, extensions: object) => object;

/** Not among the public types of ws, whose server calls it by this name. */
type SetSocket = (this: object, socket: Socket, head: Buffer, options: object) => void;
const { setSocket: setUpByWs } = WebSocket.prototype as unknown as { setSocket: SetSocket };

/**
 * Stands in for the parser of a closed connection. A parser that was at rest has nothing left to parse, so it reports itself finished and
 * drops all bytes that a stream still emits in the turn in which its socket was destroyed.
 */
const SPENT = Object.freeze({
  _writableState: Object.freeze({ finished: true, errorEmitted: false }),
  write: () => true,
  end: () => undefined,
  removeAllListeners: () => undefined,
}) as unknown as WsReceiver;

type Listener = (...args: unknown[]) => void;

/**
 * How ws sets up the sockets, parsers and writers of one server: recorded from its first connection, and enough to set up others equally.
 * What ws creates for each costs a connect a few percent, and {@link SparingWebSocket} would drop it at once.
 */
class SetupTemplate {
  private readonly options: object;
  private readonly receiverListeners: [string, Listener][];
  private readonly socketListeners: [string, Listener][];
  private readonly backReference: symbol | undefined;
  private readonly Receiver: BoundedReceiverClass;
  private readonly Sender: WsSenderClass;

  /** @param had listeners of the socket before ws added its own */
  constructor(receiver: WsReceiver, sender: object, owner: SparingWebSocket, had: readonly unknown[]) {
    this.Receiver = boundedReceiver(receiver.constructor as WsReceiverClass);
    this.Sender = sender.constructor as WsSenderClass;
    this.options = {
      allowSynchronousEvents: receiver._allowSynchronousEvents,
      binaryType: receiver._binaryType,
      extensions: NO_EXTENSIONS,
      isServer: receiver._isServer,
      maxBufferedChunks: receiver._maxBufferedChunks,
      maxFragments: receiver._maxFragments,
      maxPayload: receiver._maxPayload,
      skipUTF8Validation: receiver._skipUTF8Validation,
    };
    this.receiverListeners = listenersOf(receiver, RECEIVER_EVENTS);
    this.socketListeners = listenersOf(owner._socket, SOCKET_EVENTS).filter(
      ([, listener]) => !had.includes(listener),
    );
    this.backReference = Object.getOwnPropertySymbols(receiver).find((key) => receiver[key] === owner);
  }

  receiver(owner: SparingWebSocket): WsReceiver {
    const receiver = new this.Receiver(this.options);
    receiver.frameOwner = owner;
    this.refer(receiver, owner);
    for (const [event, listener] of this.receiverListeners) {
      receiver.on(event, listener);
    }
    return receiver;
  }

  sender(socket: Socket): object {
    return new this.Sender(socket, NO_EXTENSIONS);
  }

  /** Does what ws does, in the same order. */
  join(socket: Socket, head: Buffer, owner: SparingWebSocket): void {
    this.refer(socket, owner);
    socket.setTimeout(0);
    socket.setNoDelay();
    if (head.length > 0) {
      socket.unshift(head);
    }
    for (const [event, listener] of this.socketListeners) {
      socket.on(event, listener);
    }
  }

  private refer(from: object, owner: SparingWebSocket): void {
    if (this.backReference !== undefined) {
      (from as Record<symbol, unknown>)[this.backReference] = owner;
    }
  }
}

function listenersOf(emitter: EventEmitter, events: readonly string[]): [string, Listener][] {
  return events.flatMap((event) =>
    emitter.listeners(event).map((listener): [string, Listener] => [event, listener as Listener]),
  );
}

/** Shared by the connections of one server; empty until the first one is set up. */
interface Shared {
  template: SetupTemplate | null;
}

/** By the options of their server, since servers differ in their limits. */
const sharedBy = new WeakMap<object, Shared>();

function sharedOf(serverOptions: object): Shared {
  let shared = sharedBy.get(serverOptions);
  if (shared === undefined) {
    shared = { template: null };
    sharedBy.set(serverOptions, shared);
  }
  return shared;
}

/**
 * A server-side WebSocket of ws that holds its frame parser and its frame writer only while it uses them. They take a kilobyte, most of the
 * cost of an idle connection of ws, and an idle connection uses them only for a pong now and then. They are created, as ws creates them,
 * when ws asks for them; a parser that has begun a frame or a message is never dropped. Without permessage-deflate only.
 *
 * The work a closing peer can still cause is bounded: see {@link takes}, {@link stopReading} and {@link close}.
 */
export class SparingWebSocket extends WebSocket implements FrameOwner {
  declare _socket: Socket;
  declare private _extensions: object;
  declare private _events: object | undefined;
  declare private _readyState: number;
  declare private _closeFrameReceived: boolean;
  // Set by ws's constructor through the accessors below, before this class's fields exist.
  declare private receiver: WsReceiver | null;
  declare private sender: object | null;
  private readonly shared: Shared;
  /** Bytes that are still parsed when it is not open any more. Negative: none are, and reading has stopped. */
  private patience = AFTER_CLOSE_BYTES;

  /** Called by the server of ws, with its own options. */
  constructor(address: unknown, protocols?: unknown, serverOptions?: unknown) {
    super(address as never, protocols as never, serverOptions as never);
    this.shared = sharedOf(serverOptions as object);
  }

  get _receiver(): WsReceiver | null {
    const { template } = this.shared;
    if (this.receiver === null && template !== null) {
      if (this._socket.destroyed && this._socket.readableLength === 0) {
        return SPENT; // thousands end at once, and a parser created for the end alone is a third of that cost
      }
      this.receiver = template.receiver(this);
    }
    return this.receiver;
  }

  set _receiver(receiver: WsReceiver | null) {
    this.receiver = receiver;
  }

  get _sender(): object | null {
    const { template } = this.shared;
    if (this.sender === null && template !== null) {
      this.sender = template.sender(this._socket);
    }
    return this.sender;
  }

  set _sender(sender: object | null) {
    this.sender = sender;
  }

  /** Called by the server of ws once it has answered the upgrade, before anything can arrive. */
  setSocket(socket: Socket, head: Buffer, options: object): void {
    const { template } = this.shared;
    if (template !== null) {
      this._socket = socket;
      template.join(socket, head, this);
      this._readyState = WebSocket.OPEN;
    } else {
      const had = SOCKET_EVENTS.flatMap((event) => socket.listeners(event));
      setUpByWs.call(this, socket, head, options);
      this.shared.template = new SetupTemplate(this.receiver as WsReceiver, this.sender as object, this, had);
      this.rest();
    }
    this._extensions = NO_EXTENSIONS;
    // An empty table of listeners takes 200 bytes; EventEmitter creates one when a listener is added.
    this._events = undefined;
  }

  /** Called by its parser. */
  takes(bytes: number): boolean {
    if (this._readyState !== WebSocket.OPEN && this.patience > 0) {
      this.patience = Math.max(0, this.patience - bytes);
      if (this.patience === 0) {
        this.stopReading();
      }
    }
    return this.patience > 0;
  }

  /** Called by its parser. */
  onFragment(): void {
    // For subclasses that count frames.
  }

  /**
   * Stops parsing and ends the socket a moment later, so that what was written, the close frame, still reaches the peer. ws itself would
   * read and parse whatever comes until its timeout.
   */
  stopReading(): void {
    if (this.patience < 0) {
      return; // called once already; frames read before may call it again
    }
    this.patience = -1;
    this.pause();
    process.nextTick(pause, this); // after an invalid frame ws resumes reading in the next tick
    setTimeout(leave, LINGER_MS, this).unref();
  }

  override close(code?: number, reason?: string | Buffer): void {
    super.close(code, reason);
    if (this._closeFrameReceived && this._readyState === WebSocket.CLOSING) {
      setTimeout(leave, LINGER_MS, this).unref(); // both sides have closed: a peer that does not end its side is not waited for
    }
  }

  /** Whether the peer has begun, or answered, the closing handshake. */
  protected get hasPeerClosed(): boolean {
    return this._closeFrameReceived;
  }

  /** Drops the parser and writer that are not in use. Not to be called within an event of this socket: its parser is at work then. */
  rest(): void {
    const { receiver } = this;
    if (this.readyState !== WebSocket.OPEN) {
      return;
    }
    this.sender = null;
    if (receiver !== null && isIdle(receiver)) {
      this.receiver = null;
    }
  }
}

function isIdle(receiver: WsReceiver): boolean {
  return (
    receiver._state === GET_INFO &&
    receiver._bufferedBytes === 0 &&
    receiver._fragmented === 0 &&
    receiver.writableLength === 0 &&
    !receiver.writableNeedDrain &&
    receiver.errored === null
  );
}
