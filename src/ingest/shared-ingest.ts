import { Logger } from '@nestjs/common';
import { background, walled } from '../logging/walls.js';
import type { IngestSlots } from './ingest-slots.js';
import type { IngestSession } from '../mqtt/ingest-session.js';
import { Ingest, type SharedIngestParts } from './ingest.js';
import { RENEWALS_PER_LEASE } from './lease-holder.js';
import { GroupReturn } from './group-return.js';
import { IngestNotes } from './notes.js';
import { LocalMode } from './local-mode.js';
import { SharedMember } from './shared-member.js';
import { UpstreamGrace } from './upstream-grace.js';

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
    const { number } = await this.slots.take(this.slotBefore);
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
