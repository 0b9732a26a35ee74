import type { Delivery, Position, Room, Telemetry } from './messages.js';
import { narrowed, summarise } from './options.js';
import type { Subscription } from './subscription.js';
import { copyOf, isAfter, positionOf } from './telemetry.js';

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

/** A summary that is open. */
interface Summary {
  made: unknown;
  parts: number;
  firstTs: number;
}

/** What one subscription hears of one device: its own place, and its own options where the server was asked for wider ones. */
export class Hearing {
  /** The last publication it was given, or where it begins. */
  heard: Position | undefined;
  /** It was told what is known of the device. */
  introduced = false;
  /** Its rewind is asked for: until the answer, what others of the same device hear is not for it, since the rewind brings that too. */
  awaitsRewind = false;
  private lowest: Floor | undefined;
  private sentTs = -Infinity;
  private pending: Telemetry | undefined;
  private open: Summary | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly subscription: Subscription) {
    // From now on, not from the request on: while a connection is being restored, that is sent later.
    this.awaitsRewind = !subscription.isPattern && subscription.rewind !== undefined;
  }

  /** A rewind begins for it, perhaps a wider one than it asked for. */
  begin({ epoch, offset, rewoundFrom = 0 }: Room, nowTs: number): void {
    const { rewind } = this.subscription;
    const first = !rewind ? offset - 1 : offset - (rewind.count ?? offset);
    this.heard = { epoch, offset: Math.max(rewoundFrom, first) };
    this.lowest = rewind?.ms === undefined ? undefined : { until: offset, minTs: nowTs - rewind.ms };
  }

  /** @param wire the options with which the server sends it */
  take(message: Telemetry, wire: Wire): void {
    const { heard, lowest, subscription } = this;
    if (this.awaitsRewind) {
      return;
    }
    this.introduced = true;
    if (!isAfter(heard, message)) {
      return;
    }
    if (lowest && message.offset < lowest.until && message.serverTs < lowest.minTs) {
      this.heard = positionOf(message);
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
    const { pending, open } = this;
    this.stop();
    if (pending) {
      const aggregated = open && { count: open.parts, from: open.firstTs, to: pending.serverTs };
      this.give(open ? { ...pending, payload: open.made, aggregated } : pending, this.heard);
    }
  }

  stop(): void {
    clearTimeout(this.timer);
    this.timer = this.pending = this.open = undefined;
  }

  /** It is as if it had heard nothing. */
  forget(): void {
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
      if (!this.open) {
        this.sentTs = message.serverTs;
        this.open = { made: undefined, parts: 0, firstTs: this.sentTs };
      }
      this.open.made = summarise(this.open.made, message.payload);
      this.open.parts += 1;
    } else if (message.serverTs >= this.sentTs + intervalMs) {
      this.sentTs = message.serverTs;
      this.give(message, this.heard);
      return;
    }
    this.pending = message;
    this.timer ??= setTimeout(() => this.flush(), intervalMs);
  }

  private give(message: Telemetry, heard: Position | undefined): void {
    const { epoch, offset, skipped = 0 } = message;
    this.heard = positionOf(message);
    const own = heard?.epoch === epoch ? offset - heard.offset - 1 : skipped;
    this.subscription.give(own === skipped ? message : copyOf(message, { skipped: own || undefined }));
  }
}
