import { Logger } from '@nestjs/common';
import { background, walled } from '../logging/walls.js';
import { warnOfGrants } from '../mqtt/broker-answers.js';
import { IngestSession } from '../mqtt/ingest-session.js';
import type { Route } from '../mqtt/topic-router.js';
import type { IngestSlots } from './ports.js';
import {
  contextFor,
  Ingest,
  liveSubscriptions,
  markerSubscription,
  type SharedIngestParts,
} from './ingest.js';
import { RENEWALS_PER_LEASE } from './lease-holder.js';
import { LocalMode } from './away.js';
import { IngestNotes, OWN_MARKER, PassingMarkers } from './notes.js';
import { RetainedPass } from './retained-pass.js';
import { UpstreamGrace } from './upstream.js';

/** Time an adopted name has until what the broker held for it is stored; then it is left for another try. */
const ADOPTION_TIMEOUT_MS = 30_000;
const LEAVE_TIMEOUT_MS = 500;
const ADOPTION_LOOK_MS = 50;

/**
 * All instances read the device topics, each its share of them: for what is beyond one reader. Each is a member of the shared
 * subscription under the name of a slot, so that what the broker holds for a member that was killed is read by another one.
 * While Redis is away every instance reads for itself.
 */
export class SharedIngest extends Ingest {
  private readonly logger = new Logger('Ingest');
  private readonly notes: IngestNotes;
  private readonly grace: UpstreamGrace;
  private readonly localMode: LocalMode;
  private readonly groupReturn: GroupReturn;
  private own: SharedMember | undefined;
  /** The slot of the last own member: taken again after Redis was away, even if a Redis that comes back empty knows nothing of it. */
  private slotBefore: number | undefined;
  private adopted: SharedMember | undefined;
  private othersUp = 0;
  private looking = false;
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;

  constructor(
    private readonly parts: SharedIngestParts,
    private readonly slots: IngestSlots,
  ) {
    super();
    const { config, context, instance, metrics, upstream } = parts;
    this.grace = new UpstreamGrace(upstream);
    this.notes = new IngestNotes(context.broker, config.redis.namespace, instance, {
      connected: (connected) => {
        metrics.mqttConnected.set(connected ? 1 : 0);
        if (!connected && !this.stopped) {
          metrics.mqttReconnects.inc();
        }
        background('ingest', this.look());
      },
      note: () => undefined, // they concern the lease
    });
    this.groupReturn = new GroupReturn(this.notes, () => this.evaluate());
    this.localMode = new LocalMode(parts, {
      away: () => this.away(),
      reachable: () => background('ingest', this.look()),
      changed: () => this.evaluate(),
    });
  }

  get connected(): boolean {
    return this.notes.connected;
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
    await Promise.all([this.leave(), this.adopted?.end(), this.localMode.stop()]);
    await this.notes.close();
  }

  private async leave(): Promise<void> {
    const { own } = this;
    // What could not be stored stays with the broker, under a slot that another instance adopts.
    if (own !== undefined && (await own.leave(LEAVE_TIMEOUT_MS))) {
      await this.slots.release(own.slot).catch(() => undefined);
    }
  }

  /** Keeps what is held, takes what is missing. */
  private async look(): Promise<void> {
    if (!this.looking && !this.stopped && this.parts.store.storeReachable) {
      this.looking = true;
      // What Redis does not answer is asked again.
      await this.keepSlots().catch(() => undefined);
      this.looking = false;
    }
    this.evaluate();
  }

  private async keepSlots(): Promise<void> {
    for (const member of [this.own, this.adopted]) {
      if (member !== undefined && !(await this.slots.renew(member.slot, member.session.up))) {
        this.lost(member, 'its slot is lost');
      }
    }
    if (this.own === undefined && !this.stopped && this.notes.connected) {
      await this.join();
    }
    const { store } = this.parts;
    const { abandoned, othersUp } = await this.slots.watch();
    this.othersUp = othersUp;
    // A Redis that thaws answers late, and of a time in which nobody could renew.
    if (store.mode === 'store') {
      this.groupReturn.sawOthers(othersUp);
    } else if (!this.groupReturn.mayAdopt) {
      // After Redis was away everything is abandoned, until its holder is back.
      return;
    }
    if (abandoned > 0 && this.adopted === undefined && !this.stopped && this.notes.connected) {
      const slot = await this.slots.adopt();
      if (slot !== null) {
        background('ingest', this.adopt(slot));
      }
    }
  }

  private async join(): Promise<void> {
    const number = await this.slots.take(this.slotBefore);
    // Stopped meanwhile: the slot is abandoned, and another instance looks what the broker holds for its name.
    if (!this.stopped) {
      this.own = this.createMember(number, false);
    }
  }

  /** Reads what the broker holds for a member that is gone, then lets it forget the name. */
  private async adopt(slot: number): Promise<void> {
    this.logger.warn(`A reader is gone: reading what the broker holds for its name (${slot})`);
    const member = this.createMember(slot, true);
    this.adopted = member;
    const deadline = performance.now() + ADOPTION_TIMEOUT_MS;
    while (this.adopted === member && !this.stopped && !member.session.up && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, ADOPTION_LOOK_MS));
    }
    if (this.adopted !== member || this.stopped) {
      return;
    }
    if (await member.leave(Math.max(0, deadline - performance.now()))) {
      await this.slots.release(slot).catch(() => undefined);
    }
    this.adopted = undefined;
  }

  private createMember(slot: number, adopted: boolean): SharedMember {
    const member = new SharedMember(this.parts, this.notes, slot, adopted, {
      changed: () => this.evaluate(),
      takenOver: () => this.lost(member, 'another connection uses its name'),
    });
    member.start();
    return member;
  }

  private lost(member: SharedMember, why: string): void {
    this.logger.warn(`The reader ${member.slot} ends: ${why}`);
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
    const { store } = this.parts;
    const read = this.own?.session.up === true || this.othersUp > 0;
    this.grace.set(
      store.mode === 'local' ? this.localMode.session?.up === true : read && store.storeReachable,
      this.notes.connected,
    );
    if (store.mode !== 'local' || this.own?.caughtUp !== true) {
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
  }
}

/** Time for what the broker has queued to be stored before a member leaves for good. */
const DRAIN_TIMEOUT_MS = 500;
const OWN_MARKER_TIMEOUT_MS = 2_000;
const NOTES_LOOK_MS = 50;

interface MemberEvents {
  /** It went up or down, or what the broker had queued for it is stored. */
  changed(): void;
  /** The broker says that another connection uses its name. */
  takenOver(): void;
}

/** One member of the shared subscription: a persistent session under the name of its slot. */
class SharedMember {
  readonly session: IngestSession;
  private readonly logger = new Logger('Ingest');
  private readonly filters: readonly string[];
  private readonly markers: PassingMarkers;
  private readonly retained: RetainedPass;
  private readonly forgets: (() => void)[];
  private readonly waiting = new Map<string, () => void>();
  private nextMarker = 1;
  private isCaughtUp = false;

  /** @param adopted only what the broker holds for the name is read; see {@link leave} */
  constructor(
    private readonly parts: SharedIngestParts,
    private readonly notes: IngestNotes,
    readonly slot: number,
    private readonly adopted: boolean,
    private readonly events: MemberEvents,
  ) {
    const { config, store } = parts;
    const { mqtt, redis } = config;
    this.retained = new RetainedPass(
      parts,
      store.storeWriter,
      `${redis.namespace}-retained-${parts.instance}`,
      () => store.stateDoubt.settle(),
    );
    const { routes } = this.retained.messages;
    const shared = liveSubscriptions(routes).map(({ filter, ...rest }) => ({
      ...rest,
      filter: `$share/${mqtt.sharedGroup}/${filter}`,
    }));
    this.filters = shared.map(({ filter }) => filter);
    this.markers = new PassingMarkers(
      () => this.session.oldestSequence,
      (marker) => this.markerPassed(marker),
    );
    const markerRoute: Route = {
      filter: notes.markerFilter,
      qos: 1,
      kind: 'other',
      handle: (message) => this.markers.arrived(message),
    };
    const marker = markerSubscription(notes.markerFilter);
    this.session = new IngestSession(
      contextFor(parts, [...routes, markerRoute]),
      {
        name: `shared ${slot}`,
        clientId: `${redis.namespace}-shared-${slot}`,
        cleanStart: 'never',
        sessionExpiryS: mqtt.sessionExpiryS,
        receiveMaximum: mqtt.receiveMaximum,
        subscriptions: adopted ? [marker] : [...shared, marker],
      },
      {
        connected: (sessionPresent, connack) => {
          warnOfGrants(this.logger, connack, { sessionExpiryS: mqtt.sessionExpiryS, shared: true });
          // One member is enough to believe the broker where nobody may have listened.
          this.retained.begin((!sessionPresent && slot === 0) || (store.stateDoubt.raised && !adopted));
        },
        up: () => this.up(),
        down: () => {
          this.isCaughtUp = false;
          background('ingest', this.retained.stop());
          events.changed();
        },
        takenOver: () => events.takenOver(),
      },
    );
    this.forgets = [
      store.onCongestion((congested) => this.session.pause(congested)),
      store.stateDoubt.onRaised(() => {
        if (this.session.up && !adopted) {
          this.retained.readAgain();
        }
      }),
    ];
  }

  /** What the broker had queued when it went up is stored. */
  get caughtUp(): boolean {
    return this.isCaughtUp;
  }

  start(): void {
    this.session.pause(this.parts.store.congested);
    this.session.start();
  }

  /** Resolves when everything the broker had for this member until now is stored. @returns false when that is not known in time */
  passMarker(timeoutMs: number): Promise<boolean> {
    const marker = `${OWN_MARKER}${this.parts.instance}-${this.slot}-${this.nextMarker++}`;
    return new Promise((resolve) => {
      const finish = (passed: boolean): void => {
        clearTimeout(timer);
        this.waiting.delete(marker);
        resolve(passed);
      };
      const timer = setTimeout(
        walled('ingest', () => finish(false)),
        timeoutMs,
      );
      this.waiting.set(marker, () => finish(true));
      this.notes.sendMarker(marker);
    });
  }

  /** Ends the connection; the broker keeps the session for the next one of this name. */
  async end(): Promise<void> {
    this.release();
    await Promise.all([this.retained.stop(), this.session.end()]);
  }

  /**
   * Leaves the group for good: takes no new share, stores what it was given, and lets the broker forget the session.
   * @returns false when not everything could be stored: the session is kept, for whoever adopts the name
   */
  async leave(timeoutMs = DRAIN_TIMEOUT_MS): Promise<boolean> {
    await this.session.unsubscribe(this.filters);
    const drained = this.session.up && (await this.passMarker(timeoutMs));
    this.release();
    await Promise.all([this.retained.stop(), this.session.end({ discardSession: drained })]);
    return drained;
  }

  private up(): void {
    const { parts } = this;
    if (!this.adopted) {
      this.logger.log(`Reading a share of the device topics from ${parts.context.broker.name}`);
      this.retained.read();
    }
    background('ingest', this.catchUp());
    this.events.changed();
  }

  private async catchUp(): Promise<void> {
    while (this.session.up && !this.isCaughtUp) {
      const { connectionNumber } = this.notes;
      if (connectionNumber === 0) {
        // After a restart of the broker the notes may be back later than the session.
        await new Promise((resolve) => setTimeout(resolve, NOTES_LOOK_MS));
        continue;
      }
      const passed = await this.passMarker(OWN_MARKER_TIMEOUT_MS);
      const keptBack =
        !passed && this.session.unacknowledged === 0 && this.notes.connectionNumber === connectionNumber;
      if (keptBack && this.session.up) {
        this.notes.warnOfRights();
      }
      this.isCaughtUp = this.session.up && (passed || keptBack);
    }
    this.events.changed();
  }

  private markerPassed(marker: string): void {
    if (marker.startsWith(OWN_MARKER)) {
      this.waiting.get(marker)?.();
    } else {
      this.notes.tell({ event: 'passed', marker, member: this.slot });
    }
  }

  private release(): void {
    this.forgets.forEach((forget) => forget());
    this.markers.stop();
  }
}

/** Time for members to come back by themselves before what the broker holds for their names is read by another one. */
const ADOPT_AFTER_MS = 3_000;
/** Time after which only members that the store knows are waited for. */
const FORGET_AFTER_MS = 6_000;
/** Time after which nobody is waited for. */
const LONGEST_WAIT_MS = 15_000;

/**
 * When an instance may go from the broker back to the store. All members store what the broker queued for them while the store was
 * away; whoever went back before the last of them is through would be shown old values as new ones.
 */
export class GroupReturn {
  /** The other members as long as rooms were in the store. */
  private othersBefore = 0;
  /** performance.now() since when this instance's own share is stored; undefined while it is not. */
  private waitingSince: number | undefined;
  private asking = false;
  /** Members that have answered, this one among them; 0 until all have. */
  private through = 0;

  /** @param changed it is known now */
  constructor(
    private readonly notes: Pick<IngestNotes, 'passMarker'>,
    private readonly changed: () => void,
  ) {}

  /** Every member has stored what was queued for it, or those that have not are waited for no longer. */
  get ready(): boolean {
    return this.through > 0;
  }

  /** In local mode: whoever has not come back by now does not, and what is held for its name may be read. */
  get mayAdopt(): boolean {
    return this.waitedMs >= ADOPT_AFTER_MS;
  }

  /** How many others read, seen while rooms are in the store. */
  sawOthers(count: number): void {
    this.othersBefore = count;
  }

  /** This instance is back in the store, or its own share is not stored yet. */
  reset(): void {
    this.waitingSince = undefined;
    this.through = 0;
  }

  /**
   * This instance's own share is stored: asks the others, unless it is known or asked already. Called again and again.
   * @param othersNow members that read now, as far as the store knows
   * @param adopting this instance reads what is held for another name, too
   */
  async ask(othersNow: number, adopting: boolean): Promise<void> {
    this.waitingSince ??= performance.now();
    if (this.asking || this.ready || (adopting && this.waitedMs < LONGEST_WAIT_MS)) {
      return;
    }
    this.asking = true;
    const since = this.waitingSince;
    const members =
      1 + (this.waitedMs < FORGET_AFTER_MS ? Math.max(this.othersBefore, othersNow) : othersNow);
    const passed = await this.notes.passMarker(members);
    this.asking = false;
    if (this.waitingSince !== since) {
      return;
    }
    if (passed) {
      this.through = members;
    } else if (this.waitedMs >= LONGEST_WAIT_MS) {
      this.through = 1;
    }
    if (this.ready) {
      this.changed();
    }
  }

  /** Resolves when what the broker had for those members until now is stored, or not in time. */
  barrier(): Promise<boolean> {
    return this.notes.passMarker(this.through);
  }

  private get waitedMs(): number {
    return this.waitingSince === undefined ? 0 : performance.now() - this.waitingSince;
  }
}
