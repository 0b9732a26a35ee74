import type { Delivery, Position, Room, Telemetry } from './messages.js';
import { select, summarise } from './options.js';
import type { Subscription } from './subscription.js';
import { copyOf } from './telemetry.js';

/** Options as the server was asked for them. */
export interface Wire {
  readonly delivery: Delivery;
  readonly key: string;
}

/** Publications of a rewind that are older than a subscription asked for, while others asked for more. */
interface Floor {
  readonly until: number;
  readonly minTs: number;
}

/** What one subscription hears of one device: its own place, and its own options where the server was asked for wider ones. */
export class Hearing {
  /** The last publication it was given, or where it begins. */
  heard: Position | undefined;
  /** It was told what is known of the device. */
  introduced = false;
  /** Its rewind is asked for: until the answer, what others of the same device hear is not for it, since the rewind brings that too. */
  awaitsRewind = false;
  private floor: Floor | undefined;
  private sentTs = -Infinity;
  private pending: Telemetry | undefined;
  private window: { summary: unknown; count: number; from: number } | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly subscription: Subscription) {
    // From now on, not from the request on: while a connection is being restored, that is sent later.
    this.awaitsRewind = !subscription.isPattern && subscription.rewind !== undefined;
  }

  /** A rewind begins for it, perhaps a wider one than it asked for. */
  rewound({ epoch, offset, rewoundFrom = 0 }: Room, nowTs: number): void {
    const { rewind } = this.subscription;
    const first = !rewind ? offset - 1 : offset - (rewind.count ?? offset);
    this.heard = { epoch, offset: Math.max(rewoundFrom, first) };
    this.floor = rewind?.ms === undefined ? undefined : { until: offset, minTs: nowTs - rewind.ms };
  }

  /** @param wire the options with which the server sends it */
  take(message: Telemetry, wire: Wire): void {
    const { heard, floor, subscription } = this;
    const { epoch, offset } = message;
    if (this.awaitsRewind) {
      return;
    }
    this.introduced = true;
    if (heard?.epoch === epoch && offset <= heard.offset) {
      return;
    }
    if (floor && offset < floor.until && message.serverTs < floor.minTs) {
      this.heard = { epoch, offset };
      return;
    }
    if (wire.key === subscription.key) {
      this.give(message, heard);
      return;
    }
    const { fields, aggregate, maxRateHz } = subscription.delivery;
    const own = narrowed(message, fields);
    const { delivery } = wire;
    if (!own) {
      return;
    }
    if (!maxRateHz || (delivery.maxRateHz === maxRateHz && delivery.aggregate === aggregate)) {
      this.give(own, heard);
    } else {
      this.limit(own, 1_000 / maxRateHz, aggregate === true);
    }
  }

  /** What waits for its interval is due. */
  flush(): void {
    const { pending, window } = this;
    this.stop();
    if (pending && window) {
      const { summary, count, from } = window;
      this.give(
        { ...pending, payload: summary, aggregated: { count, from, to: pending.serverTs } },
        this.heard,
      );
    } else if (pending) {
      this.give(pending, this.heard);
    }
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = this.pending = this.window = undefined;
  }

  /** It is as if it had heard nothing. */
  restart(): void {
    this.stop();
    this.heard = undefined;
    this.introduced = this.awaitsRewind = false;
  }

  private limit(message: Telemetry, intervalMs: number, aggregate: boolean): void {
    if (this.pending && message.serverTs >= this.sentTs + intervalMs) {
      this.sentTs += intervalMs;
      this.flush();
    }
    if (aggregate) {
      if (!this.window) {
        this.window = { summary: undefined, count: 0, from: message.serverTs };
        this.sentTs = message.serverTs;
      }
      this.window.summary = summarise(this.window.summary, message.payload);
      this.window.count += 1;
    } else if (message.serverTs >= this.sentTs + intervalMs) {
      this.sentTs = message.serverTs;
      this.give(message, this.heard);
      return;
    }
    this.pending = message;
    this.timer ??= setTimeout(() => this.flush(), intervalMs);
  }

  private give(message: Telemetry, heard: Position | undefined): void {
    const { epoch, offset } = message;
    this.heard = { epoch, offset };
    const skipped = heard?.epoch === epoch ? offset - heard.offset - 1 : (message.skipped ?? 0);
    this.subscription.telemetry(skipped === (message.skipped ?? 0) ? message : withSkipped(message, skipped));
  }
}

function withSkipped(message: Telemetry, skipped: number): Telemetry {
  return copyOf(message, { skipped: skipped || undefined });
}

function narrowed(message: Telemetry, fields: readonly string[] | undefined): Telemetry | undefined {
  if (!fields) {
    return message;
  }
  const payload = select(message.payload, fields);
  return payload === undefined ? undefined : { ...message, payload };
}
