import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { WebSocket } from 'ws';

/** What of ws's frame parser is touched here. */
interface WsReceiver extends Writable {
  _allowSynchronousEvents: boolean;
  _binaryType: string;
  _isServer: boolean;
  _maxBufferedChunks: number;
  _maxFragments: number;
  _maxPayload: number;
  _skipUTF8Validation: boolean;
  _bufferedBytes: number;
  _fragmented: number;
  _state: number;
  [key: symbol]: unknown;
}

/** `_state` of a parser that waits for the first byte of a frame. */
const GET_INFO = 0;
const EVENTS = ['conclude', 'drain', 'error', 'message', 'ping', 'pong'] as const;
const NO_EXTENSIONS = Object.freeze({});

type WsReceiverClass = new (options: object) => WsReceiver;
type WsSenderClass = new (socket: Socket, extensions: object) => object;

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

/** How ws has set up parser and writer for the connections of one server: enough to make others just like them. */
class Pattern {
  private readonly options: object;
  private readonly listeners: [string, (...args: unknown[]) => void][];
  private readonly backReference: symbol | undefined;
  private readonly Receiver: WsReceiverClass;
  private readonly Sender: WsSenderClass;

  constructor(receiver: WsReceiver, sender: object, owner: SparingWebSocket) {
    this.Receiver = receiver.constructor as WsReceiverClass;
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
    this.listeners = EVENTS.flatMap((event) =>
      receiver
        .listeners(event)
        .map((listener): [string, (...args: unknown[]) => void] => [
          event,
          listener as (...args: unknown[]) => void,
        ]),
    );
    this.backReference = Object.getOwnPropertySymbols(receiver).find((key) => receiver[key] === owner);
  }

  receiver(owner: SparingWebSocket): WsReceiver {
    const receiver = new this.Receiver(this.options);
    if (this.backReference !== undefined) {
      receiver[this.backReference] = owner;
    }
    for (const [event, listener] of this.listeners) {
      receiver.on(event, listener);
    }
    return receiver;
  }

  sender(socket: Socket): object {
    return new this.Sender(socket, NO_EXTENSIONS);
  }
}

/** By server, since servers differ in their limits. */
const patterns = new WeakMap<object, Pattern>();

/**
 * A server-side WebSocket of ws that holds its frame parser and its frame writer only while it uses them. They are a kilobyte, most of
 * what ws itself costs an idle connection, and an idle connection uses them for a pong now and then. They are made again, as ws made
 * them, the moment ws asks for them; a parser that has begun a frame or a message is never let go. Without permessage-deflate only.
 */
export class SparingWebSocket extends WebSocket {
  declare readonly _socket: Socket;
  declare private _extensions: object;
  declare private _events: object | undefined;
  // Set by ws's constructor through the accessors below, before the fields of this class are.
  declare private receiver: WsReceiver | null;
  declare private sender: object | null;
  private pattern: Pattern | null = null;

  get _receiver(): WsReceiver | null {
    if (this.receiver === null && this.pattern !== null) {
      if (this._socket.destroyed && this._socket.readableLength === 0) {
        return SPENT; // thousands end at once, and a parser made for its end alone is a third of one
      }
      this.receiver = this.pattern.receiver(this);
    }
    return this.receiver;
  }

  set _receiver(receiver: WsReceiver | null) {
    this.receiver = receiver;
  }

  get _sender(): object | null {
    if (this.sender === null && this.pattern !== null) {
      this.sender = this.pattern.sender(this._socket);
    }
    return this.sender;
  }

  set _sender(sender: object | null) {
    this.sender = sender;
  }

  /**
   * Called once after the upgrade, before anything can arrive.
   * @param server connections with the same one have the same limits
   */
  protected spare(server: object): void {
    let pattern = patterns.get(server);
    if (pattern === undefined) {
      pattern = new Pattern(this.receiver as WsReceiver, this.sender as object, this);
      patterns.set(server, pattern);
    }
    this.pattern = pattern;
    this._extensions = NO_EXTENSIONS;
    // An empty table of listeners is 200 bytes; EventEmitter makes one when a listener is added.
    this._events = undefined;
    this.rest();
  }

  /** Lets go of what is not in use. Not from within an event of this socket: its parser is at work then. */
  rest(): void {
    const { receiver } = this;
    if (this.pattern === null || this.readyState !== WebSocket.OPEN) {
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
