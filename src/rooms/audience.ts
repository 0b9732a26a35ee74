import type { Subscription } from './subscription.js';

/** Every subscription of a room, live or not. An array with each one's place in it: a set would be three times the size. */
export class Audience {
  readonly members: Subscription[] = [];

  get size(): number {
    return this.members.length;
  }

  add(subscription: Subscription): void {
    subscription.seat = this.members.length;
    this.members.push(subscription);
  }

  remove(subscription: Subscription): void {
    const { seat } = subscription;
    if (seat < 0) {
      return;
    }
    subscription.seat = -1;
    const last = this.members.pop() as Subscription;
    if (last !== subscription) {
      this.members[seat] = last;
      last.seat = seat;
    }
  }
}
