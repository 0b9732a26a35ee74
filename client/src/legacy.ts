import { Emitter } from './emitter.js';
import { normalPattern } from './id-pattern.js';
import {
  type Delivery,
  type DeviceMeta,
  type DeviceState,
  type DeviceStatus,
  type Position,
  SluiceClient as Client,
  type SluiceClientOptions,
  SluiceError,
  type Subscription,
  type Telemetry,
  type Upstream,
} from './index.js';

export {
  type Delivery,
  type DeviceMeta,
  type DeviceState,
  type DeviceStatus,
  type Position,
  type SluiceClientOptions,
  SluiceError,
  type Telemetry,
  type Upstream,
  type WebSocketClass,
  type WebSocketLike,
} from './index.js';

/** @deprecated `connecting`, `open`, `waiting` (for the next attempt), or `closed` for good. */
export type ClientState = 'connecting' | 'open' | 'waiting' | 'closed';

/** @deprecated Where a device stands. */
export interface Room extends Position {
  readonly deviceId: string;
}

/** @deprecated Events of a subscription and of the client have taken their place. */
export interface SluiceClientEvents {
  state: ClientState;
  telemetry: Telemetry;
  status: DeviceStatus;
  meta: DeviceMeta;
  snapshot: DeviceState;
  /** Now `gap`. */
  reset: { deviceId: string };
  /** Now `denied`. */
  withdrawn: { deviceIds: readonly string[]; pattern?: string };
  upstream: Upstream;
  error: SluiceError;
}

const NOTICE =
  'sluice-client/legacy is the API of version 0.1 and goes with the next release: see "Coming from 0.1" in the README of sluice-client';
let noticed = false;

/** What is wanted, and the subscription to it while the client was told to connect. */
interface Wish {
  readonly delivery: Delivery | undefined;
  subscription?: Subscription;
  /** The server has granted it; a refusal after that is a withdrawal. */
  granted?: boolean;
}

/**
 * The client as it was in version 0.1: events of all devices on one object, subscriptions by id.
 * @deprecated Use `SluiceClient` of `sluice-client`: `subscribe()` returns a subscription with its own events, `close()` ends it.
 */
export class SluiceClient extends Emitter<SluiceClientEvents> {
  private readonly client: Client;
  private readonly devices = new Map<string, Wish>();
  private readonly patterns = new Map<string, Wish>();
  private started = false;
  private current: ClientState = 'closed';
  /** Withdrawn devices, which are told together. */
  private readonly withdrawn: string[] = [];

  constructor(options: SluiceClientOptions) {
    super();
    if (!noticed) {
      noticed = true;
      (globalThis as { console?: { warn(text: string): void } }).console?.warn(NOTICE);
    }
    this.client = new Client(options);
    this.client.on('state', ({ name }) => {
      const state = name === 'live' || name === 'resuming' ? 'open' : name;
      if (state !== this.current) {
        this.current = state;
        this.emit('state', state);
      }
    });
    this.client.on('upstream', (event) => this.emit('upstream', event));
    this.client.on('error', (error) => this.emit('error', error));
  }

  /** @deprecated `state.name` of the new client. */
  get state(): ClientState {
    return this.current;
  }

  /** @deprecated A subscription of the new client opens the connection. */
  connect(): void {
    if (this.current === 'closed') {
      this.started = true;
      this.devices.forEach((wish, id) => this.begin(this.devices, id, wish));
      this.patterns.forEach((wish, pattern) => this.begin(this.patterns, pattern, wish));
      this.client.connect();
    }
  }

  /** Ends the connection until {@link connect}; what is subscribed to stays wanted. @deprecated */
  close(): void {
    this.started = false;
    this.client.pause();
  }

  /**
   * Watches devices from now on, over all later connections.
   * @returns their positions and those that the token denies; `null` when there is no connection now: the next one requests them
   * @deprecated `subscribe()` of the new client returns a subscription, `ready` of it says what is denied.
   */
  async subscribe(
    deviceIds: readonly string[],
    delivery?: Delivery,
  ): Promise<{ rooms: readonly Room[]; denied: readonly string[] } | null> {
    const denied = await this.want(this.devices, [...new Set(deviceIds)], delivery);
    return (
      denied && {
        rooms: deviceIds.flatMap((deviceId) => {
          const position = this.client.asking.fleet.get(deviceId)?.position;
          return position === undefined || denied.includes(deviceId) ? [] : [{ deviceId, ...position }];
        }),
        denied,
      }
    );
  }

  /** @deprecated Use that of the new client. */
  async subscribePattern(pattern: string, delivery?: Delivery): Promise<void> {
    const denied = await this.want(this.patterns, [normalPattern(pattern)], delivery);
    if (denied !== null && denied.length > 0) {
      throw new SluiceError('forbidden', 'Forbidden');
    }
  }

  /** @deprecated `close()` of the subscription. */
  unsubscribe(deviceIds: readonly string[]): Promise<void> {
    deviceIds.forEach((id) => this.drop(this.devices, id));
    return Promise.resolve();
  }

  /** @deprecated `close()` of the subscription. */
  unsubscribePattern(pattern: string): Promise<void> {
    this.drop(this.patterns, normalPattern(pattern));
    return Promise.resolve();
  }

  /** @deprecated `command()` of the new client waits for a connection, and says `undefined` where the broker cannot tell. */
  async command(deviceId: string, command: unknown): Promise<{ delivered: boolean }> {
    if (this.current !== 'open') {
      throw new SluiceError('not_connected', 'There is no connection');
    }
    const { delivered } = await this.client.command(deviceId, command);
    return { delivered: delivered !== false };
  }

  /** @deprecated Use that of the new client. */
  refresh(): Promise<void> {
    return this.client.refresh();
  }

  /** @returns what is denied, or null when there is no connection now */
  private async want(
    wishes: Map<string, Wish>,
    targets: readonly string[],
    delivery: Delivery | undefined,
  ): Promise<string[] | null> {
    const before = targets.map((target) => [target, wishes.get(target)] as const);
    const wanted = targets.map((target): readonly [string, Wish] => [target, { delivery }]);
    for (const [target, wish] of wanted) {
      const last = wishes.get(target);
      wishes.set(target, wish);
      if (this.started) {
        this.begin(wishes, target, wish);
      }
      last?.subscription?.close();
    }
    if (this.current !== 'open') {
      return null;
    }
    try {
      const answers = await Promise.all(wanted.flatMap(([, { subscription }]) => subscription?.ready ?? []));
      return answers.flatMap(({ denied }) => denied);
    } catch (error) {
      const { code } = error as SluiceError;
      if (code !== 'closed') {
        before.forEach(([target, last], at) => this.putBack(wishes, target, wanted[at]![1], last));
      }
      throw error;
    }
  }

  /** The server has refused it: the options before apply again. */
  private putBack(wishes: Map<string, Wish>, target: string, refused: Wish, last: Wish | undefined): void {
    if (wishes.get(target) === refused) {
      this.drop(wishes, target);
      if (last !== undefined) {
        const wish = { delivery: last.delivery };
        wishes.set(target, wish);
        this.begin(wishes, target, wish);
      }
    }
  }

  private drop(wishes: Map<string, Wish>, target: string): void {
    wishes.get(target)?.subscription?.close();
    wishes.delete(target);
  }

  private begin(wishes: Map<string, Wish>, target: string, wish: Wish): void {
    if (wish.subscription !== undefined) {
      return;
    }
    const subscription =
      wishes === this.devices
        ? this.client.subscribe([target], wish.delivery)
        : this.client.subscribePattern(target, wish.delivery);
    wish.subscription = subscription;
    const pass =
      <Event extends { readonly deviceId: string }>(name: keyof SluiceClientEvents) =>
      (event: Event): void => {
        if (this.isTeller(wish, event.deviceId)) {
          this.emit(name, event);
        }
      };
    subscription.on('telemetry', pass('telemetry'));
    subscription.on('snapshot', pass('snapshot'));
    subscription.on('status', pass('status'));
    subscription.on('meta', pass('meta'));
    subscription.on('gap', pass('reset'));
    subscription.on('denied', ({ code }) => {
      if (code === 'forbidden') {
        this.denied(wishes, target, wish);
      }
    });
    subscription.ready.then(
      ({ denied }) => (wish.granted = denied.length === 0),
      () => undefined,
    );
  }

  /** A denied device is not wanted any more, as before. */
  private denied(wishes: Map<string, Wish>, target: string, wish: Wish): void {
    if (wishes.get(target) === wish) {
      wishes.delete(target);
      queueMicrotask(() => wish.subscription?.close()); // after `ready` has told the caller
    }
    if (wish.granted !== true) {
      return;
    }
    if (wishes === this.patterns) {
      this.emit('withdrawn', { deviceIds: [], pattern: target });
    } else if (this.withdrawn.push(target) === 1) {
      queueMicrotask(() => this.emit('withdrawn', { deviceIds: this.withdrawn.splice(0) }));
    }
  }

  /** Of several wishes for a device one tells: that by its id, else the first pattern that has it. */
  private isTeller(wish: Wish, deviceId: string): boolean {
    const byId = this.devices.get(deviceId);
    if (byId !== undefined) {
      return byId === wish;
    }
    for (const one of this.patterns.values()) {
      if (one.subscription?.get(deviceId) !== undefined) {
        return one === wish;
      }
    }
    return false;
  }
}
