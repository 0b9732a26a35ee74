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

/** Requests pending at once while subscriptions are restored: far below the server's rate. */
const ASKED_AT_ONCE = 32;

/** Live device data from Sluice, over connections that are lost and restored. */
export class SluiceClient extends Emitter<SluiceClientEvents> {
  private readonly connection: Connection;
  private readonly interests = new Interests();
  private readonly positions = new Positions();
  private readonly requests = new Requests((message) => this.connection.send(message));
  private readonly devices: DeviceMessages;
  private readonly tokenLife: TokenLife;
  private current: ClientState = 'closed';
  /** Number of the current connection. */
  private connectionNumber = 0;
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
   * Watches devices from now on, over all later connections.
   * @returns their positions and those that the token denies; `null` when there is no connection now: the next one requests them
   */
  async subscribe(
    deviceIds: readonly string[],
    delivery?: Delivery,
  ): Promise<{ rooms: readonly Room[]; denied: readonly string[] } | null> {
    const undo = this.interests.add(deviceIds, delivery);
    const messages = chunks(deviceIds).map((ids) => subscribeMessage(ids, delivery));
    const answers = await this.requests.askAll(messages, undo);
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
    const undo = this.interests.addPattern(normal, delivery);
    const message = { type: 'subscribe', pattern: normal, ...(delivery !== undefined && { delivery }) };
    await this.requests.askAll([message], undo);
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
   * Sends a command; resolves when the broker has acknowledged it, with whether a device was listening, if the broker says so. Never
   * repeated by itself, not even after `rate_limited` (see {@link SluiceError.retryAfterMs}).
   * @throws {SluiceError} with `connection_lost`, `closed` or `broker_unavailable` the device may have got it
   */
  async command(deviceId: string, command: unknown): Promise<{ delivered: boolean }> {
    const answer = await this.requests.askOnce({ type: 'command', deviceId, command });
    return { delivered: !('delivered' in answer && answer.delivered === false) };
  }

  /** Sends a newer token on the open connection; its grants apply at once. */
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

  /** If no newer token is available, the current one is used until it expires. */
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
    void this.restore((this.connectionNumber += 1));
    this.become('open');
  }

  /** If a step fails, the next ones are skipped: they would give devices to patterns that were not restored. */
  private async restore(life: number): Promise<void> {
    for (const step of this.interests.restore(this.positions)) {
      for (let at = 0; at < step.length; at += ASKED_AT_ONCE) {
        const answered = await Promise.all(
          step.slice(at, at + ASKED_AT_ONCE).map((message) => this.askInBackground(message)),
        );
        if (
          life !== this.connectionNumber ||
          ('pattern' in (step[at] as object) && answered.includes(false))
        ) {
          return;
        }
      }
    }
  }

  private async resume(deviceId: string): Promise<void> {
    const life = this.connectionNumber;
    const delivery = this.interests.deliveryOf(deviceId);
    const resumed = await this.askInBackground(subscribeMessage([deviceId], delivery, this.positions));
    if (life !== this.connectionNumber || !this.connection.open) {
      return; // the next connection resumes everything
    }
    if (!resumed) {
      this.devices.resumeFailed(deviceId);
    } else if (!this.interests.isExplicit(deviceId)) {
      await this.askInBackground({ type: 'unsubscribe', deviceIds: [deviceId] }); // its pattern covers it again
    }
  }

  /** Sends a request without a caller that waits. @returns whether it succeeded */
  private async askInBackground(message: object): Promise<boolean> {
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
      this.refreshing?.reject(error); // the only request without an id
      this.refreshing = undefined;
      this.emit('error', error);
    }
  }
}
