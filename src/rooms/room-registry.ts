import type { Scheduler } from '../time/clock.js';
import type { HotCounters } from '../metrics/hot-counters.js';
import type { DeliveryOptions } from '../protocol/delivery-options.js';
import type { BroadcastAdapter } from './broadcast-adapter.js';
import { type Member, Room, Subscription } from './room.js';

/** Which rooms have local members, and which rooms each connection is in: two indexes that are updated together. */
export class RoomRegistry {
  private readonly rooms = new Map<string, Room>();
  private subscriptions = 0;

  constructor(
    private readonly adapter: Pick<BroadcastAdapter, 'attach' | 'detach'>,
    private readonly hot: HotCounters,
    private readonly scheduler: Scheduler,
  ) {}

  get roomCount(): number {
    return this.rooms.size;
  }

  get subscriptionCount(): number {
    return this.subscriptions;
  }

  get(deviceId: string): Room | undefined {
    return this.rooms.get(deviceId);
  }

  /** The member's subscription of a room, requested by id; created if there is none. */
  join(member: Member, deviceId: string, delivery: DeliveryOptions): Subscription {
    const subscription = this.joinByPattern(member, deviceId, delivery);
    subscription.explicit = true;
    return subscription;
  }

  /** The same for a room that a pattern covers. */
  joinByPattern(member: Member, deviceId: string, delivery: DeliveryOptions): Subscription {
    let room = this.rooms.get(deviceId);
    if (room === undefined) {
      room = new Room(deviceId, this.hot, this.scheduler);
      this.rooms.set(deviceId, room);
    }
    return member.subscriptions.of(room) ?? this.create(member, room, delivery);
  }

  private create(member: Member, room: Room, delivery: DeliveryOptions): Subscription {
    const subscription = new Subscription(member, room, delivery);
    room.audience.add(subscription);
    member.subscriptions.add(subscription);
    this.subscriptions += 1;
    return subscription;
  }

  /**
   * Makes sure that the rooms of these subscriptions are attached and their state is known.
   * @returns null if they are; else a promise, which rejects when the adapter cannot attach: the rooms concerned are then left
   */
  attach(subscriptions: readonly Subscription[]): Promise<void> | null {
    const fresh: Room[] = [];
    let waits = false;
    for (const { room } of subscriptions) {
      if (room.epoch === '' && room.ready === null) {
        fresh.push(room);
      }
      waits ||= room.epoch === '' || room.ready !== null;
    }
    if (fresh.length > 0) {
      const attached = this.attachRooms(fresh);
      for (const room of fresh) {
        room.ready = attached;
      }
    }
    return waits ? this.attached(subscriptions) : null;
  }

  private async attached(subscriptions: readonly Subscription[]): Promise<void> {
    const waiting = new Set(subscriptions.map(({ room }) => room.ready).filter((ready) => ready !== null));
    try {
      await Promise.all(waiting);
    } catch (error) {
      for (const subscription of subscriptions) {
        if (subscription.current && subscription.room.epoch === '') {
          this.leave(subscription);
        }
      }
      throw error;
    }
  }

  /** Ends a current subscription. The room is deleted with its last one. */
  leave(subscription: Subscription): void {
    const { room, member } = subscription;
    member.subscriptions.delete(subscription);
    room.audience.remove(subscription);
    room.hold(subscription);
    this.subscriptions -= 1;
    if (room.audience.size === 0 && this.rooms.get(room.deviceId) === room) {
      room.open = false;
      this.rooms.delete(room.deviceId);
      this.adapter.detach(room.deviceId);
    }
  }

  private async attachRooms(rooms: readonly Room[]): Promise<void> {
    try {
      const states = await this.adapter.attach(rooms.map(({ deviceId }) => deviceId));
      rooms.forEach((room, at) => {
        const state = states[at];
        if (state !== undefined) {
          room.apply(state);
        }
      });
    } finally {
      for (const room of rooms) {
        room.ready = null;
      }
    }
  }
}
