import { setTimeout as delay } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { background, walled } from '../logging/walls.js';
import { warnOfGrants } from '../mqtt/broker-answers.js';
import { IngestSession, type SubscriptionOptions } from '../mqtt/ingest-session.js';
import { type IngestSlots, RENEWALS_PER_LEASE } from './ports.js';
import { contextFor, Ingest, liveSubscriptions, type SharedIngestParts } from './ingest.js';
import { LocalMode } from './away.js';
import { GroupReturn } from './notes/group-return.js';
import { Markers } from './notes/markers.js';
import { IngestNotes } from './notes/notes.js';
import { RetainedPass } from './retained-pass.js';
import { StoreClaims } from './notes/store-claims.js';
import { UpstreamGrace } from './upstream.js';

/** Time in which the broker's messages for an adopted name must be stored; then it is left for another attempt. */
const ADOPTION_TIMEOUT_MS = 30_000;
const LEAVE_TIMEOUT_MS = 500;
const ADOPTION_LOOK_MS = 50;

/**
 * All instances read the device topics and share the messages, for rates beyond one reader. Each is a member of the shared subscription
 * under the name of a slot, so that another instance can read what the broker holds for a killed member. While Redis is away every instance
 * reads for itself.
 */
export class SharedIngest extends Ingest {
  private readonly logger = new Logger('Ingest');
  private readonly notes: IngestNotes;
  private readonly claims: StoreClaims;
  private readonly grace: UpstreamGrace;
  private readonly localMode: LocalMode;
  private readonly groupReturn: GroupReturn;
  /** ROLE lets this instance be a member. */
  private readonly reads: boolean;
  private own: GroupMember | undefined;
  /** The slot of the last own member: preferred after Redis was away, even if Redis comes back empty. */
  private slotBefore: number | undefined;
  private adopted: GroupMember | undefined;
  private othersUp = 0;
  private looking = false;
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;

  constructor(
    private readonly parts: SharedIngestParts,
    private readonly slots: IngestSlots,
  ) {
    super();
    const { instance } = parts;
    this.grace = new UpstreamGrace(parts.upstream);
    this.notes = new IngestNotes(parts, {
      connected: (connected) => {
        if (connected && this.parts.store.mode === 'local') {
          this.notes.tell({ event: 'who' });
        }
        background('ingest', this.look());
      },
      note: (note) => {
        if (note.event === 'who' && (this.own ?? this.slotBefore) !== undefined && !this.stopped) {
          this.notes.tell({ event: 'member', instance });
        } else if (note.event === 'member' && note.instance !== instance) {
          this.groupReturn.heard(note.instance);
        }
      },
      claim: (payload) => this.heardClaim(payload),
    });
    this.claims = new StoreClaims(parts, this.notes);
    this.reads = parts.config.redis.role !== 'edge';
    this.groupReturn = new GroupReturn(this.notes, () => this.evaluate(), this.reads ? 1 : 0);
    this.localMode = new LocalMode(parts, {
      away: () => this.away(),
      reachable: () => background('ingest', this.look()),
      changed: () => this.evaluate(),
    });
  }

  get connected(): boolean {
    return this.notes.connected;
  }

  get behindMs(): number {
    return Math.max(this.localMode.behindMs, this.membersBehindMs);
  }

  private get membersBehindMs(): number {
    return Math.max(this.own?.behindMs ?? 0, this.adopted?.behindMs ?? 0);
  }

  get sessions(): readonly IngestSession[] {
    return [this.own, this.adopted, this.localMode]
      .map((reader) => reader?.session)
      .filter((session) => session !== undefined);
  }

  start(): void {
    const { store, config } = this.parts;
    store.dropFence();
    this.notes.open();
    this.localMode.start();
    this.timer = setInterval(
      walled('ingest', () => this.look()),
      config.redis.leaseMs / RENEWALS_PER_LEASE,
    );
    background('ingest', this.look());
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearInterval(this.timer);
    this.grace.stop();
    if (this.own !== undefined && this.othersUp === 0) {
      this.claims.withdraw();
    }
    await Promise.all([this.leave(), this.adopted?.end(), this.localMode.stop()]);
    await this.notes.close();
  }

  private async leave(): Promise<void> {
    const { own } = this;
    // Messages that could not be stored stay with the broker, under a slot that another instance adopts.
    if (own !== undefined && (await own.leave(LEAVE_TIMEOUT_MS))) {
      await this.slots.release(own.slot).catch(() => undefined);
    }
  }

  /** Renews held slots, takes missing ones. */
  private async look(): Promise<void> {
    if (!this.looking && !this.stopped && this.parts.store.storeReachable) {
      this.looking = true;
      // If Redis does not answer, the next look tries again.
      await this.keepSlots().catch(() => undefined);
      this.looking = false;
    }
    this.evaluate();
  }

  private heardClaim(payload: Buffer): void {
    this.claims.heard(payload);
    const { own } = this;
    if (own !== undefined && this.claims.yields) {
      this.logger.warn('Another deployment is a member of the same group: this instance leaves it');
      this.own = undefined;
      background('ingest', this.leaveGroup(own));
    }
  }

  private async leaveGroup(member: GroupMember): Promise<void> {
    if (await member.leave(LEAVE_TIMEOUT_MS)) {
      await this.slots.release(member.slot).catch(() => undefined);
    }
    this.evaluate();
  }

  private async keepSlots(): Promise<void> {
    await this.claims.identify();
    for (const member of [this.own, this.adopted]) {
      if (member !== undefined && !(await this.slots.renew(member.slot, member.session.up))) {
        this.lost(member, 'its slot is lost');
      }
    }
    if (this.own === undefined && this.reads && !this.stopped && this.notes.connected && this.claims.free) {
      await this.join();
    }
    if (this.own !== undefined) {
      this.claims.renew(this.membersBehindMs);
    }
    const { store } = this.parts;
    const { abandoned, othersUp } = await this.slots.watch();
    this.othersUp = othersUp;
    // The answer of a Redis that was frozen is late, and from a time in which no slot could be renewed.
    if (store.mode === 'store') {
      this.groupReturn.noteOthers(othersUp);
    } else if (!this.groupReturn.canAdopt) {
      // After Redis was away all slots are abandoned until their holders are back.
      return;
    }
    const mayAdopt = this.reads && this.adopted === undefined && !this.stopped && this.notes.connected;
    if (abandoned > 0 && mayAdopt && this.claims.free) {
      const slot = await this.slots.adopt();
      if (slot !== null) {
        background('ingest', this.adopt(slot));
      }
    }
  }

  private async join(): Promise<void> {
    const number = await this.slots.take(this.slotBefore);
    // Stopped meanwhile: the slot stays abandoned, and another instance adopts it.
    if (!this.stopped) {
      this.own = this.createMember(number, false);
    }
  }

  /** Reads what the broker holds for a member that is gone, then discards its session. */
  private async adopt(slot: number): Promise<void> {
    this.parts.metrics.takeovers.inc({ what: 'slot' });
    this.logger.warn(`A reader is gone: reading what the broker holds for its name (${slot})`, { slot });
    const member = this.createMember(slot, true);
    this.adopted = member;
    const deadline = performance.now() + ADOPTION_TIMEOUT_MS;
    while (this.adopted === member && !this.stopped && !member.session.up && performance.now() < deadline) {
      await delay(ADOPTION_LOOK_MS);
    }
    if (this.adopted !== member || this.stopped) {
      return;
    }
    if (await member.leave(Math.max(0, deadline - performance.now()))) {
      await this.slots.release(slot).catch(() => undefined);
    }
    this.adopted = undefined;
  }

  private createMember(slot: number, adopted: boolean): GroupMember {
    const group = this.claims.group ?? this.parts.config.redis.namespace;
    const member = new GroupMember(
      this.parts,
      this.notes,
      { slot, group, adopted },
      () => this.evaluate(),
      () => {
        this.parts.metrics.takeovers.inc({ what: 'session' });
        this.lost(member, 'another connection uses its name');
      },
    );
    member.start();
    return member;
  }

  private lost(member: GroupMember, why: string): void {
    this.logger.warn(`The reader ${member.slot} ends: ${why}`, { slot: member.slot, reason: why });
    background('ingest', member.end());
    if (this.own === member) {
      this.own = undefined;
    } else if (this.adopted === member) {
      this.adopted = undefined;
    }
  }

  private evaluate(): void {
    if (this.stopped) {
      return;
    }
    const { store, upstream } = this.parts;
    this.claims.tell();
    upstream.setBehind(
      store.mode === 'local' ? this.localMode.behindMs : this.claims.furthestBehind(this.membersBehindMs),
    );
    const read = this.own?.session.up === true || this.othersUp > 0;
    this.grace.set(
      store.mode === 'local' ? this.localMode.session?.up === true : read && store.storeReachable,
      this.notes.connected,
    );
    const isStored = this.reads ? this.own?.caughtUp === true : this.othersUp > 0;
    if (store.mode !== 'local' || !isStored) {
      this.groupReturn.reset();
    } else if (this.groupReturn.ready) {
      background(
        'ingest',
        this.localMode.giveBack(() => this.groupReturn.barrier()),
      );
    } else {
      background('ingest', this.groupReturn.ask(this.othersUp, this.adopted !== undefined));
    }
  }

  private away(): void {
    for (const member of [this.own, this.adopted]) {
      background('ingest', member?.end());
    }
    this.slotBefore = this.own?.slot ?? this.slotBefore;
    this.own = undefined;
    this.adopted = undefined;
    this.othersUp = 0;
    this.groupReturn.away();
    this.notes.tell({ event: 'who' });
  }
}

/** Time to store what the broker has queued before a member leaves for good. */
const DRAIN_TIMEOUT_MS = 500;
const OWN_MARKER_TIMEOUT_MS = 2_000;

interface Membership {
  readonly slot: number;
  readonly group: string;
  /** It only reads what the broker holds for the name, until it leaves. */
  readonly adopted: boolean;
}

/** One member of the shared subscription: a persistent session under the name of its slot. */
class GroupMember {
  readonly session: IngestSession;
  private readonly logger = new Logger('Ingest');
  private filters: readonly string[];
  private readonly markers: Markers;
  private readonly retained: RetainedPass;
  private readonly forgets: (() => void)[];
  private isCaughtUp = false;

  readonly slot: number;

  /**
   * @param changed it went up or down, or has stored what the broker had queued for it
   * @param takenOver the broker reports that another connection uses its name
   */
  constructor(
    private readonly parts: SharedIngestParts,
    notes: IngestNotes,
    private readonly membership: Membership,
    private readonly changed: () => void,
    takenOver: () => void,
  ) {
    const { config, store } = parts;
    const { slot, group, adopted } = membership;
    this.slot = slot;
    const { mqtt, redis } = config;
    this.retained = new RetainedPass(
      parts,
      store.storeWriter,
      `${redis.namespace}-retained-${parts.instance}`,
      () => store.stateDoubt.settle(),
    );
    const { messages } = this.retained;
    const shared = (): SubscriptionOptions[] =>
      liveSubscriptions(messages).map(({ filter, ...rest }) => ({
        ...rest,
        filter: `$share/${group}/${filter}`,
      }));
    this.filters = shared().map(({ filter }) => filter);
    this.markers = new Markers(notes, () => this.session, `${parts.instance}-${slot}`, slot);
    const marker = this.markers.subscription;
    const routes = () => [...messages.routes, this.markers.route];
    const context = contextFor(parts, routes());
    this.session = new IngestSession(
      context,
      {
        name: `shared ${slot}`,
        clientId: `${redis.namespace}-shared-${slot}`,
        cleanStart: 'never',
        sessionExpiryS: mqtt.sessionExpiryS,
        receiveMaximum: mqtt.receiveMaximum,
        subscriptions: adopted ? [marker] : [...shared(), marker],
      },
      {
        connected: (sessionPresent, connack) => {
          warnOfGrants(this.logger, connack, { sessionExpiryS: mqtt.sessionExpiryS, shared: true });
          // If nobody was subscribed, messages may be missed; one member is enough to read the retained ones.
          this.retained.begin((!sessionPresent && slot === 0) || (store.stateDoubt.raised && !adopted));
        },
        up: () => this.up(),
        down: () => {
          this.isCaughtUp = false;
          background('ingest', this.retained.stop());
          changed();
        },
        takenOver,
      },
    );
    this.forgets = [
      messages.onRoutes(() => {
        context.router.replace(routes());
        if (!adopted) {
          const subscriptions = shared();
          this.filters = subscriptions.map(({ filter }) => filter);
          this.session.changeSubscriptions([...subscriptions, marker]);
          if (this.session.up) {
            this.retained.readNew();
          }
        }
      }),
      store.onCongestion((congested) => this.session.pause(congested)),
      store.stateDoubt.onRaised(() => {
        if (this.session.up && !adopted) {
          this.retained.readAgain();
        }
      }),
    ];
  }

  /** What a message waits at the broker until it is stored. */
  get behindMs(): number {
    return this.markers.behindMs;
  }

  /** It has stored what the broker had queued when it went up. */
  get caughtUp(): boolean {
    return this.isCaughtUp;
  }

  start(): void {
    this.session.pause(this.parts.store.congested);
    this.session.start();
  }

  /** Ends the connection; the broker keeps the session for the next member of this name. */
  async end(): Promise<void> {
    this.release();
    await Promise.all([this.retained.stop(), this.session.end()]);
  }

  /**
   * Leaves the group for good: unsubscribes, stores what the broker queued for it, and discards the session.
   * @returns false if not everything could be stored: the session is kept for the instance that adopts the name
   */
  async leave(timeoutMs = DRAIN_TIMEOUT_MS): Promise<boolean> {
    await this.session.unsubscribe(this.filters);
    const drained = this.session.up && (await this.markers.pass(timeoutMs));
    this.release();
    await Promise.all([this.retained.stop(), this.session.end({ discardSession: drained })]);
    return drained;
  }

  private up(): void {
    const { parts } = this;
    if (!this.membership.adopted) {
      const broker = parts.context.broker.name;
      this.logger.log(`Reading a share of the device topics from ${broker}`, { broker });
      this.retained.read();
    }
    background('ingest', this.catchUp());
    this.changed();
  }

  private async catchUp(): Promise<void> {
    if (await this.markers.catchUp(OWN_MARKER_TIMEOUT_MS)) {
      this.isCaughtUp = true;
    }
    this.changed();
  }

  private release(): void {
    this.forgets.forEach((forget) => forget());
    this.markers.stop();
  }
}
