import { deliver, DeliveryGroup, planOf } from '../delivery/delivery-group.js';
import { type Feed, TelemetryFrames, TelemetryTemplate } from '../delivery/telemetry-frame.js';
import type { Outbound, OutboundOwner } from '../delivery/outbound.js';
import type { Recipient } from '../delivery/lanes.js';
import type { Scheduler } from '../time/clock.js';
import type { HotCounters } from '../metrics/hot-counters.js';
import { DEFAULT_DELIVERY, type DeliveryOptions } from '../protocol/delivery-options.js';
import type { DeviceStatus, MetaBytes, Publication, RoomOrigin, RoomState } from './broadcast-adapter.js';

/**
 * The local audience of one device, and what is known of the device while somebody watches. As a {@link Feed} it serves the subscriptions
 * that get every publication unchanged; others are served by one group per distinct set of options.
 */
export class Room implements Feed {
  epoch = '';
  offset = 0;
  status: DeviceStatus | null = null;
  meta: MetaBytes = null;
  /** Resolves when the adapter has attached the room and its state is known; null from then on. */
  ready: Promise<void> | null = null;
  readonly audience = new Audience();
  /** False once the last member has left. */
  open = true;
  /** The newest publication if {@link origin} does not have it: from the state of an attach or a reset. */
  private last: Publication | null = null;
  private origin: RoomOrigin | null = null;
  private newest: TelemetryFrames | null = null;
  private lazyTemplate: TelemetryTemplate | null = null;
  private lazyTemplateOfOnce: TelemetryTemplate | null = null;
  private groups: Map<string, DeliveryGroup> | null = null;

  constructor(
    readonly deviceId: string,
    private readonly hot: HotCounters,
    private readonly scheduler: Scheduler,
  ) {}

  /** Created with the first frame: most rooms of a large pattern stay silent. */
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

  /** Takes over the state read at attach; live events that came meanwhile are newer and stay. */
  apply(state: RoomState): void {
    if (this.epoch === '' || (state.epoch === this.epoch && state.offset > this.offset)) {
      this.epoch = state.epoch;
      this.offset = state.offset;
      this.keep(state.telemetry);
    }
    this.status ??= state.status;
    this.meta ??= state.meta;
  }

  /** Continues from `state`, whatever was known before. */
  reset(state: RoomState): void {
    this.epoch = state.epoch;
    this.offset = state.offset;
    this.keep(state.telemetry);
    this.status = state.status;
    this.meta = state.meta;
  }

  /** Delivers a publication to every live subscription: one frame for all of them. The inner loop is {@link deliver}'s. */
  deliver(publication: Publication, origin: RoomOrigin): void {
    this.offset = publication.offset;
    this.epoch = publication.epoch;
    // Not cached: one frame per device would be promoted to the old generation.
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
   * How these options shape a publication that is sent on its own. Groups exist for live subscriptions only: a subscription that never goes
   * live must not leave one behind that every publication would be offered to.
   */
  feedOf(delivery: DeliveryOptions): Feed {
    const { key } = planOf(delivery);
    return key === '' ? this : (this.groups?.get(key) ?? this.makeGroup(delivery));
  }

  /** From now on publications are delivered to this subscription. */
  goLive(subscription: Subscription): void {
    if (subscription.feed !== null) {
      return;
    }
    subscription.resumes = false;
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
      this.hot.deliveryGroups += 1;
    }
    subscription.feed = group;
    group.live.add(subscription);
  }

  /** Distinct sets of options among live subscriptions. */
  get groupCount(): number {
    return this.groups === null ? 0 : this.groups.size;
  }

  /** Publications are no longer delivered to this subscription, and what is queued for it is void. */
  hold(subscription: Subscription): void {
    const { feed } = subscription;
    subscription.renew();
    subscription.waiting = false;
    subscription.feed = null;
    if (feed instanceof DeliveryGroup) {
      feed.live.remove(subscription);
      if (feed.live.members.length === 0) {
        feed.stop();
        this.hot.deliveryGroups -= this.groups?.delete(planOf(subscription.delivery).key) === true ? 1 : 0;
      }
    } else {
      this.audience.hold(subscription);
    }
  }

  private makeGroup(delivery: DeliveryOptions): DeliveryGroup {
    const template =
      delivery.meta === 'once'
        ? (this.lazyTemplateOfOnce ??= new TelemetryTemplate(this.deviceId, false))
        : this.template;
    return new DeliveryGroup(delivery, template, this.hot, this.scheduler);
  }
}

/**
 * Every subscription of a room in one array, first those that get every publication unchanged; each knows its index. A set would be three
 * times the size, and a second array for the live ones would be one more to load and to grow per room of a connection.
 */
export class Audience {
  readonly members: Subscription[] = [];
  /** The first `live` {@link members} are live. */
  live = 0;

  get size(): number {
    return this.members.length;
  }

  /** @param subscription not a member yet, and not live */
  add(subscription: Subscription): void {
    subscription.seat = this.members.length;
    this.members.push(subscription);
  }

  remove(subscription: Subscription): void {
    if (subscription.seat < 0) {
      return;
    }
    this.hold(subscription);
    const last = this.members.pop() as Subscription;
    if (last !== subscription) {
      this.place(last, subscription.seat);
    }
    subscription.seat = -1;
  }

  goLive(subscription: Subscription): void {
    if (subscription.seat >= this.live) {
      this.exchange(subscription, this.live);
      this.live += 1;
    }
  }

  /** It is no longer live, but stays a member. */
  hold(subscription: Subscription): void {
    const { seat } = subscription;
    if (seat >= 0 && seat < this.live) {
      this.live -= 1;
      this.exchange(subscription, this.live);
    }
  }

  private exchange(subscription: Subscription, seat: number): void {
    const other = this.members[seat] as Subscription;
    if (other !== subscription) {
      this.place(other, subscription.seat);
      this.place(subscription, seat);
    }
  }

  private place(subscription: Subscription, seat: number): void {
    this.members[seat] = subscription;
    subscription.seat = seat;
  }
}

/** Bits of a subscription's marks. A field for each would be 32 bytes more on each of hundreds of thousands of subscriptions. */
const INTRODUCED = 1;
const RESUMES = 2;
const EXPLICIT = 4;
const WAITING = 8;
/** The bits above are its generation, which begins again after 2^28. */
const GENERATION_SHIFT = 4;

/** One connection in one room. */
export class Subscription implements Recipient {
  readonly outbound: Outbound;
  /** Offset of the last publication sent (or queued in order); `skipped` of the next one is computed from it. */
  lastOffset = 0;
  /** The feed that serves it; null until its snapshot or resume is complete. */
  feed: Feed | null = null;
  /** Index in the room's audience; -1 before it joined and after it left. */
  seat = -1;
  private marks = 0;

  constructor(
    member: Member,
    readonly room: Room,
    public delivery: DeliveryOptions = DEFAULT_DELIVERY,
  ) {
    this.outbound = member.outbound;
  }

  /** Whose subscription it is. Read through the outbound, which every delivery needs: a field for it would be 8 bytes more. */
  get member(): Member {
    return this.outbound.owner as Member;
  }

  /** Another number when its queued publications have become void: it left, was restarted, or its epoch changed. */
  get generation(): number {
    return this.marks >> GENERATION_SHIFT;
  }

  /** What is queued for it is void. */
  renew(): void {
    this.marks = (this.marks + (1 << GENERATION_SHIFT)) | 0;
  }

  /** The first snapshot was sent, so that changes of status and metadata make sense to the client. */
  get introduced(): boolean {
    return (this.marks & INTRODUCED) !== 0;
  }

  set introduced(is: boolean) {
    this.set(INTRODUCED, is);
  }

  /** It goes live at the end of what history brings: a snapshot that was asked for otherwise passes over it. */
  get resumes(): boolean {
    return (this.marks & RESUMES) !== 0;
  }

  set resumes(is: boolean) {
    this.set(RESUMES, is);
  }

  /** Requested by id, not (only) by a pattern. */
  get explicit(): boolean {
    return (this.marks & EXPLICIT) !== 0;
  }

  set explicit(is: boolean) {
    this.set(EXPLICIT, is);
  }

  /** In mode `latest`: it has an entry in the telemetry lane. */
  get waiting(): boolean {
    return (this.marks & WAITING) !== 0;
  }

  set waiting(is: boolean) {
    this.set(WAITING, is);
  }

  private set(flag: number, is: boolean): void {
    this.marks = is ? this.marks | flag : this.marks & ~flag;
  }

  /** Whether this is still the member's subscription of the room. */
  get current(): boolean {
    return this.seat >= 0;
  }
}

/** A connection as rooms see it. Implemented by the gateway's Connection. */
export interface Member extends OutboundOwner {
  /** The one ordered path to this connection's socket; its owner is this member. */
  readonly outbound: Outbound;
  /** Current subscriptions by device id. */
  readonly subscriptions: MemberRooms;
}

/** Up to this many are searched linearly: a map of them takes 300 bytes more, on each of tens of thousands of connections. */
const FEW = 16;

/** The subscriptions of one connection by device id. Most connections have few; some have a fleet. */
export class MemberRooms {
  private few: Subscription[] = [];
  private many: Map<string, Subscription> | null = null;

  get size(): number {
    return this.many === null ? this.few.length : this.many.size;
  }

  get(deviceId: string): Subscription | undefined {
    if (this.many !== null) {
      return this.many.get(deviceId);
    }
    for (const subscription of this.few) {
      if (subscription.room.deviceId === deviceId) {
        return subscription;
      }
    }
    return undefined;
  }

  /** {@link get} for a given room: compares identity instead of text. */
  of(room: Room): Subscription | undefined {
    if (this.many !== null) {
      return this.many.get(room.deviceId);
    }
    for (const subscription of this.few) {
      if (subscription.room === room) {
        return subscription;
      }
    }
    return undefined;
  }

  has(deviceId: string): boolean {
    return this.get(deviceId) !== undefined;
  }

  /** @param subscription of a room that is not among them yet */
  add(subscription: Subscription): void {
    if (this.many === null && this.few.length === FEW) {
      this.many = new Map(this.few.map((one) => [one.room.deviceId, one]));
      this.few = [];
    }
    if (this.many === null) {
      this.few = this.few.concat(subscription); // allocates what it needs, where push leaves room for more on every idle connection
    } else {
      this.many.set(subscription.room.deviceId, subscription);
    }
  }

  delete(subscription: Subscription): void {
    if (this.many !== null) {
      this.many.delete(subscription.room.deviceId);
      return;
    }
    const at = this.few.indexOf(subscription);
    if (at >= 0) {
      this.few.splice(at, 1);
    }
  }

  /** All of them, in the order of creation; a copy, which later changes do not affect. */
  all(): Subscription[] {
    return this.many === null ? this.few.slice() : [...this.many.values()];
  }

  ids(): string[] {
    return this.all().map(({ room }) => room.deviceId);
  }
}
