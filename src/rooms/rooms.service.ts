import { Inject, Injectable, type OnModuleInit } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { DeliveryContext } from '../delivery/delivery-context.js';
import { textFrame, textFrameOf } from '../delivery/text-frame.js';
import { contain } from '../logging/walls.js';
import { mirrorGauge } from '../metrics/hot-counters.js';
import { Metrics } from '../metrics/metrics.js';
import type { MessageId, Position, Rewind } from '../protocol/client-messages.js';
import type { DeliveryOptions } from '../protocol/delivery-options.js';
import type { SubscribedRoom } from '../protocol/server-messages.js';
import {
  BroadcastAdapter,
  type BroadcastReceiver,
  type DeviceStatus,
  type MetaBytes,
  type Publication,
  type RoomOrigin,
  type RoomState,
} from './broadcast-adapter.js';
import { FleetSubscriptions } from './fleet-subscriptions.js';
import { Introductions, publicationsOf } from './introductions.js';
import { type Member, Room, type Subscription } from './room.js';
import { RoomRegistry } from './room-registry.js';
import { statusJson } from './snapshot-source.js';

/** What a connection asks for; ids are legal, granted and unique. */
interface SubscribeRequest {
  deviceIds: readonly string[];
  /** Ids that were malformed or not granted; named in the answer. */
  denied: readonly string[];
  id?: MessageId;
  delivery: DeliveryOptions;
  since?: ReadonlyMap<string, Position>;
  rewind?: Rewind;
  /** Called with the number of publications that history brings. */
  onRewound?: (publications: number) => void;
  /** The subscription that opens a connection: no snapshot frame if nothing is known. */
  opening?: boolean;
}

/** Rooms of devices: who watches what here, and what the adapter fans out for them. Device messages go straight into the adapter. */
@Injectable()
export class RoomsService implements BroadcastReceiver, OnModuleInit {
  /** Subscriptions by pattern. */
  readonly fleet: FleetSubscriptions;
  private readonly registry: RoomRegistry;
  private readonly introductions: Introductions;
  private readonly asks = new Asks();

  constructor(
    @Inject(CONFIG) config: Config,
    private readonly adapter: BroadcastAdapter,
    private readonly metrics: Metrics,
    private readonly context: DeliveryContext,
  ) {
    this.registry = new RoomRegistry(adapter, metrics.hot, context.scheduler);
    this.introductions = new Introductions(adapter, config, metrics);
    this.fleet = new FleetSubscriptions(adapter, this.registry, this.introductions);
    adapter.bind(this);
    mirrorGauge(metrics.roomsOpen, () => this.roomCount);
    mirrorGauge(metrics.subscriptionsOpen, () => this.subscriptionCount);
  }

  async onModuleInit(): Promise<void> {
    await this.adapter.start();
  }

  /** Rooms with at least one local subscription. */
  get roomCount(): number {
    return this.registry.roomCount;
  }

  get watchesPatterns(): boolean {
    return this.fleet.hasPatterns;
  }

  /** Subscriptions of local connections. */
  get subscriptionCount(): number {
    return this.registry.subscriptionCount;
  }

  // From the connections

  /**
   * Subscribes and answers: `subscribed`, then one snapshot and, for rooms named in `since`, the missed publications; then live.
   * Subscribing again is idempotent, changes `delivery` at once, and restarts at `since`.
   */
  async subscribe(member: Member, request: SubscribeRequest): Promise<void> {
    const { id, deviceIds, denied, since, rewind, delivery } = request;
    const subscriptions = deviceIds.map((deviceId) => this.registry.join(member, deviceId, delivery));
    const ask = this.asks.begin(member, subscriptions);
    try {
      // Awaits only if there is something to wait for: in a storm of reconnects the rooms are attached already.
      const attaching = this.registry.attach(subscriptions);
      if (attaching !== null) {
        await attaching;
      }
      if (this.introductions.mustDrain(member, ask.own(subscriptions), request)) {
        await member.outbound.drained();
      }
      const own = ask.own(subscriptions);
      const stood = this.introductions.prepareRestart(own, delivery, request);
      const recovered =
        since === undefined ? undefined : await this.introductions.recover(member, own, since, ask);
      const rewound =
        rewind === undefined
          ? undefined
          : await this.introductions.rewind(
              own.filter(({ room }) => recovered?.has(room.deviceId) !== true),
              rewind,
              stood,
            );
      if (since !== undefined && recovered !== undefined) {
        this.introductions.dropReset(recovered, subscriptions, since);
      }
      if (rewound !== undefined) {
        request.onRewound?.(publicationsOf(rewound));
      }
      const current = subscriptions.filter((subscription) => subscription.current);
      const rooms = current.flatMap((one) => {
        const later = ask.laterOf(one);
        return later === undefined
          ? positionOf(one, since, recovered, rewound?.get(one))
          : standOf(one, since, later.answered);
      });
      member.outbound.send({ type: 'subscribed', id, rooms, denied });
      ask.answered = true;
      this.introductions.begin(member, ask.own(current), recovered, rewound, request.opening !== true);
    } finally {
      this.asks.end(member, ask);
    }
  }

  /** Leaves rooms; those not subscribed are ignored, and those that a pattern of the connection covers stay. */
  unsubscribe(member: Member, deviceIds: readonly string[]): void {
    for (const deviceId of deviceIds) {
      const subscription = member.subscriptions.get(deviceId);
      if (subscription !== undefined) {
        subscription.explicit = false;
        if (!this.fleet.covers(member, deviceId)) {
          this.registry.leave(subscription);
        }
      }
    }
  }

  /** The connection is closed: leaves all its rooms. */
  leave(member: Member): void {
    try {
      this.introductions.forget(member);
      this.fleet.forget(member);
    } catch (error) {
      contain('room', error);
    }
    for (const subscription of member.subscriptions.all()) {
      try {
        this.registry.leave(subscription);
      } catch (error) {
        contain('room', error); // the other rooms are left all the same
      }
    }
  }

  // From the adapter. Never throws back: an error of a room is not one of the store or the device message.

  onPublication(publication: Publication, receivedMono: number, origin: RoomOrigin): void {
    try {
      this.deliver(publication, receivedMono, origin);
    } catch (error) {
      contain('room', error);
    }
  }

  private deliver(publication: Publication, receivedMono: number, origin: RoomOrigin): void {
    const room = this.roomOf(publication.deviceId, origin);
    if (room === undefined) {
      return;
    }
    if (!this.context.isSampling(receivedMono)) {
      room.deliver(publication, origin);
      return;
    }
    const start = performance.now();
    room.deliver(publication, origin);
    this.metrics.broadcastDuration.observe((performance.now() - start) / 1000);
    this.context.sampleLatency(receivedMono);
  }

  onTraced(deviceId: string, traceparent: string, receivedAt: number): void {
    if (this.registry.get(deviceId) !== undefined) {
      this.context.deliversTraced(traceparent, receivedAt);
    }
  }

  onStatus(deviceId: string, status: DeviceStatus): void {
    const room = this.registry.get(deviceId);
    if (room !== undefined) {
      room.status = status;
      this.tell(room, () => textFrame(statusJson(deviceId, status)));
    }
  }

  onMeta(deviceId: string, meta: MetaBytes): void {
    const room = this.registry.get(deviceId);
    if (room !== undefined) {
      room.meta = meta;
      const head = `{"type":"device_meta","deviceId":${JSON.stringify(deviceId)},"meta":`;
      const tail = `,"serverTs":${Date.now()}}`;
      this.tell(room, () => textFrameOf([Buffer.from(head), meta ?? Buffer.from('null'), Buffer.from(tail)]));
    }
  }

  onReset(state: RoomState): void {
    const room = this.registry.get(state.deviceId);
    if (room === undefined) {
      return;
    }
    try {
      room.reset(state);
    } catch (error) {
      contain('room', error);
    }
    // A copy: holding a member reorders the list.
    for (const subscription of [...room.audience.members]) {
      if (subscription.introduced) {
        try {
          room.hold(subscription);
          this.introductions.restart(subscription);
        } catch (error) {
          subscription.outbound.fail(error);
        }
      }
    }
  }

  onDevice(deviceId: string): void {
    try {
      this.fleet.onDevice(deviceId);
    } catch (error) {
      contain('room', error);
    }
  }

  private roomOf(deviceId: string, origin: RoomOrigin): Room | undefined {
    const { found } = origin;
    if (found instanceof Room && found.open) {
      return found;
    }
    const room = this.registry.get(deviceId);
    origin.found = room ?? null;
    return room;
  }

  /** One frame for all introduced members: for the others the change is part of the snapshot to come. */
  private tell({ audience }: Room, make: () => Buffer): void {
    let frame: Buffer;
    try {
      frame = make();
    } catch (error) {
      contain('room', error);
      return;
    }
    for (const { introduced, outbound } of audience.members) {
      if (introduced) {
        try {
          outbound.control(frame);
        } catch (error) {
          outbound.fail(error);
        }
      }
    }
  }
}

/** A `subscribe` that is being answered. */
class Ask {
  answered = false;
  /** Subscriptions that a later one of the connection restarts: this one leaves them alone from then on. */
  private lost: Map<Subscription, Ask> | null = null;
  /** Made when a later one comes, and once: dozens of them may come, with thousands of devices each. */
  private all: ReadonlySet<Subscription> | null = null;

  constructor(private readonly subscriptions: readonly Subscription[]) {}

  lose(subscriptions: readonly Subscription[], to: Ask): void {
    this.all ??= new Set(this.subscriptions);
    for (const subscription of subscriptions) {
      if (this.all.has(subscription)) {
        (this.lost ??= new Map()).set(subscription, to);
      }
    }
  }

  /** The message that restarts it in place of this one. */
  laterOf(subscription: Subscription): Ask | undefined {
    return this.lost === null ? undefined : this.lost.get(subscription);
  }

  has(subscription: Subscription): boolean {
    return this.laterOf(subscription) === undefined;
  }

  /** Those of these that it has not lost. */
  own(subscriptions: readonly Subscription[]): readonly Subscription[] {
    return this.lost === null ? subscriptions : subscriptions.filter((one) => this.has(one));
  }
}

/**
 * The `subscribe` messages of each connection that wait for the store. They overtake one another: of two that name the same device the later
 * one counts, however long either takes.
 */
class Asks {
  private readonly underWay = new Map<Member, Ask[]>();

  begin(member: Member, subscriptions: readonly Subscription[]): Ask {
    const ask = new Ask(subscriptions);
    const earlier = this.underWay.get(member);
    if (earlier === undefined) {
      this.underWay.set(member, [ask]);
    } else {
      earlier.forEach((one) => one.lose(subscriptions, ask));
      earlier.push(ask);
    }
    return ask;
  }

  end(member: Member, ask: Ask): void {
    const left = this.underWay.get(member)?.filter((one) => one !== ask) ?? [];
    if (left.length === 0) {
      this.underWay.delete(member);
    } else {
      this.underWay.set(member, left);
    }
  }
}

/** A room's position as an answer gives it; for rooms named in `since` also whether it continues there, for rewound ones where they begin. */
function positionOf(
  { room }: Subscription,
  since: ReadonlyMap<string, Position> | undefined,
  recovered: ReadonlySet<string> | undefined,
  rewoundFrom: number | undefined,
): SubscribedRoom {
  const { deviceId, epoch, offset } = room;
  const isNamed = since?.has(deviceId) === true;
  return isNamed || rewoundFrom !== undefined
    ? {
        ...{ deviceId, epoch, offset, rewoundFrom },
        recovered: isNamed ? recovered?.has(deviceId) === true : undefined,
      }
    : room;
}

/**
 * The same where a later message begins the subscription: nothing follows. If the later answer went out before, the position is that of the last
 * publication sent, so that the client goes on from there; not named where that one still waits for the socket.
 */
function standOf(
  { room, lastOffset, outbound }: Subscription,
  since: ReadonlyMap<string, Position> | undefined,
  isAnswered: boolean,
): SubscribedRoom | [] {
  const { deviceId, epoch, offset } = room;
  const recovered = since?.has(deviceId) === true ? { recovered: false } : {};
  if (isAnswered) {
    return outbound.blocked ? [] : { deviceId, epoch, offset: lastOffset, ...recovered };
  }
  return { deviceId, epoch, offset, ...recovered };
}
