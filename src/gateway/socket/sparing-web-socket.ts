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
/** Bytes that are still parsed after the closing handshake has begun: what was under way, and the peer's close frame. */
const AFTER_CLOSE_BYTES = 128 * 1024;
/** Time a peer that is not listened to any more has to take its close frame. */
const LINGER_MS = 100;

const pause = walled('connection', (webSocket: SparingWebSocket): void => webSocket.pause());
const leave = walled('connection', (webSocket: SparingWebSocket): void => webSocket._socket.destroySoon());

type WsSenderClass = new (socket: Socket, extensions: object) => object;

/** Not among the public types of ws, whose server calls it by this name. */
type SetSocket = (this: object, socket: Socket, head: Buffer, options: object) => void;
const { setSocket: setUpByWs } = WebSocket.prototype as unknown as { setSocket: SetSocket };

/**
 * What ws asks of the parser of a connection that is over: a parser that was at rest has nothing left to parse, and is done. What a
 * stream hands out though its socket was destroyed in the same turn is let go.
 */
const SPENT = Object.freeze({
  _writableState: Object.freeze({ finished: true, errorEmitted: false }),
  write: () => true,
  end: () => undefined,
  removeAllListeners: () => undefined,
}) as unknown as WsReceiver;

type Listener = (...args: unknown[]) => void;

/**
 * How ws sets up the sockets, parsers and writers of one server: learnt from its first connection, and enough to make others just like
 * them. What ws makes for each costs a connect a few percent, and {@link SparingWebSocket} would let go of it at once.
 */
class Pattern {
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

  /** As ws does it, in its order. */
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

/** What the connections of one server share: nothing before its first one is set up. */
interface Shared {
  pattern: Pattern | null;
}

/** By the options of their server, since servers differ in their limits. */
const sharedBy = new WeakMap<object, Shared>();

function sharedOf(serverOptions: object): Shared {
  let shared = sharedBy.get(serverOptions);
  if (shared === undefined) {
    shared = { pattern: null };
    sharedBy.set(serverOptions, shared);
  }
  return shared;
}

/**
 * A server-side WebSocket of ws that holds its frame parser and its frame writer only while it uses them. They are a kilobyte, most of
 * what ws itself costs an idle connection, and an idle connection uses them for a pong now and then. They are made, as ws makes them,
 * the moment ws asks for them; a parser that has begun a frame or a message is never let go. Without permessage-deflate only.
 *
 * What a peer that is being closed can still make it do is bounded: see {@link takes}, {@link stopReading} and {@link close}.
 */
export class SparingWebSocket extends WebSocket implements FrameOwner {
  declare _socket: Socket;
  declare private _extensions: object;
  declare private _events: object | undefined;
  declare private _readyState: number;
  declare private _closeFrameReceived: boolean;
  // Set by ws's constructor through the accessors below, before the fields of this class are.
  declare private receiver: WsReceiver | null;
  declare private sender: object | null;
  private readonly shared: Shared;
  /** Bytes that are still parsed once it is not open any more. Negative: nothing is, and nothing more is read. */
  private patience = AFTER_CLOSE_BYTES;

  /** Called by the server of ws, with its own options. */
  constructor(address: unknown, protocols?: unknown, serverOptions?: unknown) {
    super(address as never, protocols as never, serverOptions as never);
    this.shared = sharedOf(serverOptions as object);
  }

  get _receiver(): WsReceiver | null {
    const { pattern } = this.shared;
    if (this.receiver === null && pattern !== null) {
      if (this._socket.destroyed && this._socket.readableLength === 0) {
        return SPENT; // thousands end at once, and a parser made for its end alone is a third of one
      }
      this.receiver = pattern.receiver(this);
    }
    return this.receiver;
  }

  set _receiver(receiver: WsReceiver | null) {
    this.receiver = receiver;
  }

  get _sender(): object | null {
    const { pattern } = this.shared;
    if (this.sender === null && pattern !== null) {
      this.sender = pattern.sender(this._socket);
    }
    return this.sender;
  }

  set _sender(sender: object | null) {
    this.sender = sender;
  }

  /** Called by the server of ws once it has answered the upgrade, before anything can arrive. */
  setSocket(socket: Socket, head: Buffer, options: object): void {
    const { pattern } = this.shared;
    if (pattern !== null) {
      this._socket = socket;
      pattern.join(socket, head, this);
      this._readyState = WebSocket.OPEN;
    } else {
      const had = SOCKET_EVENTS.flatMap((event) => socket.listeners(event));
      setUpByWs.call(this, socket, head, options);
      this.shared.pattern = new Pattern(this.receiver as WsReceiver, this.sender as object, this, had);
      this.rest();
    }
    this._extensions = NO_EXTENSIONS;
    // An empty table of listeners is 200 bytes; EventEmitter makes one when a listener is added.
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
    // For who counts frames.
  }

  /**
   * Nothing that comes is looked at any more, and in a moment the socket is ended: what has been written, a close frame that is, still gets
   * to the peer. ws itself would read and parse whatever comes until its time-out.
   */
  stopReading(): void {
    if (this.patience < 0) {
      return; // said once: what was read already may say it again for every frame
    }
    this.patience = -1;
    this.pause();
    process.nextTick(pause, this); // after a broken frame ws goes on reading in the next tick
    setTimeout(leave, LINGER_MS, this).unref();
  }

  override close(code?: number, reason?: string | Buffer): void {
    super.close(code, reason);
    if (this._closeFrameReceived && this._readyState === WebSocket.CLOSING) {
      setTimeout(leave, LINGER_MS, this).unref(); // both have said it: whoever does not end its side is not waited for
    }
  }

  /** Whether the peer has begun, or answered, the closing handshake. */
  protected get hasPeerClosed(): boolean {
    return this._closeFrameReceived;
  }

  /** Lets go of what is not in use. Not from within an event of this socket: its parser is at work then. */
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
