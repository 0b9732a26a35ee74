import type { Recipient } from './recipient.js';

/** Subscriptions of a group, in an array that the fan-out loop walks; adding and removing take one step. */
export class LiveList {
  readonly members: Recipient[] = [];

  add(subscription: Recipient): void {
    subscription.index = this.members.length;
    this.members.push(subscription);
  }

  remove(subscription: Recipient): void {
    const { index } = subscription;
    if (index < 0) {
      return;
    }
    subscription.index = -1;
    const last = this.members.pop() as Recipient;
    if (last !== subscription) {
      this.members[index] = last;
      last.index = index;
    }
  }
}
