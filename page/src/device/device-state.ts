import type { SluiceClient, Subscription, Telemetry } from '../../../client/src/index.js';
import { Store } from '../core/store.js';
import { Device } from '../fleet/device.js';
import type { Meter } from '../session/meter.js';
import { History } from './history.js';

/** More often than this nobody reads, and no chart of this size shows. */
const MAX_RATE_HZ = 10;
/** All that the server's history has. */
const REWIND_MS = 3_600_000;

/** One device as its page shows it: everything it says, and what it said before. */
export class DeviceState extends Store {
  readonly device: Device;
  readonly history = new History();
  denied: string | undefined;
  isReady = false;
  private readonly subscription: Subscription;
  private frame: number | undefined;

  constructor(
    client: SluiceClient,
    readonly id: string,
    meter: Meter,
    known: Device | undefined,
  ) {
    super();
    this.device = new Device(id);
    known?.log.forEach((change) => this.device.log.push(change));
    if (known !== undefined) {
      this.device.meta = known.meta;
      this.device.status = known.status;
      // Shown until history comes, which has it too.
      this.device.telemetry = known.telemetry;
      this.device.intervalMs = known.intervalMs;
    }
    this.subscription = client.subscribe([id], {
      mode: 'latest',
      maxRateHz: MAX_RATE_HZ,
      meta: 'once',
      rewind: { ms: REWIND_MS },
    });
    this.subscription.on('telemetry', (message) => this.heard(message));
    this.subscription.on('snapshot', (state) => {
      this.device.show(state);
      if (state.telemetry !== undefined) {
        this.history.take(state.telemetry);
      }
      this.soon();
    });
    this.subscription.on('status', (status) => {
      this.device.setStatus(status);
      this.soon();
    });
    this.subscription.on('meta', ({ meta: metadata }) => {
      this.device.setMeta(metadata);
      this.soon();
    });
    this.subscription.on('gap', () => {
      meter.gaps += 1;
      this.history.gap();
    });
    this.subscription.on('denied', ({ code }) => {
      this.denied = code;
      this.soon();
    });
    const ready = (): void => {
      this.isReady = true;
      this.soon();
    };
    this.subscription.ready.then(ready, ready);
  }

  end(): void {
    this.subscription.close();
    if (this.frame !== undefined) {
      cancelAnimationFrame(this.frame);
    }
  }

  private heard(message: Telemetry): void {
    this.denied = undefined;
    this.device.take(message);
    this.history.take(message);
    this.soon();
  }

  private soon(): void {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.changed();
    });
  }
}
