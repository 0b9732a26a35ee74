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
  open(token: string, serverTs: number): void;
  /** @param path of the message within the text, for batches */
  message(message: ServerMessage, text: string, path: readonly (string | number)[]): void;
  /** No longer open; it reconnects after `delayMs`, or never if null. */
  lost(delayMs: number | null, error: SluiceError): void;
}

const OPEN = 1;
/** A longer token may not fit into request headers: it is sent as the first message. */
const MAX_HEADER_TOKEN = 8_000;
const HEADER_TOKEN = /^[\w.-]+$/;
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
type Page = EventTarget & { readonly visibilityState?: string };
const surroundings = globalThis as { window?: EventTarget; document?: Page };

/** A WebSocket that reconnects: token, waits with jitter, and detection of dead links. */
export class Connection {
  private socket: WebSocketLike | undefined;
  private isOpen = false;
  private attempt = 0;
  private rejected = false;
  private timers: { retry?: Timer; stable?: Timer; look?: Timer; deadline?: Timer } = {};
  /** When something was heard last, and when the link was looked at, by the monotonic clock and by the wall's. */
  private heardAt = 0;
  private lookedAt = 0;
  private lookedAtWall = 0;
  /** When the link is dead without an answer. */
  private answerBy: number | undefined;
  private closeCode: number | undefined;

  constructor(
    private readonly options: ConnectionOptions,
    private readonly events: ConnectionEvents,
  ) {}

  get open(): boolean {
    return this.isOpen;
  }

  /** @returns false when there is no connection now */
  send(text: string): boolean {
    if (!this.isOpen || this.socket?.readyState !== OPEN) {
      return false;
    }
    this.socket.send(text);
    return true;
  }

  /** Connects now, also where it waits for another attempt. */
  start(): void {
    if (this.socket === undefined && this.timers.deadline === undefined) {
      clearTimeout(this.timers.retry);
      surroundings.window?.addEventListener('online', this.doubt);
      surroundings.document?.addEventListener('visibilitychange', this.doubt);
      void this.connect();
    }
  }

  stop(): void {
    surroundings.window?.removeEventListener('online', this.doubt);
    surroundings.document?.removeEventListener('visibilitychange', this.doubt);
    clearTimeout(this.timers.retry);
    this.abandon();
    this.attempt = 0;
    this.rejected = false;
  }

  /** Something happened to the network, the page or the machine. */
  private readonly doubt = (): void => {
    if (surroundings.document?.visibilityState === 'hidden') {
      return;
    }
    if (this.isOpen) {
      this.ask(DOUBT_MS);
    } else if (this.timers.retry !== undefined) {
      this.start();
    }
  };

  private async connect(): Promise<void> {
    const timers = (this.timers = { deadline: setTimeout(() => this.ended(1006, ''), OPEN_TIMEOUT_MS) });
    this.events.connecting();
    try {
      const token = this.timers === timers ? await this.options.token(this.rejected) : null;
      if (this.timers === timers) {
        this.use(token);
      }
    } catch (error) {
      if (this.timers === timers) {
        this.lose(fullJitter((this.attempt += 1), Math.random), new SluiceError('no_token', String(error)));
      }
    }
  }

  private use(token: string | null): void {
    if (token === null) {
      const why = 'The token is expired or refused, and there is no other';
      this.lose(null, new SluiceError('no_token', why, undefined, this.closeCode));
    } else {
      this.openSocket(token);
    }
  }

  private openSocket(token: string): void {
    const inHeader = token.length <= MAX_HEADER_TOKEN && HEADER_TOKEN.test(token);
    const protocols = inHeader ? ['sluice.v1', `bearer.${token}`] : ['sluice.v1'];
    const socket = new this.options.WebSocket(this.options.url, protocols);
    this.socket = socket;
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
    socket.onerror = () => undefined; // a close event follows
  }

  private received(
    message: ServerMessage,
    text: string,
    path: readonly (string | number)[],
    token: string,
  ): void {
    if (message.type === 'connected') {
      this.connected(token, message.serverTs);
    } else if (message.type === 'batch') {
      message.messages.forEach((one, at) => this.received(one, text, ['messages', at], token));
    } else if (message.type !== 'pong' || message.id !== undefined) {
      this.events.message(message, text, path);
    }
  }

  private connected(token: string, serverTs: number): void {
    clearTimeout(this.timers.deadline);
    this.isOpen = true;
    this.rejected = false;
    this.timers.stable = setTimeout(() => (this.attempt = 0), STABLE_MS);
    this.lookedAt = performance.now();
    this.lookedAtWall = Date.now();
    this.timers.look = setInterval(() => this.look(), LOOK_MS);
    this.events.open(token, serverTs);
  }

  /** A page does not see the server's pings, and a link that is cut without a word looks like one without news. */
  private look(): void {
    const now = performance.now();
    const wall = Date.now();
    const sleptMs = Math.max(now - this.lookedAt, wall - this.lookedAtWall) - LOOK_MS;
    this.lookedAt = now;
    this.lookedAtWall = wall;
    const isHidden = surroundings.document?.visibilityState === 'hidden';
    if (this.answerBy !== undefined && now > this.answerBy && sleptMs < JUMP_MS) {
      this.ended(1006, '');
    } else if (sleptMs > JUMP_MS && !isHidden) {
      this.answerBy = undefined;
      this.ask(DOUBT_MS);
    } else if (this.answerBy === undefined && now - this.heardAt > (isHidden ? HIDDEN_QUIET_MS : QUIET_MS)) {
      this.ask(isHidden ? HIDDEN_ANSWER_MS : ANSWER_MS);
    }
  }

  private ask(answerMs: number): void {
    this.answerBy = Math.min(this.answerBy ?? Infinity, performance.now() + answerMs);
    this.send('{"type":"ping"}');
  }

  private ended(code: number, reason: string): void {
    const next = afterClose(code, reason, this.attempt);
    this.attempt += 1;
    this.closeCode = code;
    const why = `closed with ${code}${reason === '' ? '' : ` (${reason})`}`;
    if (next.action === 'stop') {
      this.lose(null, new SluiceError('closed', next.why, undefined, code));
    } else if (next.action === 'new-token') {
      // If tokens are refused repeatedly, the wait before the next one grows.
      const delayMs = this.rejected ? fullJitter(this.attempt, Math.random) : 0;
      this.rejected = true;
      this.lose(delayMs, new SluiceError('connection_lost', why, undefined, code));
    } else {
      this.lose(next.delayMs, new SluiceError('connection_lost', why, undefined, code));
    }
  }

  private lose(delayMs: number | null, error: SluiceError): void {
    this.abandon();
    if (delayMs !== null) {
      this.timers.retry = setTimeout(() => void this.connect(), delayMs);
    }
    this.events.lost(delayMs, error);
  }

  /** Drops the socket at once: the closing handshake of a half-open one takes minutes. */
  private abandon(): void {
    const { socket, timers } = this;
    this.isOpen = false;
    this.socket = undefined;
    this.answerBy = undefined;
    this.timers = {};
    clearTimeout(timers.stable);
    clearTimeout(timers.deadline);
    clearInterval(timers.look);
    if (socket !== undefined) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }
}
