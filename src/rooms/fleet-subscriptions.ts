import { background, walled } from '../logging/walls.js';
import type { MessageId } from '../protocol/client-messages.js';
import { ProtocolError } from '../protocol/errors.js';
import type { BroadcastAdapter } from './broadcast-adapter.js';
import type { Introductions } from './introductions.js';
import type { Member } from './member.js';
import {
  type DevicePattern,
  type PatternAudience,
  PatternAudiences,
  type PatternSubscription,
  type PatternTerms,
} from './pattern-audiences.js';
import type { RoomRegistry } from './room-registry.js';
import { SubscribedSource } from './subscribed-source.js';

/** `subscribe` with a pattern. */
export interface PatternRequest {
  pattern: DevicePattern;
  id?: MessageId;
  /** What the connection's token says of the pattern at this moment; null where it does not grant it. */
  terms: () => PatternTerms | null;
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
    private readonly maxFrameBytes: number,
  ) {
    this.audiences = new PatternAudiences(adapter, (subscription, deviceId) =>
      this.announce(subscription, deviceId),
    );
  }

  /**
   * Subscribes to all present and future devices of a pattern; answers with paged `subscribed` and one paged snapshot.
   * @throws {ProtocolError} forbidden when the token does not grant it; too_many_rooms when it has too many patterns, or the present devices
   * are more than it may watch
   */
  async subscribe(member: Member, request: PatternRequest): Promise<void> {
    const { pattern, id, terms } = request;
    await this.audiences.load();
    if (!member.outbound.open) {
      return; // the connection went meanwhile
    }
    // Asked in the step that registers: while the list was awaited a narrower token may have come, and found nothing to take away.
    const granted = terms();
    if (granted === null) {
      throw new ProtocolError('forbidden', 'Forbidden');
    }
    const { maxRooms, maxPatterns } = granted;
    const patterns = this.byMember.get(member);
    if (patterns !== undefined && patterns.size >= maxPatterns && !patterns.has(pattern.source)) {
      throw new ProtocolError('too_many_rooms', `A connection may have ${maxPatterns} patterns at most`);
    }
    const audience = this.audiences.of(pattern);
    const fresh = [...audience.deviceIds].filter((deviceId) => !member.subscriptions.has(deviceId)).length;
    if (member.subscriptions.size + fresh > maxRooms) {
      this.audiences.dropIfEmpty(audience);
      throw new ProtocolError('too_many_rooms', `A connection may watch ${maxRooms} devices at most`);
    }
    const subscription = this.register(member, audience, granted, terms);
    await this.join(subscription, [...audience.deviceIds], id);
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

  /** Patterns of a connection. */
  patternsOf(member: Member): string[] {
    return [...(this.byMember.get(member)?.keys() ?? [])];
  }

  /** How the patterns of a connection are served. */
  deliveriesOf(member: Member): PatternSubscription['delivery'][] {
    return [...(this.byMember.get(member)?.values() ?? [])].map(({ delivery }) => delivery);
  }

  /** Whether one of the connection's patterns matches the device. */
  covers(member: Member, deviceId: string): boolean {
    const patterns = this.byMember.get(member);
    return (
      patterns !== undefined &&
      [...patterns.values()].some(({ audience }) => audience.pattern.matches(deviceId))
    );
  }

  /** The connection is gone. */
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
    // A whole plant may come up at once: one answer and one snapshot per turn of the event loop.
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
    const { member, fresh } = subscription;
    subscription.fresh = [];
    if (!this.isRegistered(subscription)) {
      return; // left, or the connection went meanwhile
    }
    const granted = subscription.terms();
    if (granted === null) {
      // A newer token has taken it away already; should it ever not have, no new device goes to who may not read it.
      this.unsubscribe(member, subscription.audience.pattern.source);
      return;
    }
    const room = Math.max(0, granted.maxRooms - member.subscriptions.size);
    const deviceIds = fresh.filter((deviceId) => !member.subscriptions.has(deviceId)).slice(0, room);
    if (deviceIds.length > 0) {
      await this.join(subscription, deviceIds, undefined).catch(() => {
        // The store could not be asked: the devices are tried again with the next new one.
        subscription.fresh.push(...deviceIds);
      });
    }
  }

  private async join(
    subscription: PatternSubscription,
    deviceIds: readonly string[],
    id: MessageId | undefined,
  ): Promise<void> {
    const { member, audience, delivery } = subscription;
    const joined = deviceIds.map((deviceId) => this.registry.joinByPattern(member, deviceId, delivery));
    await this.registry.attach(joined);
    const byPattern = joined.filter(({ explicit }) => !explicit); // what was asked for by id keeps its own options
    if (this.introductions.mustDrain(member, byPattern)) {
      await member.outbound.drained();
    }
    this.introductions.takeBack(byPattern, delivery);
    if (!this.isRegistered(subscription)) {
      return; // left, or the connection went meanwhile
    }
    const current = joined.filter((one) => one.current);
    const { maxFrameBytes } = this;
    member.outbound.addSource(
      new SubscribedSource({ pattern: audience.pattern.source, id, subscriptions: current, maxFrameBytes }),
    );
    this.introductions.begin(
      member,
      current.filter((one) => one.feed === null),
      undefined,
      id !== undefined,
    );
  }

  private isRegistered(subscription: PatternSubscription): boolean {
    return this.byMember.get(subscription.member)?.get(subscription.audience.pattern.source) === subscription;
  }

  private register(
    member: Member,
    audience: PatternAudience,
    { delivery }: PatternTerms,
    terms: PatternRequest['terms'],
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
      return existing;
    }
    const subscription: PatternSubscription = {
      member,
      audience,
      terms,
      delivery,
      answered: false,
      fresh: [],
    };
    patterns.set(source, subscription);
    audience.subscriptions.add(subscription);
    return subscription;
  }

  private unregister(subscription: PatternSubscription): void {
    const { member, audience } = subscription;
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
