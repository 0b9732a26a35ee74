import { contain } from '../logging/walls.js';
import type { HotCounters } from '../metrics/hot-counters.js';
import type { DeliveryOptions } from '../protocol/delivery-options.js';
import { Aggregate } from './aggregate.js';
import { type Feed, type Publication, TelemetryFrames, type TelemetryTemplate } from './telemetry-frame.js';
import { FieldSelection } from './field-selection.js';
import type { Recipient } from './lanes.js';
import type { Scheduler } from '../time/clock.js';

const NOTHING = Buffer.alloc(0);

/**
 * The subscriptions of one room with equal `fields`, `maxRateHz`, `aggregate` and `meta`: selected, limited, computed and framed once for all of
 * them.
 *
 * With a rate the first publication is sent at once. Later ones within the interval replace one another, and the last is sent when the
 * interval ends, so that a device that falls silent is shown with its final value. With `aggregate` a publication opens a window, which is
 * sent as a summary one interval later.
 *
 * A value that cannot be selected, computed or framed is dropped in this group only.
 */
export class DeliveryGroup implements Feed {
  readonly live = new LiveList();
  frames: TelemetryFrames | null = null;
  private readonly selection: FieldSelection | null;
  private readonly intervalMs: number;
  private readonly aggregated: boolean;
  private sentAt = Number.NEGATIVE_INFINITY;
  private pending: Publication | null = null;
  private window: Aggregate | null = null;
  private cancel: (() => void) | null = null;

  constructor(
    options: DeliveryOptions,
    readonly template: TelemetryTemplate,
    private readonly hot: HotCounters,
    private readonly scheduler: Scheduler,
  ) {
    this.selection = planOf(options).selection;
    this.intervalMs = options.maxRateHz === undefined ? 0 : 1_000 / options.maxRateHz;
    this.aggregated = options.aggregate === true;
  }

  /** The room's next publication. */
  offer(publication: Publication): void {
    const collected = this.window === null ? 0 : this.window.count;
    try {
      this.take(publication);
    } catch (error) {
      // The window may be half updated: it is dropped with its publications.
      this.stop();
      this.dropped(error, collected + 1);
    }
  }

  private take(publication: Publication): void {
    const shaped = this.select(publication);
    if (shaped === null) {
      this.count('filtered', 1);
    } else if (this.aggregated) {
      this.collect(shaped);
    } else if (this.intervalMs === 0) {
      this.emit(shaped, '');
    } else {
      this.limit(shaped);
    }
  }

  shape(publication: Publication): Publication | null {
    try {
      return this.select(publication);
    } catch (error) {
      contain('delivery', error);
      return null;
    }
  }

  private select(publication: Publication): Publication | null {
    if (this.selection === null) {
      return publication;
    }
    const selected = this.selection.select(parsePayload(publication));
    return selected === undefined ? null : { ...publication, payload: Buffer.from(JSON.stringify(selected)) };
  }

  /** No subscription is left: stops sending. */
  stop(): void {
    this.cancel?.();
    this.cancel = null;
    this.pending = null;
    this.window?.release();
    this.window = null;
  }

  private limit(publication: Publication): void {
    if (this.pending !== null) {
      this.pending = publication;
      this.count('conflated', 1);
      return;
    }
    const wait = this.sentAt + this.intervalMs - this.scheduler.now();
    if (wait <= 0) {
      this.emit(publication, '');
      return;
    }
    this.pending = publication;
    this.cancel = this.scheduler.after(wait, () => {
      const { pending } = this;
      this.cancel = null;
      this.pending = null;
      if (pending !== null) {
        try {
          this.emit(pending, '');
        } catch (error) {
          this.dropped(error, 1);
        }
      }
    });
  }

  private collect(publication: Publication): void {
    const window = (this.window ??= new Aggregate(this.hot));
    window.add(parsePayload(publication), publication.serverTs);
    // The window has already taken what it needs from the payload.
    this.pending = { ...publication, payload: NOTHING };
    this.cancel ??= this.scheduler.after(this.intervalMs, () => this.closeWindow());
  }

  private closeWindow(): void {
    const { window, pending } = this;
    this.cancel = null;
    this.window = null;
    this.pending = null;
    if (window !== null && pending !== null) {
      const { count, from, to, truncated } = window;
      const cut = truncated ? ',"truncated":true' : '';
      window.release();
      try {
        const payload = window.payload();
        this.count('conflated', count - 1);
        this.emit(
          { ...pending, payload },
          `,"aggregated":{"count":${count},"from":${from},"to":${to}${cut}}`,
        );
      } catch (error) {
        this.dropped(error, count);
      }
    }
  }

  private emit(publication: Publication, extra: string): void {
    this.sentAt = this.scheduler.now();
    const frames = new TelemetryFrames(publication, this.template, extra);
    this.frames = frames;
    const { members } = this.live;
    this.hot.due += members.length;
    deliver(members, members.length, frames);
  }

  private dropped(error: unknown, publications: number): void {
    contain('delivery', error);
    this.count('failed', publications);
  }

  private count(what: 'filtered' | 'conflated' | 'failed', publications: number): void {
    const concerned = publications * this.live.members.length;
    this.hot.due += concerned;
    this.hot[what] += concerned;
  }
}

/** Derived from the options of a subscription, once, and shared by all rooms subscribed with the same options. */
interface DeliveryPlan {
  /** Subscriptions with equal keys are served together; empty for those that get every publication unchanged. */
  readonly key: string;
  readonly selection: FieldSelection | null;
}

const AS_IT_IS: DeliveryPlan = { key: '', selection: null };
/** By options object: all devices of one subscribe message share it. */
const plans = new WeakMap<DeliveryOptions, DeliveryPlan>();
/** Selections in use, by their fields: each lives as long as a subscription that uses it. */
const selections = new Map<string, WeakRef<FieldSelection>>();
const unused = new FinalizationRegistry((key: string) => {
  if (selections.get(key)?.deref() === undefined) {
    selections.delete(key);
  }
});

export function planOf(options: DeliveryOptions): DeliveryPlan {
  const { fields, maxRateHz, aggregate, meta } = options;
  if (fields === undefined && maxRateHz === undefined && meta === undefined) {
    return AS_IT_IS;
  }
  let plan = plans.get(options);
  if (plan === undefined) {
    const selection = fields === undefined ? null : selectionOf([...new Set(fields)].sort());
    const key = `${maxRateHz ?? 0} ${aggregate === true} ${meta ?? ''} ${selection?.key ?? ''}`;
    plan = { key, selection };
    plans.set(options, plan);
  }
  return plan;
}

function selectionOf(fields: readonly string[]): FieldSelection {
  const key = JSON.stringify(fields);
  let selection = selections.get(key)?.deref();
  if (selection === undefined) {
    selection = new FieldSelection(fields, key);
    selections.set(key, new WeakRef(selection));
    unused.register(selection, key);
  }
  return selection;
}

/**
 * Delivers a publication to the first `count` subscriptions: the inner loop of the product. An error ends the connection it belongs to; the
 * loop is then re-entered after that receiver, so that the others pay nothing for the try block.
 */
export function deliver(members: readonly Recipient[], count: number, frames: TelemetryFrames): void {
  let at = 0;
  while (at < count) {
    try {
      for (; at < count; at += 1) {
        const subscription = members[at] as Recipient;
        subscription.outbound.telemetry(subscription, frames);
      }
    } catch (error) {
      (members[at] as Recipient).outbound.fail(error, 1);
      at += 1;
    }
  }
}

/**
 * Subscriptions of a group, in the array that the fan-out loop walks; adding and removing are O(1). The seats are kept here: most
 * subscriptions are in no group, and a field would take 8 bytes of each.
 */
class LiveList {
  readonly members: Recipient[] = [];
  private readonly seats = new Map<Recipient, number>();

  add(subscription: Recipient): void {
    this.seats.set(subscription, this.members.length);
    this.members.push(subscription);
  }

  remove(subscription: Recipient): void {
    const seat = this.seats.get(subscription);
    if (seat === undefined) {
      return;
    }
    this.seats.delete(subscription);
    const last = this.members.pop() as Recipient;
    if (last !== subscription) {
      this.members[seat] = last;
      this.seats.set(last, seat);
    }
  }
}

let lastPayload: Buffer | null = null;
let lastValue: unknown = undefined;

/** The parsed payload. Several groups of a room need the same one in turn, so the last result is cached; callers must not change it. */
function parsePayload({ payload }: Publication): unknown {
  if (payload !== lastPayload) {
    lastValue = JSON.parse(payload.toString());
    lastPayload = payload;
  }
  return lastValue;
}
