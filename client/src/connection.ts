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
  message(message: ServerMessage): void;
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
const PONG_TIMEOUT_MS = 10_000;
const DEFAULT_HEARTBEAT_MS = 30_000;

type Timer = ReturnType<typeof setTimeout>;

/** A WebSocket that reconnects: token, waits with jitter, and detection of half-open connections. */
export class Connection {
  private socket: WebSocketLike | undefined;
  private isOpen = false;
  private attempt = 0;
  private rejected = false;
  private timers: { retry?: Timer; stable?: Timer; ping?: Timer; deadline?: Timer } = {};

  constructor(
    private readonly options: ConnectionOptions,
    private readonly events: ConnectionEvents,
  ) {}

  get open(): boolean {
    return this.isOpen;
  }

  /** @returns false when there is no connection now */
  send(message: object): boolean {
    if (!this.isOpen || this.socket?.readyState !== OPEN) {
      return false;
    }
    this.socket.send(JSON.stringify(message));
    return true;
  }

  start(): void {
    this.stop();
    this.attempt = 0;
    this.rejected = false;
    void this.connect();
  }

  stop(): void {
    clearTimeout(this.timers.retry);
    this.abandon();
  }

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
        this.lose(fullJitter((this.attempt += 1), Math.random), 'no_token', String(error));
      }
    }
  }

  private use(token: string | null): void {
    if (token === null) {
      this.lose(null, 'no_token', 'The token is expired or refused, and there is no other');
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
    socket.onmessage = ({ data }: { data: string }) =>
      this.received(JSON.parse(data) as ServerMessage, token);
    socket.onclose = ({ code, reason }: { code: number; reason: string }) => this.ended(code, reason);
    socket.onerror = () => undefined; // a close event follows
  }

  private received(message: ServerMessage, token: string): void {
    if (message.type === 'connected') {
      this.connected(token, message.serverTs, message.heartbeatMs);
    } else if (message.type === 'pong' && message.id === undefined) {
      clearTimeout(this.timers.deadline);
    } else if (message.type === 'batch') {
      message.messages.forEach((one) => this.received(one, token));
    } else {
      this.events.message(message);
    }
  }

  private connected(token: string, serverTs: number, heartbeatMs = DEFAULT_HEARTBEAT_MS): void {
    clearTimeout(this.timers.deadline);
    this.isOpen = true;
    this.rejected = false;
    this.timers.stable = setTimeout(() => (this.attempt = 0), STABLE_MS);
    // A page does not see the server's pings.
    this.timers.ping = setInterval(() => {
      if (this.send({ type: 'ping' })) {
        clearTimeout(this.timers.deadline);
        this.timers.deadline = setTimeout(() => this.ended(1006, ''), PONG_TIMEOUT_MS);
      }
    }, heartbeatMs);
    this.events.open(token, serverTs);
  }

  private ended(code: number, reason: string): void {
    const next = afterClose(code, reason, this.attempt);
    this.attempt += 1;
    const why = `closed with ${code}${reason === '' ? '' : ` (${reason})`}`;
    if (next.action === 'stop') {
      this.lose(null, 'closed', next.why);
    } else if (next.action === 'new-token') {
      // If tokens are refused repeatedly, the wait before the next one grows.
      const delayMs = this.rejected ? fullJitter(this.attempt, Math.random) : 0;
      this.rejected = true;
      this.lose(delayMs, 'connection_lost', why);
    } else {
      this.lose(next.delayMs, 'connection_lost', why);
    }
  }

  private lose(delayMs: number | null, code: string, why: string): void {
    this.abandon();
    if (delayMs !== null) {
      this.timers.retry = setTimeout(() => void this.connect(), delayMs);
    }
    this.events.lost(delayMs, new SluiceError(code, why));
  }

  /** Drops the socket at once: the closing handshake of a half-open one takes minutes. */
  private abandon(): void {
    const { socket, timers } = this;
    this.isOpen = false;
    this.socket = undefined;
    this.timers = {};
    clearTimeout(timers.stable);
    clearTimeout(timers.deadline);
    clearInterval(timers.ping);
    if (socket !== undefined) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }
}
