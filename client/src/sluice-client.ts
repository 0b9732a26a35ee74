import type { ClientState, SluiceClientEvents, SluiceClientOptions } from './client-options.js';
import { Connection, type WebSocketClass } from './connection.js';
import { DeviceMessages } from './device-messages.js';
import { Emitter } from './emitter.js';
import { normalPattern } from './id-pattern.js';
import { chunks, Interests, subscribeMessage } from './interests.js';
import type { Delivery, Room, ServerMessage, Subscribed } from './messages.js';
import { Positions } from './positions.js';
import { Requests } from './requests.js';
import { SluiceError } from './sluice-error.js';
import { TokenLife } from './token-life.js';

/** Questions under way at once when a connection is brought to where the last one stood: far below the server's rate. */
const ASKED_AT_ONCE = 32;

/** Live device data from Sluice, over connections that come and go. */
export class SluiceClient extends Emitter<SluiceClientEvents> {
  private readonly connection: Connection;
  private readonly interests = new Interests();
  private readonly positions = new Positions();
  private readonly requests = new Requests((message) => this.connection.send(message));
  private readonly devices: DeviceMessages;
  private readonly tokenLife: TokenLife;
  private current: ClientState = 'closed';
  /** Number of the connection. */
  private lives = 0;
  private refreshed: Promise<void> | undefined;
  private refreshing: { resolve(): void; reject(error: SluiceError): void } | undefined;

  constructor(private readonly options: SluiceClientOptions) {
    super();
    const url = new URL(options.url);
    url.searchParams.set('subscribe', 'none');
    if (options.batchMs !== undefined) {
      url.searchParams.set('batchMs', String(options.batchMs));
    }
    const WebSocket =
      options.WebSocket ?? (globalThis as unknown as { WebSocket?: WebSocketClass }).WebSocket;
    if (WebSocket === undefined) {
      throw new TypeError('There is no global WebSocket here: pass one, such as that of the package ws');
    }
    this.devices = new DeviceMessages(this.interests, this.positions, {
      telemetry: (message) => this.emit('telemetry', message),
      status: (message) => this.emit('status', message),
      meta: (message) => this.emit('meta', message),
      snapshot: (state) => this.emit('snapshot', state),
      reset: (deviceId) => this.emit('reset', { deviceId }),
      withdrawn: (deviceIds, pattern) => this.emit('withdrawn', { deviceIds, pattern }),
      resume: (deviceId) => void this.resume(deviceId),
    });
    this.tokenLife = new TokenLife(() => void this.refresh().catch(() => this.retryRefresh()));
    const token = (rejected: boolean): string | null | Promise<string> =>
      typeof options.token === 'string' ? (rejected ? null : options.token) : options.token(rejected);
    this.connection = new Connection(
      { url: String(url), token, WebSocket },
      {
        connecting: () => this.become('connecting'),
        open: (used, serverTs) => this.opened(used, serverTs),
        message: (message) => this.received(message),
        lost: (delayMs, error) => this.lost(delayMs, error),
      },
    );
  }

  get state(): ClientState {
    return this.current;
  }

  connect(): void {
    if (this.current === 'closed') {
      this.connection.start();
    }
  }

  /** Ends the connection until {@link connect}. */
  close(): void {
    this.connection.stop();
    this.ended(null, new SluiceError('closed', 'The client was closed'));
  }

  /**
   * Watches devices from now on, over all connections to come.
   * @returns where they stand and which the token denies; `null` when there is no connection now: then it is asked for with the next one
   */
  async subscribe(
    deviceIds: readonly string[],
    delivery?: Delivery,
  ): Promise<{ rooms: readonly Room[]; denied: readonly string[] } | null> {
    const takeBack = this.interests.add(deviceIds, delivery);
    const messages = chunks(deviceIds).map((ids) => subscribeMessage(ids, delivery));
    const answers = await this.requests.askAll(messages, takeBack);
    const subscribed = answers?.map((answer) => answer as Subscribed);
    return subscribed === undefined
      ? null
      : {
          rooms: subscribed.flatMap(({ rooms }) => rooms),
          denied: subscribed.flatMap(({ denied }) => denied),
        };
  }

  /** Watches present and future devices whose ids match; `*` stands for any run of characters. */
  async subscribePattern(pattern: string, delivery?: Delivery): Promise<void> {
    const normal = normalPattern(pattern);
    const takeBack = this.interests.addPattern(normal, delivery);
    const message = { type: 'subscribe', pattern: normal, ...(delivery !== undefined && { delivery }) };
    await this.requests.askAll([message], takeBack);
  }

  async unsubscribe(deviceIds: readonly string[]): Promise<void> {
    this.interests.remove(deviceIds);
    await this.requests.askAll(chunks(deviceIds).map((ids) => ({ type: 'unsubscribe', deviceIds: ids })));
  }

  async unsubscribePattern(pattern: string): Promise<void> {
    const normal = normalPattern(pattern);
    this.interests.removePattern(normal);
    await this.requests.askAll([{ type: 'unsubscribe', pattern: normal }]);
  }

  /**
   * Sends a command; resolves when the broker has acknowledged it, with whether a device was listening as far as the broker says.
   * Never sent a second time or later by itself, also where the server says `rate_limited` (see {@link SluiceError.retryAfterMs}).
   * @throws {SluiceError} with `connection_lost`, `closed` or `broker_unavailable` the device may have got it
   */
  async command(deviceId: string, command: unknown): Promise<{ delivered: boolean }> {
    const answer = await this.requests.askOnce({ type: 'command', deviceId, command });
    return { delivered: !('delivered' in answer && answer.delivered === false) };
  }

  /** Shows a newer token on the open connection; what it grants holds at once. */
  refresh(): Promise<void> {
    this.refreshed ??= this.showNewerToken().finally(() => (this.refreshed = undefined));
    return this.refreshed;
  }

  private async showNewerToken(): Promise<void> {
    const { token } = this.options;
    const newer = typeof token === 'string' ? token : await token(false);
    await new Promise<void>((resolve, reject) => {
      this.refreshing = { resolve, reject };
      if (!this.connection.send({ type: 'auth', token: newer })) {
        reject(new SluiceError('not_connected', 'There is no connection'));
      }
    });
    this.tokenLife.begin(newer);
  }

  /** With what was there before it failed, the token goes on until it ends. */
  private retryRefresh(): void {
    if (this.connection.open) {
      this.tokenLife.again();
    }
  }

  private opened(token: string, serverTs: number): void {
    this.devices.begin();
    if (typeof this.options.token !== 'string') {
      this.tokenLife.begin(token, serverTs);
    }
    void this.restore((this.lives += 1));
    this.become('open');
  }

  /** A step that is not answered well is the last one: it would leave to patterns what they do not bring. */
  private async restore(life: number): Promise<void> {
    for (const step of this.interests.restore(this.positions)) {
      for (let at = 0; at < step.length; at += ASKED_AT_ONCE) {
        const answered = await Promise.all(
          step.slice(at, at + ASKED_AT_ONCE).map((message) => this.askAside(message)),
        );
        if (life !== this.lives || ('pattern' in (step[at] as object) && answered.includes(false))) {
          return;
        }
      }
    }
  }

  private async resume(deviceId: string): Promise<void> {
    const life = this.lives;
    const delivery = this.interests.deliveryOf(deviceId);
    const resumed = await this.askAside(subscribeMessage([deviceId], delivery, this.positions));
    if (life !== this.lives || !this.connection.open) {
      return; // the next connection resumes everything
    }
    if (!resumed) {
      this.devices.given(deviceId);
    } else if (!this.interests.isExplicit(deviceId)) {
      await this.askAside({ type: 'unsubscribe', deviceIds: [deviceId] }); // the pattern that brought it has it again
    }
  }

  /** Asks what nobody waits for. @returns whether it was answered well */
  private async askAside(message: object): Promise<boolean> {
    try {
      return (await this.requests.askAll([message])) !== null;
    } catch (error) {
      this.emit('error', error as SluiceError);
      return false;
    }
  }

  private lost(delayMs: number | null, error: SluiceError): void {
    this.ended(delayMs, error);
    this.emit('error', error);
  }

  private ended(delayMs: number | null, error: SluiceError): void {
    this.tokenLife.forget();
    this.become(delayMs === null ? 'closed' : 'waiting');
    this.refreshing?.reject(error);
    this.refreshing = undefined;
    this.requests.fail(error);
  }

  private become(state: ClientState): void {
    if (state !== this.current) {
      this.current = state;
      this.emit('state', state);
    }
  }

  private received(message: ServerMessage): void {
    this.devices.take(message);
    if (message.type === 'upstream') {
      this.emit('upstream', message);
    } else if (message.type === 'authenticated') {
      this.refreshing?.resolve();
      this.refreshing = undefined;
    } else if (!this.requests.answered(message) && message.type === 'error') {
      const error = new SluiceError(message.code, message.error, message.retryAfterMs);
      this.refreshing?.reject(error); // the only question without an id
      this.refreshing = undefined;
      this.emit('error', error);
    }
  }
}
