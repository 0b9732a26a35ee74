import {
  createContext,
  createElement,
  type ReactElement,
  type ReactNode,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
} from 'react';
import type {
  ClientState,
  CommandAnswer,
  CommandOptions,
  DeviceState,
  SluiceClient,
  SluiceError,
  SubscribeOptions,
  Subscription,
  SubscriptionEvents,
  Telemetry,
} from './index.js';

/** What is known of a device: its newest telemetry, status and metadata, as `get()` of a subscription gives it. */
export type DeviceValue<Payload = unknown> = Omit<DeviceState<Payload>, 'deviceId'>;

/** Options of a subscription, and who hears what a value cannot show. New objects of equal content change nothing. */
export interface LiveOptions extends Omit<SubscribeOptions, 'signal' | 'keep'> {
  onDenied?: (event: SubscriptionEvents['denied']) => void;
  onGap?: (event: SubscriptionEvents['gap']) => void;
}

export interface HistoryOptions extends LiveOptions {
  /** Points that are kept; the oldest go. Default 10 000. */
  keep?: number;
}

export interface HistoryPoint<Value = unknown> {
  /** Unix ms at which Sluice received it. */
  readonly t: number;
  /** `null`: publications are missing here. */
  readonly value: Value | null;
}

export interface CommandState<Reply = unknown> {
  /** Of the last one. */
  readonly status: 'idle' | 'sending' | 'done' | 'failed';
  /** With `done`. */
  readonly result?: CommandAnswer<Reply>;
  /** With `failed`. */
  readonly error?: SluiceError;
}

export interface CommandSender<Reply = unknown> extends CommandState<Reply> {
  /** Sends a command, as `command()` of the client; a failure is in `error`, and resolves with undefined. */
  readonly send: (command: unknown, options?: CommandOptions) => Promise<CommandAnswer<Reply> | undefined>;
}

const KEEP = 10_000;
/** Where nothing is painted, as in tests without a page. */
const FRAME_MS = 16;

const Context = createContext<SluiceClient | undefined>(undefined);

/** Gives a client to all components below. It stays yours: close it where you have made it. */
export function SluiceProvider({
  client,
  children,
}: {
  client: SluiceClient;
  children?: ReactNode;
}): ReactElement {
  return createElement(Context.Provider, { value: client }, children);
}

/** The client of the provider. */
export function useSluice(): SluiceClient {
  const client = useContext(Context);
  if (client === undefined) {
    throw new Error('There is no SluiceProvider above this component');
  }
  return client;
}

/** The state of the connection. */
export function useSluiceState(): ClientState {
  const client = useSluice();
  const subscribe = useCallback((changed: () => void) => client.on('state', changed), [client]);
  const get = (): ClientState => client.state;
  return useSyncExternalStore(subscribe, get, get);
}

/** The newest values of a device. */
export function useDevice<Payload = unknown>(
  deviceId: string,
  options: LiveOptions = {},
): DeviceValue<Payload> {
  return useLive(options, [deviceId], (client, wanted) => {
    return new DeviceStore(() => client.subscribe([deviceId], wanted), deviceId);
  }) as DeviceValue<Payload>;
}

/** The newest values of all devices of a pattern. Entries of devices that have not changed stay the same objects. */
export function useFleet<Payload = unknown>(
  pattern: string,
  options: LiveOptions = {},
): ReadonlyMap<string, DeviceValue<Payload>> {
  return useLive(options, [pattern], (client, wanted) => {
    return new FleetStore(() => client.subscribePattern(pattern, wanted));
  }) as ReadonlyMap<string, DeviceValue<Payload>>;
}

/**
 * The values of a field over time: all that history has (or the `rewind` of the options), and what comes from then on.
 * @param field a name, or a path with dots; `null`: the whole payload
 */
export function useHistory<Value = unknown>(
  deviceId: string,
  field: string | null,
  options: HistoryOptions = {},
): readonly HistoryPoint<Value>[] {
  return useLive(options, [deviceId, field], (client, wanted) => {
    const { keep = KEEP } = options;
    const fields = field === null ? {} : { fields: [field] };
    const all = { rewind: { count: 1_000 }, meta: 'once' as const, ...fields, ...wanted };
    return new HistoryStore(() => client.subscribe([deviceId], all), field, keep);
  }) as readonly HistoryPoint<Value>[];
}

/** Sends commands to a device, and says what became of the last one. */
export function useCommand<Reply = unknown>(deviceId: string): CommandSender<Reply> {
  const client = useSluice();
  const [state, setState] = useState<CommandState<Reply>>({ status: 'idle' });
  const last = useRef(0);
  useEffect(
    () => () => {
      last.current += 1;
      setState({ status: 'idle' });
    },
    [client, deviceId],
  );
  const send = useCallback(
    async (command: unknown, options?: CommandOptions) => {
      const mine = (last.current += 1);
      const become = (next: CommandState<Reply>): void => {
        if (mine === last.current) {
          setState(next);
        }
      };
      become({ status: 'sending' });
      try {
        const result = await client.command<Reply>(deviceId, command, options);
        become({ status: 'done', result });
        return result;
      } catch (error) {
        become({ status: 'failed', error: error as SluiceError });
        return undefined;
      }
    },
    [client, deviceId],
  );
  return useMemo(() => ({ ...state, send }), [state, send]);
}

/** @param what is wanted, beside the options: with another one there is another store */
function useLive<Value>(
  options: HistoryOptions,
  what: readonly (string | null)[],
  make: (client: SluiceClient, wanted: SubscribeOptions) => Store<Value>,
): Value {
  const client = useSluice();
  const { onDenied, onGap, keep, ...wanted } = options;
  const key = JSON.stringify([what, keep, wanted]);
  // The key has everything that `make` and the options say.
  const store = useMemo(() => make(client, wanted), [client, key]);
  useEffect(() => {
    store.onDenied = onDenied;
    store.onGap = onGap;
  });
  return useSyncExternalStore(store.subscribe, store.get, store.get);
}

const due = new Set<() => void>();
const surroundings = globalThis as { requestAnimationFrame?: (run: () => void) => number };

/** All tasks of a frame run together, so that React renders once for them. */
function atNextFrame(task: () => void): void {
  if (due.size === 0) {
    const run = (): void => {
      const tasks = [...due];
      due.clear();
      tasks.forEach((one) => one());
    };
    if (surroundings.requestAnimationFrame === undefined) {
      setTimeout(run, FRAME_MS);
    } else {
      surroundings.requestAnimationFrame(run);
    }
  }
  due.add(task);
}

/** A value that follows a subscription while somebody listens, and changes once a frame. */
abstract class Store<Value> {
  onDenied: LiveOptions['onDenied'];
  onGap: LiveOptions['onGap'];
  private readonly listeners = new Set<() => void>();
  private subscription: Subscription | undefined;

  constructor(
    private readonly open: () => Subscription,
    private value: Value,
  ) {}

  readonly get = (): Value => this.value;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    if (this.subscription === undefined) {
      const subscription = (this.subscription = this.open());
      subscription.on('denied', (event) => this.onDenied?.(event));
      subscription.on('gap', (event) => this.onGap?.(event));
      this.value = this.begin(subscription, this.value);
    }
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size === 0) {
        this.subscription?.close();
        this.subscription = undefined;
      }
    };
  };

  /** Listens to the subscription. @returns the first value */
  protected abstract begin(subscription: Subscription, before: Value): Value;

  /** What is now, in a frame after something has {@link changed}. */
  protected abstract next(subscription: Subscription, before: Value): Value;

  protected readonly changed = (): void => atNextFrame(this.tell);

  private readonly tell = (): void => {
    if (this.subscription !== undefined) {
      this.value = this.next(this.subscription, this.value);
      this.listeners.forEach((listener) => listener());
    }
  };
}

/** Calls with the id of each device of which there are news. */
function onNews(subscription: Subscription, heard: (deviceId: string) => void): void {
  const tell = ({ deviceId }: { readonly deviceId: string }): void => heard(deviceId);
  subscription.on('telemetry', tell);
  subscription.on('snapshot', tell);
  subscription.on('status', tell);
  subscription.on('meta', tell);
}

class DeviceStore extends Store<DeviceValue> {
  constructor(
    open: () => Subscription,
    private readonly deviceId: string,
  ) {
    super(open, {});
  }

  protected begin(subscription: Subscription, before: DeviceValue): DeviceValue {
    onNews(subscription, this.changed);
    subscription.on('denied', this.changed);
    const known = this.next(subscription);
    return (known.telemetry ?? known.status ?? known.meta) ? known : before;
  }

  protected next(subscription: Subscription): DeviceValue {
    return subscription.get(this.deviceId) ?? {};
  }
}

type Fleet = ReadonlyMap<string, DeviceValue>;
const NOTHING: Fleet = new Map();

class FleetStore extends Store<Fleet> {
  private readonly news = new Set<string>();
  private isDenied = false;

  constructor(open: () => Subscription) {
    super(open, NOTHING);
  }

  protected begin(subscription: Subscription): Fleet {
    const heard = (deviceId: string): void => {
      this.news.add(deviceId);
      this.changed();
    };
    onNews(subscription, heard);
    subscription.on('device', ({ deviceId }) => heard(deviceId));
    subscription.on('denied', () => {
      this.isDenied = true;
      this.changed();
    });
    return NOTHING;
  }

  protected next(subscription: Subscription, before: Fleet): Fleet {
    const fleet = new Map(this.isDenied ? NOTHING : before);
    for (const deviceId of this.news) {
      const value = subscription.get(deviceId);
      if (value !== undefined) {
        fleet.set(deviceId, value);
      }
    }
    this.news.clear();
    this.isDenied = false;
    return fleet;
  }
}

class HistoryStore extends Store<readonly HistoryPoint[]> {
  private fresh: HistoryPoint[] = [];
  private last: Telemetry | undefined;

  constructor(
    open: () => Subscription,
    private readonly field: string | null,
    private readonly keep: number,
  ) {
    super(open, []);
  }

  protected begin(subscription: Subscription): readonly HistoryPoint[] {
    this.fresh = [];
    this.last = undefined;
    subscription.on('telemetry', (message) => this.point(message));
    subscription.on('snapshot', ({ telemetry }) => {
      if (telemetry !== undefined) {
        this.point(telemetry);
      }
    });
    subscription.on('gap', () => {
      if (this.last !== undefined) {
        this.push({ t: this.last.serverTs + 1, value: null });
      }
    });
    return [];
  }

  protected next(_subscription: Subscription, before: readonly HistoryPoint[]): readonly HistoryPoint[] {
    const points = [...before, ...this.fresh].slice(-this.keep);
    this.fresh = [];
    return points;
  }

  private point(message: Telemetry): void {
    const { last } = this;
    const value = valueAt(message.payload, this.field);
    // A snapshot may show what has just come.
    if (value !== undefined && (last?.epoch !== message.epoch || last.offset !== message.offset)) {
      this.last = message;
      this.push({ t: message.serverTs, value });
    }
  }

  private push(point: HistoryPoint): void {
    this.fresh.push(point);
    if (this.fresh.length > 2 * this.keep) {
      this.fresh = this.fresh.slice(-this.keep); // nothing is painted, as in a hidden page
    }
    this.changed();
  }
}

/** A member by its name, else by a path of names, as the server selects `fields`. */
function valueAt(payload: unknown, field: string | null): unknown {
  if (field === null) {
    return payload;
  }
  const member = (from: unknown, name: string): unknown =>
    typeof from === 'object' && from !== null && Object.hasOwn(from, name)
      ? (from as Record<string, unknown>)[name]
      : undefined;
  return member(payload, field) ?? field.split('.').reduce(member, payload);
}
