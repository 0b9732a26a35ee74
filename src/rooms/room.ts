import { deliver } from '../delivery/deliver.js';
import { DeliveryGroup } from '../delivery/delivery-group.js';
import { planOf } from '../delivery/delivery-plan.js';
import type { Feed } from '../delivery/feed.js';
import type { Scheduler } from '../delivery/scheduler.js';
import { TelemetryFrames, TelemetryTemplate } from '../delivery/telemetry-frame.js';
import type { HotCounters } from '../metrics/hot-counters.js';
import type { DeliveryOptions } from '../protocol/delivery-options.js';
import { Audience } from './audience.js';
import type { RoomOrigin } from './broadcast-adapter.js';
import type { DeviceStatus, MetaBytes, Publication, RoomState } from './publication.js';
import type { Subscription } from './subscription.js';

/**
 * The local audience of one device, and what is known of the device while somebody watches. As a {@link Feed} it serves the subscriptions
 * that get every publication as it is; those with options of their own are served by a group per distinct set of options.
 */
export class Room implements Feed {
  epoch = '';
  offset = 0;
  status: DeviceStatus | null = null;
  meta: MetaBytes = null;
  /** Resolves when the adapter has attached the room and its state is known; null from then on. */
  ready: Promise<void> | null = null;
  readonly audience = new Audience();
  /** False from when the last member has left it. */
  open = true;
  /** The newest publication where {@link origin} does not know it: what the adapter said at attach and at a reset. */
  private last: Publication | null = null;
  private origin: RoomOrigin | null = null;
  private newest: TelemetryFrames | null = null;
  private lazyTemplate: TelemetryTemplate | null = null;
  private groups: Map<string, DeliveryGroup> | null = null;

  constructor(
    readonly deviceId: string,
    private readonly hot: HotCounters,
    private readonly scheduler: Scheduler,
  ) {}

  /** Made with the first frame: most rooms of a large pattern stay silent. */
  get template(): TelemetryTemplate {
    return (this.lazyTemplate ??= new TelemetryTemplate(this.deviceId));
  }

  /** The newest publication, or a retained value that never was one. */
  get telemetry(): Publication | null {
    return this.origin === null ? this.last : this.origin.newest();
  }

  get frames(): TelemetryFrames | null {
    if (this.newest === null) {
      const { telemetry } = this;
      this.newest = telemetry === null ? null : new TelemetryFrames(telemetry, this.template);
    }
    return this.newest;
  }

  shape(publication: Publication): Publication {
    return publication;
  }

  /** Takes over what the adapter read at attach; what live events have brought meanwhile is newer and stays. */
  apply(state: RoomState): void {
    if (this.epoch === '' || (state.epoch === this.epoch && state.offset > this.offset)) {
      this.epoch = state.epoch;
      this.offset = state.offset;
      this.keep(state.telemetry);
    }
    this.status ??= state.status;
    this.meta ??= state.meta;
  }

  /** Goes on from `state`, whatever was known before. */
  reset(state: RoomState): void {
    this.epoch = state.epoch;
    this.offset = state.offset;
    this.keep(state.telemetry);
    this.status = state.status;
    this.meta = state.meta;
  }

  /** Hands a publication to every live subscription: one frame for all of them. The inner loop is {@link deliver}'s. */
  deliver(publication: Publication, origin: RoomOrigin): void {
    this.offset = publication.offset;
    this.epoch = publication.epoch;
    // Whoever needs the newest later has it framed again: what is kept for each device outlives the collector's nursery.
    this.newest = null;
    this.last = null;
    this.origin = origin;
    const frames = new TelemetryFrames(publication, this.template);
    const { members, live } = this.audience;
    this.hot.due += live;
    deliver(members, live, frames);
    if (this.groups !== null) {
      for (const group of this.groups.values()) {
        group.offer(publication);
      }
    }
  }

  private keep(publication: Publication | null): void {
    this.newest = null;
    this.last = publication;
    this.origin = null;
  }

  /**
   * How these options shape a publication that is sent on its own. Groups are kept for live subscriptions alone: one that never goes live
   * leaves nothing here that each publication would be offered to.
   */
  feedOf(delivery: DeliveryOptions): Feed {
    const { key } = planOf(delivery);
    return key === '' ? this : (this.groups?.get(key) ?? this.makeGroup(delivery));
  }

  /** From now on publications go to this subscription as they come. */
  goLive(subscription: Subscription): void {
    if (subscription.feed !== null) {
      return;
    }
    const { delivery } = subscription;
    const { key } = planOf(delivery);
    if (key === '') {
      subscription.feed = this;
      this.audience.goLive(subscription);
      return;
    }
    this.groups ??= new Map();
    let group = this.groups.get(key);
    if (group === undefined) {
      group = this.makeGroup(delivery);
      this.groups.set(key, group);
    }
    subscription.feed = group;
    group.live.add(subscription);
  }

  /** Sets of options that live subscriptions have. */
  get groupCount(): number {
    return this.groups === null ? 0 : this.groups.size;
  }

  /** Publications no longer go to this subscription, and what waits for it is void. */
  hold(subscription: Subscription): void {
    const { feed } = subscription;
    subscription.generation += 1;
    subscription.waiting = false;
    subscription.feed = null;
    if (feed instanceof DeliveryGroup) {
      feed.live.remove(subscription);
      if (feed.live.members.length === 0) {
        feed.stop();
        this.groups?.delete(planOf(subscription.delivery).key);
      }
    } else {
      this.audience.hold(subscription);
    }
  }

  private makeGroup(delivery: DeliveryOptions): DeliveryGroup {
    return new DeliveryGroup(delivery, this.template, this.hot, this.scheduler);
  }
}
