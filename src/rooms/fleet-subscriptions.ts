import { background, walled } from '../logging/walls.js';
import type { MessageId, Rewind } from '../protocol/client-messages.js';
import { ProtocolError } from '../protocol/errors.js';
import type { BroadcastAdapter } from './broadcast-adapter.js';
import { type Introductions, publicationsOf, type Rewound } from './introductions.js';
import type { Member, Subscription } from './room.js';
import {
  type DevicePattern,
  type PatternAudience,
  PatternAudiences,
  inTurns,
  type PatternSubscription,
  type PatternTerms,
} from './pattern-audiences.js';
import type { RoomRegistry } from './room-registry.js';

/** `subscribe` with a pattern. */
interface PatternRequest {
  pattern: DevicePattern;
  id?: MessageId;
  /** What the token grants for the pattern now; null if it does not grant it. */
  terms: () => PatternTerms | null;
  /** Called before the request is processed: the number of known devices to match, and of those that match. */
  onMatched?: (known: number, rooms: number) => void;
  rewind?: Rewind;
  /** Called with the number of publications that history brings. */
  onRewound?: (publications: number) => void;
}

/** Pattern subscriptions of the connections: present and future devices that match. */
export class FleetSubscriptions {
  private readonly audiences: PatternAudiences;
  private readonly byMember = new Map<Member, Map<string, PatternSubscription>>();
  private readonly announced = new Set<PatternSubscription>();

  constructor(
    adapter: Pick<BroadcastAdapter, 'watchDevices'>,
    private readonly registry: RoomRegistry,
    private readonly introductions: Introductions,
  ) {
    this.audiences = new PatternAudiences(adapter, introductions.turns, (subscription, deviceId) =>
      this.announce(subscription, deviceId),
    );
  }

  /**
   * Subscribes to all present and future devices of a pattern; answers with paged `subscribed` and one paged snapshot.
   * @throws {ProtocolError} forbidden when the token does not grant it; too_many_rooms when the connection has too many patterns, or more
   * present devices match than it may watch
   */
  async subscribe(member: Member, request: PatternRequest): Promise<void> {
    const { pattern, id, terms } = request;
    await this.audiences.load();
    const audience = await this.audiences.of(pattern);
    request.onMatched?.(this.audiences.knownDevices, audience.deviceIds.size);
    let subscription: PatternSubscription;
    try {
      const fits = await this.fits(member, audience, terms);
      if (!member.outbound.open) {
        return; // the connection was closed meanwhile
      }
      // Read in the same step as the registration: a narrower token that came during the await found nothing to remove.
      const granted = terms();
      if (granted === null) {
        throw new ProtocolError('forbidden', 'Forbidden');
      }
      const { maxRooms, maxPatterns } = granted;
      const patterns = this.byMember.get(member);
      if (patterns !== undefined && patterns.size >= maxPatterns && !patterns.has(pattern.source)) {
        throw new ProtocolError('too_many_rooms', `A connection may have ${maxPatterns} patterns at most`);
      }
      if (!fits) {
        throw new ProtocolError('too_many_rooms', `A connection may watch ${maxRooms} devices at most`);
      }
      subscription = this.register(member, audience, granted, request);
    } finally {
      this.audiences.done(audience);
    }
    try {
      await this.join(subscription, audience.deviceIds, id);
    } catch (error) {
      if (!subscription.answered && this.isRegistered(subscription)) {
        this.unsubscribe(member, pattern.source); // no subscriber was told about it
      }
      throw error;
    }
    subscription.answered = true;
    await this.joinFresh(subscription);
  }

  /** Ends a pattern subscription. Rooms that were also joined by id, or by another pattern, stay. */
  unsubscribe(member: Member, source: string): void {
    const subscription = this.byMember.get(member)?.get(source);
    if (subscription === undefined) {
      return;
    }
    this.unregister(subscription);
    for (const one of member.subscriptions.all()) {
      if (!one.explicit && !this.covers(member, one.room.deviceId)) {
        this.registry.leave(one);
      }
    }
  }

  /** Somebody watches by pattern. */
  get hasPatterns(): boolean {
    return this.byMember.size > 0;
  }

  /** Patterns of a connection. */
  patternsOf(member: Member): string[] {
    return [...(this.byMember.get(member)?.keys() ?? [])];
  }

  /** The delivery options of the connection's patterns. */
  deliveriesOf(member: Member): PatternSubscription['delivery'][] {
    return [...(this.byMember.get(member)?.values() ?? [])].map(({ delivery }) => delivery);
  }

  /** How many patterns a connection has. */
  patternCount(member: Member): number {
    return this.byMember.get(member)?.size ?? 0;
  }

  /** Whether one of the connection's patterns matches the device. */
  covers(member: Member, deviceId: string): boolean {
    const patterns = this.byMember.get(member);
    return (
      patterns !== undefined &&
      [...patterns.values()].some(({ audience }) => audience.pattern.matches(deviceId))
    );
  }

  /** The connection is closed. */
  forget(member: Member): void {
    for (const subscription of this.byMember.get(member)?.values() ?? []) {
      this.unregister(subscription);
    }
  }

  /** A device became known. */
  onDevice(deviceId: string): void {
    this.audiences.onDevice(deviceId);
  }

  private announce(subscription: PatternSubscription, deviceId: string): void {
    subscription.fresh.push(deviceId);
    if (!subscription.answered) {
      return;
    }
    // A whole plant may come online at once: one answer and one snapshot per turn of the event loop.
    if (this.announced.size === 0) {
      setImmediate(walled('room', () => this.joinAnnounced()));
    }
    this.announced.add(subscription);
  }

  private joinAnnounced(): void {
    const announced = [...this.announced];
    this.announced.clear();
    for (const due of announced) {
      background('room', this.joinFresh(due), (error) => due.member.outbound.fail(error));
    }
  }

  private async joinFresh(subscription: PatternSubscription): Promise<void> {
    if (subscription.joining) {
      return; // devices announced meanwhile are joined in the next turn
    }
    subscription.joining = true;
    try {
      while (subscription.fresh.length > 0 && this.isRegistered(subscription)) {
        const deviceIds = new Set(subscription.fresh);
        subscription.fresh = [];
        await this.join(subscription, deviceIds, undefined, true);
      }
    } catch {
      // The store did not answer: the devices are tried again with the next new one, or when the pattern is subscribed again.
    } finally {
      subscription.joining = false;
    }
  }

  /** Whether the connection may join all of these rooms in addition to those it is in. */
  private async fits(
    member: Member,
    { deviceIds }: PatternAudience,
    terms: PatternRequest['terms'],
  ): Promise<boolean> {
    let left = (terms()?.maxRooms ?? 0) - member.subscriptions.size;
    if (deviceIds.size > left) {
      await inTurns(this.introductions.turns, deviceIds, (deviceId) => {
        left -= member.subscriptions.has(deviceId) ? 0 : 1;
        return left >= 0;
      });
    }
    return left >= 0;
  }

  /**
   * Joins the rooms of these devices, some hundred per turn of the event loop, then answers for all of them.
   * @param freshOnly only new devices: rooms that the connection is already in are not changed
   */
  private async join(
    subscription: PatternSubscription,
    deviceIds: ReadonlySet<string>,
    id: MessageId | undefined,
    freshOnly = false,
  ): Promise<void> {
    const { member, audience } = subscription;
    const joined: Subscription[] = [];
    let slice: Subscription[] = [];
    let seen = 0;
    let left = 0;
    let mayJoin = 0;
    for (const deviceId of deviceIds) {
      if (left === 0) {
        await this.attach(subscription, slice, joined);
        slice = [];
        left = await this.introductions.turns.next(Math.max(1, deviceIds.size - seen));
        // The connection, the pattern or the grant may be gone after the wait for a turn.
        if (!this.isRegistered(subscription)) {
          return;
        }
        const granted = subscription.terms();
        if (granted === null) {
          this.unsubscribe(member, audience.pattern.source);
          return;
        }
        mayJoin = granted.maxRooms - member.subscriptions.size;
      }
      left -= 1;
      seen += 1;
      const isIn = member.subscriptions.has(deviceId);
      if (isIn ? !freshOnly : mayJoin > 0) {
        mayJoin -= isIn ? 0 : 1;
        slice.push(this.registry.joinByPattern(member, deviceId, subscription.delivery));
      }
    }
    await this.attach(subscription, slice, joined);
    if (!this.isRegistered(subscription) || (freshOnly && joined.length === 0)) {
      return; // unsubscribed or closed meanwhile
    }
    const rewound = await this.rewind(subscription, joined);
    if (!this.isRegistered(subscription)) {
      return;
    }
    const { delivery } = subscription;
    const pattern = audience.pattern.source;
    if (!freshOnly) {
      subscription.supersede?.();
    }
    const answer = { pattern, id, delivery };
    const supersede = this.introductions.beginPattern(member, joined, answer, rewound);
    if (!freshOnly) {
      subscription.supersede = supersede;
    }
  }

  /** Where the rooms that follow the pattern's options begin, if it is rewound. */
  private async rewind(
    { member, delivery, rewind, onRewound }: PatternSubscription,
    joined: readonly Subscription[],
  ): Promise<Rewound | undefined> {
    if (rewind === undefined) {
      return undefined;
    }
    const following = joined.filter(({ explicit }) => !explicit);
    if (this.introductions.mustDrain(member, following, { rewind })) {
      await member.outbound.drained();
    }
    const stood = this.introductions.prepareRestart(following, delivery, { rewind });
    const rewound = new Map<Subscription, number>();
    for (let from = 0; from < following.length;) {
      const granted = await this.introductions.turns.next(following.length - from);
      const some = following.slice(from, from + granted);
      for (const [one, offset] of await this.introductions.rewind(some, rewind, stood)) {
        rewound.set(one, offset);
      }
      from += granted;
    }
    onRewound?.(publicationsOf(rewound));
    return rewound;
  }

  private async attach(
    subscription: PatternSubscription,
    slice: readonly Subscription[],
    joined: Subscription[],
  ): Promise<void> {
    const attaching = this.registry.attach(slice);
    if (attaching !== null) {
      try {
        await attaching;
      } catch (error) {
        this.leaveUnintroduced(subscription, [...joined, ...slice]);
        throw error;
      }
    }
    for (const one of slice) {
      joined.push(one);
    }
  }

  /** The store did not answer: leaves the rooms that nothing would introduce; they are joined with the next new device. */
  private leaveUnintroduced(subscription: PatternSubscription, joined: readonly Subscription[]): void {
    for (const one of joined) {
      if (!one.explicit && !one.introduced) {
        if (one.current) {
          this.registry.leave(one);
        }
        subscription.fresh.push(one.room.deviceId);
      }
    }
  }

  private isRegistered(subscription: PatternSubscription): boolean {
    return this.byMember.get(subscription.member)?.get(subscription.audience.pattern.source) === subscription;
  }

  private register(
    member: Member,
    audience: PatternAudience,
    { delivery }: PatternTerms,
    { terms, rewind, onRewound }: PatternRequest,
  ): PatternSubscription {
    let patterns = this.byMember.get(member);
    if (patterns === undefined) {
      patterns = new Map();
      this.byMember.set(member, patterns);
    }
    const { source } = audience.pattern;
    const existing = patterns.get(source);
    if (existing !== undefined) {
      existing.delivery = delivery;
      existing.terms = terms;
      existing.rewind = rewind;
      existing.onRewound = onRewound;
      return existing;
    }
    const subscription: PatternSubscription = {
      member,
      audience,
      terms,
      rewind,
      onRewound,
      delivery,
      answered: false,
      fresh: [],
      joining: false,
      supersede: null,
    };
    patterns.set(source, subscription);
    audience.subscriptions.add(subscription);
    return subscription;
  }

  private unregister(subscription: PatternSubscription): void {
    const { member, audience } = subscription;
    subscription.supersede?.();
    const patterns = this.byMember.get(member);
    patterns?.delete(audience.pattern.source);
    if (patterns?.size === 0) {
      this.byMember.delete(member);
    }
    audience.subscriptions.delete(subscription);
    this.announced.delete(subscription);
    this.audiences.dropIfEmpty(audience);
  }
}
