import type { ServerMessage } from './messages.js';
import { afterClose, fullJitter } from './reconnect.js';
import { SluiceError } from './sluice-error.js';

/** The part of a WebSocket used here: the browser's, Node.js 22's, or `WebSocket` of the package ws. */
export interface WebSocketLike {
  onopen: ((event: never) => unknown) | null;
  onmessage: ((event: never) => unknown) | null;
  onclose: ((event: never) => unknown) | null;
  onerror: ((event: never) => unknown) | null;
  readonly readyState: number;
  send(text: string): void;
  close(): void;
}

export type WebSocketClass = new (url: string, protocols: string[]) => WebSocketLike;

export interface ConnectionOptions {
  readonly url: string;
  /** Called for a token at every connect; `rejected` when the last one was expired or refused. `null`: there is none, do not reconnect. */
  readonly token: (rejected: boolean) => string | null | Promise<string | null>;
  readonly WebSocket: WebSocketClass;
}

export interface ConnectionEvents {
  connecting(): void;
  /** The token is good: messages may be sent from now on. */
  opened(token: string, serverTs: number): void;
  /** @param path of the message within the text, for batches */
  received(message: ServerMessage, text: string, path: readonly (string | number)[]): void;
  /** No longer open; it reconnects after `delayMs`, or never if null. */
  lost(delayMs: number | null, error: SluiceError): void;
}

const OPEN = 1;
/** What fits into a request header. Another token is sent as the first message. */
const HEADER_TOKEN = /^[\w.-]{1,8000}$/;
/** Under load the server admits connections one by one, for up to 8 s. */
const OPEN_TIMEOUT_MS = 20_000;
/** A connection that lasted this long was good: the next wait starts small again. */
const STABLE_MS = 10_000;
/** How often the link is looked at; after this much silence it is asked, and after the answer's time it is dead: within 10 s in all. */
const LOOK_MS = 1_000;
const QUIET_MS = 4_500;
const ANSWER_MS = 3_500;
/** The answer's time when there is a reason to doubt: the network is back, the page is shown, the machine slept. */
const DOUBT_MS = 2_000;
/** A page that nobody sees asks seldom: its timers are slowed down by the browser. */
const HIDDEN_QUIET_MS = 30_000;
const HIDDEN_ANSWER_MS = 10_000;
/** A clock that runs this far ahead of the timers: the machine slept, or somebody set it. */
const JUMP_MS = 3_000;

type Timer = ReturnType<typeof setTimeout>;
interface Timers {
  retry?: Timer;
  stable?: Timer;
  look?: Timer;
  deadline?: Timer;
}
type Page = EventTarget & { readonly visibilityState?: string };
const surroundings = globalThis as { window?: EventTarget; document?: Page };

function isHidden(): boolean {
  return surroundings.document?.visibilityState === 'hidden';
}

/** A WebSocket that reconnects: token, waits with jitter, and detection of dead links. */
export class Connection {
  private socket: WebSocketLike | undefined;
  /** The token was good. */
  private admitted = false;
  private attempt = 0;
  private rejected = false;
  private timers: Timers = {};
  /** When something was heard last, by the monotonic clock, and when the link was looked at, by the wall's, which goes on in sleep. */
  private heardAt = 0;
  private lookedAt = 0;
  /** When the link is dead without an answer. */
  private answerBy: number | undefined;
  private lastCode: number | undefined;
  /** What the network said of the attempt that runs. */
  private failure: string | undefined;

  constructor(
    private readonly options: ConnectionOptions,
    private readonly owner: ConnectionEvents,
  ) {}

  /** Messages may be sent. */
  get open(): boolean {
    return this.admitted && this.socket?.readyState === OPEN;
  }

  /** @returns false when there is no connection now */
  write(text: string): boolean {
    const { open } = this;
    if (open) {
      this.socket?.send(text);
    }
    return open;
  }

  /** Connects now, also where it waits for another attempt. */
  start(): void {
    if (!this.socket && !this.timers.deadline) {
      clearTimeout(this.timers.retry);
      this.watch('addEventListener');
      void this.dial();
    }
  }

  stop(): void {
    this.watch('removeEventListener');
    clearTimeout(this.timers.retry);
    this.abandon();
    this.attempt = 0;
    this.rejected = false;
  }

  private watch(how: 'addEventListener' | 'removeEventListener'): void {
    surroundings.window?.[how]('online', this.doubt);
    surroundings.document?.[how]('visibilitychange', this.doubt);
  }

  /** Something happened to the network, the page or the machine. */
  private readonly doubt = (): void => {
    if (isHidden()) {
      return;
    }
    if (this.open) {
      this.ask(DOUBT_MS);
    } else if (this.timers.retry) {
      this.start();
    }
  };

  private async dial(): Promise<void> {
    const timers: Timers = (this.timers = {
      deadline: setTimeout(() => this.ended(1006, ''), OPEN_TIMEOUT_MS),
    });
    this.owner.connecting();
    try {
      const token = this.timers === timers ? await this.options.token(this.rejected) : null;
      if (this.timers === timers) {
        if (token === null) {
          const why = 'There is no other token';
          this.lost(null, new SluiceError('no_token', why, undefined, this.lastCode));
        } else {
          this.openSocket(token);
        }
      }
    } catch (error) {
      if (this.timers === timers) {
        this.lost(fullJitter((this.attempt += 1)), new SluiceError('no_token', String(error)));
      }
    }
  }

  private openSocket(token: string): void {
    const inHeader = HEADER_TOKEN.test(token);
    const protocols = ['sluice.v1', ...(inHeader ? [`bearer.${token}`] : [])];
    const socket = new this.options.WebSocket(this.options.url, protocols);
    this.socket = socket;
    this.failure = undefined;
    socket.onopen = () => {
      if (!inHeader) {
        socket.send(JSON.stringify({ type: 'auth', token }));
      }
    };
    socket.onmessage = ({ data }: { data: string }) => {
      this.heardAt = performance.now();
      this.answerBy = undefined;
      this.received(JSON.parse(data) as ServerMessage, data, [], token);
    };
    socket.onclose = ({ code, reason }: { code: number; reason: string }) => this.ended(code, reason);
    // A close event follows. Browsers do not say what went wrong; in Node.js it is the network's error or the HTTP status.
    socket.onerror = ({ message }: { message?: string }) => (this.failure = message);
  }

  private received(
    message: ServerMessage,
    text: string,
    path: readonly (string | number)[],
    token: string,
  ): void {
    if (message.type === 'connected') {
      this.opened(token, message.serverTs);
    } else if (message.type === 'batch') {
      message.messages.forEach((one, at) => this.received(one, text, ['messages', at], token));
    } else if (message.type !== 'pong' || message.id !== undefined) {
      this.owner.received(message, text, path);
    }
  }

  private opened(token: string, serverTs: number): void {
    clearTimeout(this.timers.deadline);
    this.admitted = true;
    this.rejected = false;
    this.timers.stable = setTimeout(() => (this.attempt = 0), STABLE_MS);
    this.lookedAt = Date.now();
    this.timers.look = setInterval(() => this.look(), LOOK_MS);
    this.owner.opened(token, serverTs);
  }

  /** A page does not see the server's pings, and a link that is cut without a word looks like one without news. */
  private look(): void {
    const now = performance.now();
    const sleptMs = Date.now() - this.lookedAt - LOOK_MS;
    this.lookedAt = Date.now();
    const hidden = isHidden();
    if (this.answerBy && now > this.answerBy && sleptMs < JUMP_MS) {
      this.ended(1006, '');
    } else if (sleptMs > JUMP_MS && !hidden) {
      this.answerBy = undefined;
      this.ask(DOUBT_MS);
    } else if (!this.answerBy && now - this.heardAt > (hidden ? HIDDEN_QUIET_MS : QUIET_MS)) {
      this.ask(hidden ? HIDDEN_ANSWER_MS : ANSWER_MS);
    }
  }

  private ask(answerMs: number): void {
    this.answerBy = Math.min(this.answerBy ?? Infinity, performance.now() + answerMs);
    this.write('{"type":"ping"}');
  }

  private ended(code: number, reason: string): void {
    let delayMs = afterClose(code, reason, this.attempt);
    this.attempt += 1;
    this.lastCode = code;
    if (delayMs === 'new-token') {
      // If tokens are refused repeatedly, the wait before the next one grows.
      delayMs = this.rejected ? fullJitter(this.attempt) : 0;
      this.rejected = true;
    }
    const isLast = delayMs === null;
    const why =
      code === 1006 && !this.admitted
        ? `could not connect: ${this.failure ?? 'wrong address, a proxy, or an origin that is not allowed'}`
        : (isLast && reason) || `closed with ${code}${reason && ` (${reason})`}`;
    this.lost(delayMs, new SluiceError(isLast ? 'closed' : 'connection_lost', why, undefined, code));
  }

  private lost(delayMs: number | null, error: SluiceError): void {
    this.abandon();
    if (delayMs !== null) {
      this.timers.retry = setTimeout(() => void this.dial(), delayMs);
    }
    this.owner.lost(delayMs, error);
  }

  /** Drops the socket at once: the closing handshake of a half-open one takes minutes. */
  private abandon(): void {
    const { socket, timers } = this;
    this.admitted = false;
    this.socket = undefined;
    this.answerBy = undefined;
    this.timers = {};
    clearTimeout(timers.stable);
    clearTimeout(timers.deadline);
    clearInterval(timers.look);
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }
}
