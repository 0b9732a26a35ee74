import { once } from 'node:events';
import { WebSocket } from 'ws';
import { signToken, type TokenClaims } from './tokens.js';
import type { WireMessage, WireOf, WireType } from './wire.js';

export interface ConnectOptions {
  /** Claims of the token; ignored when `token` is given. */
  claims?: TokenClaims;
  /** A token of the test's own; `null` sends none. */
  token?: string | null;
  /** How the token travels. Default `subprotocol`, as browsers do it. */
  via?: 'header' | 'subprotocol' | 'query' | 'message';
  /** Further query parameters, such as `{ subscribe: 'none' }`. */
  query?: Record<string, string>;
  headers?: Record<string, string>;
}

interface Waiter {
  matches: (message: WireMessage) => boolean;
  resolve: (message: WireMessage) => void;
  reject: (reason: Error) => void;
}

/** A dashboard's connection for tests: sends objects, and waits for messages instead of for time. */
export class DashboardClient {
  /** Everything received, in order. */
  readonly received: WireMessage[] = [];
  readonly closed: Promise<{ code: number; reason: string }>;
  private readonly unread: WireMessage[] = [];
  private readonly waiters = new Set<Waiter>();
  private ended = false;

  constructor(readonly socket: WebSocket) {
    socket.on('message', (data: Buffer) => this.take(JSON.parse(data.toString('utf8')) as WireMessage));
    socket.on('error', () => undefined); // shows in `closed`
    this.closed = new Promise((resolve) => {
      socket.once('close', (code, reason) => {
        this.ended = true;
        const text = reason.toString('utf8');
        for (const waiter of this.waiters) {
          waiter.reject(new Error(`closed with ${code} ${text} while waiting`));
        }
        resolve({ code, reason: text });
      });
    });
  }

  /** Resolves when the upgrade is done; rejects when it was refused (`Unexpected server response: 403`). */
  static async connect(url: string, options: ConnectOptions = {}): Promise<DashboardClient> {
    const { via = 'subprotocol', query = {}, headers = {} } = options;
    const token = options.token === undefined ? await signToken(options.claims) : options.token;
    const address = new URL(url);
    for (const [name, value] of Object.entries(query)) {
      address.searchParams.set(name, value);
    }
    if (token !== null && via === 'query') {
      address.searchParams.set('token', token);
    }
    const protocols =
      token !== null && via === 'subprotocol' ? ['sluice.v1', `bearer.${token}`] : ['sluice.v1'];
    const client = new DashboardClient(
      new WebSocket(address, protocols, {
        headers: {
          ...headers,
          ...(token !== null && via === 'header' ? { authorization: `Bearer ${token}` } : {}),
        },
      }),
    );
    await once(client.socket, 'open');
    if (token !== null && via === 'message') {
      client.send({ type: 'auth', token });
    }
    return client;
  }

  send(message: object): void {
    this.socket.send(JSON.stringify(message));
  }

  /** Sends what is no JSON object: text as it stands, or bytes as a binary frame. */
  sendRaw(data: string | Buffer): void {
    this.socket.send(data);
  }

  /**
   * The next message of a type (and kind) that no earlier call has taken; the others stay for later calls.
   * @param timeoutMs default 5 s, then it rejects with what came instead
   */
  next<T extends WireType>(
    type: T,
    matches: (message: WireOf<T>) => boolean = () => true,
    timeoutMs = 5_000,
  ): Promise<WireOf<T>> {
    const fits = (message: WireMessage): boolean => message.type === type && matches(message as WireOf<T>);
    const index = this.unread.findIndex(fits);
    if (index >= 0) {
      return Promise.resolve(this.unread.splice(index, 1)[0] as WireOf<T>);
    }
    if (this.ended) {
      return Promise.reject(new Error(`already closed, no ${type}`));
    }
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void): void => {
        clearTimeout(timer);
        this.waiters.delete(waiter);
        settle();
      };
      const waiter: Waiter = {
        matches: fits,
        resolve: (message) => finish(() => resolve(message as WireOf<T>)),
        reject: (reason) => finish(() => reject(reason)),
      };
      const timer = setTimeout(() => {
        const instead = this.unread.slice(-5).map((message) => JSON.stringify(message));
        waiter.reject(new Error(`no ${type} in ${timeoutMs} ms; unread: ${instead.join(' ') || 'nothing'}`));
      }, timeoutMs);
      this.waiters.add(waiter);
    });
  }

  /** The next `count` messages of a type. */
  async collect<T extends WireType>(type: T, count: number, timeoutMs = 10_000): Promise<WireOf<T>[]> {
    const messages: WireOf<T>[] = [];
    while (messages.length < count) {
      messages.push(await this.next(type, undefined, timeoutMs));
    }
    return messages;
  }

  /** Everything of a type that came so far, taken by {@link next} or not. */
  all<T extends WireType>(type: T): WireOf<T>[] {
    return this.received.filter((message) => message.type === type) as WireOf<T>[];
  }

  /** Resolves when the server has handled everything sent before: a ping has come back. */
  async roundTrip(): Promise<void> {
    const id = `round-trip-${Math.random()}`;
    this.send({ type: 'ping', id });
    await this.next('pong', (pong) => pong.id === id);
  }

  /** Stops reading from the socket: what a phone that fell asleep looks like. */
  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  async close(): Promise<void> {
    this.socket.close();
    await this.closed;
  }

  /** For the clean-up helpers. */
  async stop(): Promise<void> {
    this.socket.resume();
    this.socket.terminate();
    await this.closed;
  }

  private take(message: WireMessage): void {
    this.received.push(message);
    for (const waiter of this.waiters) {
      if (waiter.matches(message)) {
        waiter.resolve(message);
        return;
      }
    }
    this.unread.push(message);
  }
}

/** A connection to an instance at `url` (`ws://host:port/ws`). */
export const connect = (url: string, options?: ConnectOptions): Promise<DashboardClient> =>
  DashboardClient.connect(url, options);
