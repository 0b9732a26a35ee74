import type { Subscription } from './subscription.js';

/**
 * Every subscription of a room in one array, those first that get every publication as it comes; each knows its place in it. A set would
 * be three times the size, and a second array for those that are live one more to find and to grow with each of a connection's rooms.
 */
export class Audience {
  readonly members: Subscription[] = [];
  /** How many of {@link members}, from the first on, are live. */
  live = 0;

  get size(): number {
    return this.members.length;
  }

  /** @param subscription that is not among them, and is not live at first */
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

  /** It is live no longer, and stays a member. */
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
