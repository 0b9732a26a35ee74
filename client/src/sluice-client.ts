import type { ClientState, SluiceClientEvents, SluiceClientOptions } from './client-options.js';
import { Connection, type WebSocketClass } from './connection.js';
import { DeviceMessages } from './device-messages.js';
import { Emitter } from './emitter.js';
import { chunks, Interests, subscribeMessage } from './interests.js';
import type { Delivery, Room, ServerMessage, Subscribed } from './messages.js';
import { Positions } from './positions.js';
import { Requests } from './requests.js';
import { SluiceError } from './sluice-error.js';
import { TokenLife } from './token-life.js';

/** Codes of what was not asked, or not answered, for want of a connection. */
const UNASKED: ReadonlySet<string> = new Set(['not_connected', 'connection_lost', 'closed', 'no_token']);

/** Live device data from Sluice, over connections that come and go. */
export class SluiceClient extends Emitter<SluiceClientEvents> {
  private readonly connection: Connection;
  private readonly interests = new Interests();
  private readonly positions = new Positions();
  private readonly requests = new Requests();
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
      resume: (deviceId) => this.resume(deviceId),
    });
    this.tokenLife = new TokenLife(() => void this.refresh().catch(() => undefined));
    const token = (rejected: boolean): string | null | Promise<string> =>
      typeof options.token === 'string' ? (rejected ? null : options.token) : options.token(rejected);
    this.connection = new Connection(
      { url: String(url), token, WebSocket },
      {
        connecting: () => this.become('connecting'),
        open: (used) => this.opened(used),
        message: (message) => this.received(message),
        lost: (delayMs, error) => this.lost(delayMs, error),
      },
    );
  }

  get state(): ClientState {
    return this.current;
  }

  connect(): void {
    this.connection.start();
  }

  /** Ends the connection for good, or until {@link connect}. */
  close(): void {
    this.connection.stop();
    this.lost(null, new SluiceError('closed', 'The client was closed'));
  }

  /**
   * Watches devices from now on, over all connections to come.
   * @returns where they stand and which the token denies; `null` when there is no connection now: then it is asked for with the next one
   */
  async subscribe(
    deviceIds: readonly string[],
    delivery?: Delivery,
  ): Promise<{ rooms: readonly Room[]; denied: readonly string[] } | null> {
    this.interests.add(deviceIds, delivery);
    const answers = await this.askAll(chunks(deviceIds).map((ids) => subscribeMessage(ids, delivery)));
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
    this.interests.addPattern(pattern, delivery);
    await this.askAll([{ type: 'subscribe', pattern, ...(delivery !== undefined && { delivery }) }]);
  }

  async unsubscribe(deviceIds: readonly string[]): Promise<void> {
    this.interests.remove(deviceIds);
    await this.askAll(chunks(deviceIds).map((ids) => ({ type: 'unsubscribe', deviceIds: ids })));
  }

  async unsubscribePattern(pattern: string): Promise<void> {
    this.interests.removePattern(pattern);
    await this.askAll([{ type: 'unsubscribe', pattern }]);
  }

  /**
   * Sends a command; resolves when the broker has acknowledged it, with whether a device was listening as far as the broker says.
   * Never sent a second time by itself.
   * @throws {SluiceError} with `connection_lost` or `broker_unavailable` the device may have got it
   */
  async command(deviceId: string, command: unknown): Promise<{ delivered: boolean }> {
    const answer = await this.ask({ type: 'command', deviceId, command });
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

  private opened(token: string): void {
    this.devices.begin();
    this.become('open');
    if (typeof this.options.token !== 'string') {
      this.tokenLife.begin(token);
    }
    void this.restore((this.lives += 1));
  }

  private async restore(life: number): Promise<void> {
    for (const step of this.interests.restore(this.positions)) {
      if (life !== this.lives) {
        return;
      }
      await Promise.all(step.map((message) => this.askAside(message)));
    }
  }

  private resume(deviceId: string): void {
    void this.askAside(subscribeMessage([deviceId], this.interests.deliveryOf(deviceId), this.positions));
  }

  /** Asks what nobody waits for. */
  private async askAside(message: object): Promise<void> {
    await this.askAll([message]).catch((error: SluiceError) => this.emit('error', error));
  }

  private lost(delayMs: number | null, error: SluiceError): void {
    this.tokenLife.end();
    this.become(delayMs === null ? 'closed' : 'waiting');
    this.refreshing?.reject(error);
    this.refreshing = undefined;
    this.requests.fail(error);
    if (error.code !== 'closed') {
      this.emit('error', error);
    }
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
      this.emit('error', new SluiceError(message.code, message.error, message.retryAfterMs));
    }
  }

  /** @returns null when there is no connection now, or it is lost before all is answered: what is wanted is asked for by the next one */
  private async askAll(messages: readonly object[]): Promise<ServerMessage[] | null> {
    try {
      return await Promise.all(messages.map((message) => this.ask(message)));
    } catch (error) {
      if (error instanceof SluiceError && UNASKED.has(error.code)) {
        return null;
      }
      throw error;
    }
  }

  /** Asks, and again when the server says that it was too much at once. */
  private async ask(message: object): Promise<ServerMessage> {
    for (;;) {
      try {
        return await this.requests.ask(message, (one) => this.connection.send(one));
      } catch (error) {
        if (!(error instanceof SluiceError) || error.retryAfterMs === undefined) {
          throw error;
        }
        const { retryAfterMs } = error;
        await new Promise((resolve) => setTimeout(resolve, retryAfterMs * (1 + Math.random())));
      }
    }
  }
}
