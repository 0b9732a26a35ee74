import { Emitter } from './emitter.js';
import type { Delivery, DeviceMeta, DeviceState, DeviceStatus, Rewind, Telemetry } from './messages.js';
import { narrowed, normal } from './options.js';
import { copyOf } from './telemetry.js';
import { closed, type SluiceError, type SluiceErrorCode } from './sluice-error.js';

export interface SubscribeOptions extends Delivery {
  /** The last publications of history first. */
  rewind?: Rewind;
  /** Messages that an iterator keeps for a slow reader; the oldest go. Default 1 000. */
  keep?: number;
  /** Closes the subscription. */
  signal?: AbortSignal;
}

export interface SubscriptionEvents<Payload = unknown> {
  /** Each publication once and in order, also over lost connections. */
  telemetry: Telemetry<Payload>;
  /** What is known of a device when it begins, and after a `gap`. Its telemetry is a value, not a publication. */
  snapshot: DeviceState<Payload>;
  status: DeviceStatus;
  meta: DeviceMeta;
  /** A device of the pattern. */
  device: { deviceId: string };
  /** Publications of a device are missing before what follows: clear a chart, or mark the gap. */
  gap: { deviceId: string };
  /** The token does not grant these (now), or the server refuses them (`code` says why); of a pattern its text. */
  denied: { deviceIds: readonly string[]; code: SluiceErrorCode };
}

const KEEP = 1_000;

/** What the client does for its subscriptions. */
export interface SubscriptionOwner {
  leave(subscription: Subscription): void;
  stateOf(subscription: Subscription, deviceId: string): DeviceState | undefined;
}

/** A wish for some devices, or for all that match a pattern. Several to one device are one at the server. */
export class Subscription<Payload = unknown>
  extends Emitter<SubscriptionEvents<Payload>>
  implements AsyncIterable<Telemetry<Payload> & { dropped?: number }>
{
  /** Once the server has answered for all of it; rejects when it is closed before, or refused. */
  readonly ready: Promise<{ denied: readonly string[] }>;
  /** @internal */
  readonly delivery: Delivery;
  /** @internal */
  readonly rewind: Rewind | undefined;
  /** What the server has not answered yet. @internal */
  readonly open: Set<string>;
  private readonly refused = new Set<string>();
  private readonly readers = new Set<(message: Telemetry | null) => void>();
  /** @internal */
  readonly key: string;
  /** Of a pattern: the server was asked for it. @internal */
  asked = false;
  private readonly kept: number;
  private settle!: (answer: { denied: readonly string[] }) => void;
  private fail!: (error: SluiceError) => void;
  readonly closed: boolean = false;

  /** @internal @param targets device ids, or one pattern */
  constructor(
    readonly targets: readonly string[],
    readonly isPattern: boolean,
    { rewind, keep = KEEP, signal, ...delivery }: SubscribeOptions,
    private readonly owner: SubscriptionOwner,
  ) {
    super();
    this.delivery = normal(delivery);
    this.key = JSON.stringify(this.delivery);
    this.rewind = rewind;
    this.kept = keep;
    this.open = new Set(targets);
    this.ready = new Promise((resolve, reject) => {
      this.settle = resolve;
      this.fail = reject;
    });
    this.ready.catch(() => undefined); // who does not ask is told by events
    if (targets.length === 0) {
      this.settle({ denied: [] });
    }
    signal?.addEventListener('abort', () => this.close());
    if (signal?.aborted === true) {
      queueMicrotask(() => this.close());
    }
  }

  /** What is known of a device of this subscription now: its newest telemetry, status and metadata. */
  get(deviceId: string): Omit<DeviceState<Payload>, 'deviceId'> | undefined {
    const state = this.closed ? undefined : this.owner.stateOf(this, deviceId);
    return !state ? undefined : this.own(state);
  }

  /** The server is asked to send nothing more when this is the last subscription of a device. */
  close(): void {
    this.end(closed());
  }

  /**
   * Telemetry, as it comes. A reader that does not follow loses the oldest, and `dropped` of its next message says how many.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Telemetry<Payload> & { dropped?: number }, void> {
    const kept: Telemetry<Payload>[] = [];
    let dropped = 0;
    let wake: (() => void) | undefined;
    let ended = this.closed;
    const reader = (message: Telemetry | null): void => {
      if (message === null) {
        ended = true;
      } else if (kept.push(message as Telemetry<Payload>) > this.kept) {
        kept.shift();
        dropped += 1;
      }
      wake?.();
    };
    this.readers.add(reader);
    try {
      for (;;) {
        const message = kept.shift();
        if (message) {
          const lost = dropped;
          dropped = 0;
          yield lost === 0 ? message : copyOf(message, { dropped: lost });
        } else if (ended) {
          return;
        } else {
          await new Promise<void>((resolve) => (wake = resolve));
        }
      }
    } finally {
      this.readers.delete(reader);
    }
  }

  // From the client.

  /** @internal */
  give(message: Telemetry): void {
    this.readers.forEach((read) => read(message));
    this.emit('telemetry', message as Telemetry<Payload>);
  }

  /** @internal */
  show(state: DeviceState): void {
    this.emit('snapshot', this.own(state));
  }

  /** @internal The server has answered for a device or the pattern. */
  answered(target: string, error?: SluiceError): void {
    const { open, refused } = this;
    open.delete(target);
    if (!error) {
      refused.delete(target);
    } else if (!refused.has(target)) {
      refused.add(target);
      this.emit('denied', { deviceIds: [target], code: error.code });
    }
    if (error && error.code !== 'forbidden') {
      this.fail(error);
    } else if (open.size === 0) {
      this.settle({ denied: [...refused] });
    }
  }

  /** @internal */
  end(error: SluiceError): void {
    if (!this.closed) {
      (this as { closed: boolean }).closed = true;
      this.fail(error);
      this.readers.forEach((read) => read(null));
      this.owner.leave(this);
    }
  }

  /** The state as this subscription has asked for it. */
  private own(state: DeviceState): DeviceState<Payload> {
    const { telemetry } = state;
    const own = telemetry && narrowed(telemetry, this.delivery.fields);
    return (own === telemetry ? state : { ...state, telemetry: own }) as DeviceState<Payload>;
  }
}
