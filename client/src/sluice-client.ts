import { Asking } from './asking.js';
import { Connection, type WebSocketClass } from './connection.js';
import { Emitter } from './emitter.js';
import { normalPattern } from './id-pattern.js';
import { bytesOf } from './json-text.js';
import type { ServerMessage, Upstream } from './messages.js';
import { Requests } from './requests.js';
import { closed, SluiceError, type SluiceErrorCode } from './sluice-error.js';
import { type SubscribeOptions, Subscription } from './subscription.js';
import { Subscriptions } from './subscriptions.js';
import { TokenLife } from './token-life.js';

export interface SluiceClientOptions {
  /** `wss://…/ws`; in a page also relative to it: `/ws`. */
  url: string;
  /**
   * The JWT, or a function that returns it. The function is called at every connect, with `rejected` when the last token was expired or
   * refused, and half a minute before the current one expires.
   */
  token: string | ((rejected: boolean) => string | Promise<string>);
  /** How long a command may wait for a connection and for `command_sent`, in ms. Default 10 000. */
  timeoutMs?: number;
  /** Collects publications for this many ms into one frame, 0 to 1000. Default 0. */
  batchMs?: number;
  /** Default: the global one; in Node.js 20 pass that of the package ws. */
  WebSocket?: WebSocketClass;
}

/** Of the connection; one object per change. */
export interface ClientState {
  /** `resuming`: connected again, and what was missed is on its way. `closed`: not opened yet, by {@link SluiceClient.close}, or for good. */
  readonly name: 'connecting' | 'live' | 'resuming' | 'waiting' | 'closed';
  /** Unix ms. */
  readonly since: number;
  /** With `waiting`: when it connects again, Unix ms. */
  readonly retryAt?: number;
  /** The close code with which the last connection ended, where it is not back yet. */
  readonly code?: number;
  /** A sentence about that. */
  readonly reason?: string;
}

export interface SluiceClientEvents {
  state: ClientState;
  /** Whether device messages can reach the server. While it is `down`, what you show is stale. */
  upstream: Upstream;
  /** Why the connection was lost, and what the server refused where nobody waits for an answer. */
  error: SluiceError;
}

export interface CommandOptions {
  /** How long the device may take to answer after the broker has the command, 1 to 60 000 ms. */
  waitMs?: number;
  /** The same key within a minute is the same command: sent once, and answered again. */
  key?: string;
}

export interface CommandAnswer<Reply = unknown> {
  /** Whether somebody took it from the broker; undefined where the broker cannot tell. */
  readonly delivered: boolean | undefined;
  /** With `waitMs`. */
  readonly result?: {
    readonly outcome: 'replied' | 'timeout';
    readonly payload?: Reply;
  };
}

type Result<Reply> = NonNullable<CommandAnswer<Reply>['result']>;

const TIMEOUT_MS = 10_000;
/** The server's limit of a message. */
const MAX_MESSAGE_BYTES = 65_536;
/** Longest wait for a result beyond `waitMs`: the way there and back. */
const RESULT_SLACK_MS = 5_000;

/** Live device data from Sluice, over connections that are lost and restored. */
export class SluiceClient extends Emitter<SluiceClientEvents> {
  private readonly connection: Connection;
  /** @internal */
  readonly requests = new Requests((text) => this.connection.write(text));
  /** @internal */
  readonly asking: Asking;
  private readonly subscriptions: Subscriptions;
  private readonly tokenLife: TokenLife;
  private readonly patienceMs: number;
  private readonly token: (rejected: boolean) => string | null | Promise<string>;
  private current: ClientState = { name: 'closed', since: Date.now() };
  /** The server does not want this client, or there is no token: only {@link connect} tries again. */
  private refused: SluiceError | undefined;
  private wasLive = false;
  /** The server's clock minus ours. @internal */
  clockOffsetMs = 0;
  private refreshed: Promise<void> | undefined;

  constructor(options: SluiceClientOptions) {
    super();
    this.patienceMs = options.timeoutMs ?? TIMEOUT_MS;
    const WebSocket = options.WebSocket ?? (globalThis as { WebSocket?: WebSocketClass }).WebSocket;
    if (!WebSocket) {
      throw new TypeError('Pass a WebSocket');
    }
    this.asking = new Asking(this);
    this.subscriptions = new Subscriptions(this.asking);
    // If no newer token is available, the current one is used until it expires.
    this.tokenLife = new TokenLife(
      () => void this.refresh().catch(() => this.connection.open && this.tokenLife.again()),
    );
    const { token } = options;
    this.token = typeof token === 'string' ? (rejected) => (rejected ? null : token) : token;
    this.connection = new Connection({ url: addressOf(options), token: this.token, WebSocket }, this);
  }

  get state(): ClientState {
    return this.current;
  }

  /** Connects now: before the first subscription, in place of a wait, or again after the server has closed for good. */
  connect(): void {
    this.refused = undefined;
    this.connection.start();
  }

  /** Ends the connection and every subscription. The next subscription or command opens it again. */
  close(): void {
    this.wasLive = false;
    this.subscriptions.end(this.pause());
  }

  /** Ends the connection alone. @internal */
  pause(): SluiceError {
    const error = closed();
    this.connection.stop();
    this.refused = undefined;
    this.become({ name: 'closed' });
    this.asking.lost();
    this.ended(error);
    return error;
  }

  /** Watches devices from now on, over all later connections. */
  subscribe<Payload = unknown>(
    deviceIds: readonly string[],
    options: SubscribeOptions = {},
  ): Subscription<Payload> {
    return this.enter([...new Set(deviceIds)], false, options) as Subscription<Payload>;
  }

  /** Watches present and future devices whose ids match; `*` stands for any run of characters. */
  subscribePattern<Payload = unknown>(
    pattern: string,
    options: SubscribeOptions = {},
  ): Subscription<Payload> {
    return this.enter([normalPattern(pattern)], true, options) as Subscription<Payload>;
  }

  /**
   * Sends a command once: never again, and never later than `timeoutMs` from now.
   * @param command any JSON value; `{ raw }` is sent as it is written, so that 1.50 and long numbers keep their form
   * @throws {SluiceError} with `connection_lost`, `timeout`, `closed` or `broker_unavailable` the device may have got it
   */
  async command<Reply = unknown>(
    deviceId: string,
    command: unknown,
    { waitMs, key }: CommandOptions = {},
  ): Promise<CommandAnswer<Reply>> {
    const text = textOf(command);
    const { requests } = this;
    const write = (id: number): string =>
      `${JSON.stringify({ type: 'command', deviceId, id, key, waitMs }).slice(0, -1)},"command":${text}}`;
    if (bytesOf(write(2 ** 53)) > MAX_MESSAGE_BYTES) {
      throw new SluiceError('payload_too_large', 'The command is too long');
    }
    const until = performance.now() + this.patienceMs;
    let id = 0;
    try {
      await within(this.patienceMs, this.live(), 'not_connected');
      const asked = requests.askOnce((next) => write((id = next)));
      const result = waitMs && requests.answerTo(-id);
      const sent = await within(until - performance.now(), asked, 'timeout');
      const { delivered } = sent as { delivered?: boolean };
      if (!result) {
        return { delivered };
      }
      const came = await within(waitMs + RESULT_SLACK_MS, result);
      const { outcome, payload } = (came ?? { outcome: 'timeout' }) as Result<Reply>;
      return { delivered, result: { outcome, payload } };
    } finally {
      requests.forget(id);
    }
  }

  /** Sends a newer token on the open connection; its grants apply at once. */
  refresh(): Promise<void> {
    this.refreshed ??= this.showNewerToken().finally(() => (this.refreshed = undefined));
    return this.refreshed;
  }

  private enter(targets: readonly string[], isPattern: boolean, options: SubscribeOptions): Subscription {
    const subscription = new Subscription(targets, isPattern, options, this.subscriptions);
    this.subscriptions.enter(subscription);
    this.open();
    return subscription;
  }

  private open(): void {
    if (this.current.name === 'closed' && !this.refused) {
      this.connection.start();
    }
  }

  /** Resolves when there is a connection, on which commands may be sent. */
  private async live(): Promise<void> {
    this.open();
    while (!this.connection.open) {
      if (this.current.name === 'closed') {
        throw this.refused ?? closed();
      }
      await this.once('state');
    }
  }

  private async showNewerToken(): Promise<void> {
    const newer = (await this.token(false))!;
    await this.requests.askOnce(() => JSON.stringify({ type: 'auth', token: newer }), 0);
    this.tokenLife.begin(newer, this.clockOffsetMs);
  }

  // From the connection.

  /** @internal */
  connecting(): void {
    this.become({ name: 'connecting' });
  }

  /** @internal */
  async opened(token: string, serverTs: number): Promise<void> {
    this.clockOffsetMs = serverTs - Date.now();
    this.tokenLife.begin(token, this.clockOffsetMs);
    const restored = this.asking.restore();
    this.become({ name: this.wasLive ? 'resuming' : 'live' });
    if (await restored) {
      this.wasLive = true;
      this.become({ name: 'live' });
    }
  }

  /** @internal */
  lost(delayMs: number | null, error: SluiceError): void {
    this.refused = delayMs === null ? error : undefined;
    this.asking.lost();
    this.become({
      name: delayMs === null ? 'closed' : 'waiting',
      retryAt: delayMs === null ? undefined : Date.now() + delayMs,
      code: error.closeCode,
      reason: error.message,
    });
    this.ended(error);
    this.emit('error', error);
  }

  private ended(error: SluiceError): void {
    this.tokenLife.forget();
    this.requests.lost(error);
  }

  private become(state: Omit<ClientState, 'since'>): void {
    if (state.name !== this.current.name || state.name === 'waiting') {
      this.current = { ...state, since: Date.now() };
      this.emit('state', this.current);
    }
  }

  /** @internal */
  received(message: ServerMessage, text: string, path: readonly (string | number)[]): void {
    this.subscriptions.hear(message, text, path);
    if (message.type === 'upstream') {
      this.emit('upstream', message);
    } else if (message.type === 'authenticated') {
      this.asking.schedule(this.asking.fleet.values()); // what the last token did not grant
    }
    if (!this.requests.answered(message) && message.type === 'error') {
      this.emit('error', new SluiceError(message.code, message.error, message.retryAfterMs));
    }
  }
}

function addressOf({ url, batchMs }: SluiceClientOptions): string {
  const { location } = globalThis as { location?: { href: string } };
  const address = new URL(url, location?.href);
  address.protocol = address.protocol.replace('http', 'ws');
  address.searchParams.set('subscribe', 'none');
  if (batchMs !== undefined) {
    address.searchParams.set('batchMs', String(batchMs));
  }
  return String(address);
}

/** @throws {SluiceError} invalid_message when it is no JSON */
function textOf(command: unknown): string {
  const { raw } = (command ?? {}) as { raw?: unknown };
  try {
    const isText = typeof raw === 'string' && Object.keys(command as object).length === 1;
    const text = isText ? raw : JSON.stringify(command);
    JSON.parse(text); // also of what has no JSON
    return text;
  } catch {
    throw new SluiceError('invalid_message', 'The command is not JSON');
  }
}

/** @param late code of the error when it takes longer; without one it is undefined then */
function within<Value>(ms: number, value: Promise<Value>, late: SluiceErrorCode): Promise<Value>;
function within<Value>(ms: number, value: Promise<Value>): Promise<Value | undefined>;
function within<Value>(
  ms: number,
  value: Promise<Value>,
  late?: SluiceErrorCode,
): Promise<Value | undefined> {
  return new Promise((resolve, reject) => {
    const over = (): void => (late ? reject(new SluiceError(late, 'It took too long')) : resolve(undefined));
    const timer = setTimeout(over, ms);
    value.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
