import type { Room } from './room.js';
import type { Subscription } from './subscription.js';

/** Up to so many are looked through one by one: a map of them is 300 bytes more, on each of tens of thousands of connections. */
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

  /** {@link get} for a room that is at hand: told by identity, without comparing text. */
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
      this.few.push(subscription);
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

  /** All of them, in the order they were made; a list of its own, which later changes leave alone. */
  all(): Subscription[] {
    return this.many === null ? this.few.slice() : [...this.many.values()];
  }

  ids(): string[] {
    return this.all().map(({ room }) => room.deviceId);
  }
}
