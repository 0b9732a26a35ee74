import { setTimeout as delay } from 'node:timers/promises';
import { Logger } from '@nestjs/common';
import { background, contain, walled } from '../logging/walls.js';
import { warnOfGrants } from '../mqtt/broker-answers.js';
import { IngestSession, type SubscriptionOptions } from '../mqtt/ingest-session.js';
import { within } from '../time/clock.js';
import { type IngestLease, type LeasePhase, RENEWALS_PER_LEASE } from './ports.js';
import { contextFor, liveSubscriptions, type SharedIngestParts } from './ingest.js';
import { Markers } from './notes/markers.js';
import type { IngestNotes, LeaseNote } from './notes/notes.js';
import { RetainedPass } from './retained-pass.js';

/** At a clean stop: time to store pending messages, so that the next holder does not get them again. */
const SETTLE_TIMEOUT_MS = 100;
const SETTLE_LOOK_MS = 5;
/** Time our own marker has to come back once no message is unacknowledged; then the broker is assumed to block it. */
const MARKER_TIMEOUT_MS = 5_000;

export interface HolderEvents {
  /** It reads live messages; later: it has read what the broker had queued and retained. */
  phase(phase: LeasePhase): void;
  /** It has ended, for any reason, and the lease is released if it was held. Called once. */
  ended(reason: string): void;
}

/** The part of the topics that a holder reads. */
export interface Shard {
  readonly number: number;
  /** Shards in all. */
  readonly of: number;
}

/**
 * One period of holding the ingest lease, under one token: fence, persistent session, renewals. It ends when any of them is lost and is
 * never reused: the next holder takes the lease with a higher token.
 */
export class IngestHolder {
  readonly session: IngestSession;
  private readonly logger = new Logger('Ingest');
  private readonly retained: RetainedPass;
  private phase: LeasePhase = 'claimed';
  private ending: Promise<void> | undefined;
  private brokerTimer: NodeJS.Timeout | undefined;
  private renewTimer: NodeJS.Timeout | undefined;
  private renewedAt = performance.now();
  private renewing = false;
  private readonly markers: Markers;
  private retainedRead = false;
  private hasLetGo = false;
  /** This instance holds no shard any more. */
  private leaves = false;
  private passed = false;
  private readonly forgets: (() => void)[];

  /** @param brokerTimeoutMs time without the broker after which the lease is released */
  constructor(
    private readonly parts: SharedIngestParts,
    private readonly lease: IngestLease,
    private readonly notes: IngestNotes,
    private readonly shard: Shard,
    readonly token: number,
    private readonly brokerTimeoutMs: number,
    private readonly events: HolderEvents,
  ) {
    const { config, store } = parts;
    const { number, of } = shard;
    // The first shard has the names of the only one: what the broker has queued is read on when topics are divided.
    const suffix = number === 0 ? '' : `-${number}`;
    this.markers = new Markers(notes, () => this.session, `${token}${suffix}`, of === 1 ? undefined : number);
    this.retained = new RetainedPass(
      parts,
      store.writerOf(number),
      `${config.redis.namespace}-retained-${parts.instance}${suffix}`,
      () => this.retainedDone(),
      of === 1 ? undefined : number,
    );
    const { messages } = this.retained;
    const subscriptions = (): SubscriptionOptions[] => [
      ...liveSubscriptions(messages),
      this.markers.subscription,
    ];
    const routes = () => [...messages.routes, this.markers.route];
    const context = contextFor(parts, routes());
    const expiry = config.mqtt.sessionExpiryS;
    this.session = new IngestSession(
      context,
      {
        name: `live${suffix}`,
        // The same client id for every holder: the next one reads what the broker queued for the last one.
        clientId: `${config.redis.namespace}-ingest${suffix}`,
        cleanStart: 'never',
        sessionExpiryS: expiry,
        receiveMaximum: config.mqtt.receiveMaximum,
        will: notes.will(this.note('gone', true)),
        subscriptions: subscriptions(),
      },
      {
        connected: (sessionPresent, connack) => {
          clearTimeout(this.brokerTimer);
          warnOfGrants(this.logger, connack, { sessionExpiryS: expiry, shared: false });
          this.retained.begin(!sessionPresent || store.stateDoubt.raised);
          if (sessionPresent) {
            this.setPhase('reading');
          }
        },
        up: () => this.reading(),
        takenOver: () => parts.metrics.takeovers.inc({ what: 'session' }),
        down: (reason) => {
          background('ingest', this.end(reason));
          return false;
        },
      },
    );
    this.forgets = [
      messages.onRoutes(() => {
        context.router.replace(routes());
        this.session.changeSubscriptions(subscriptions());
        if (this.session.up) {
          this.retained.readNew();
        }
      }),
      store.onCongestion((congested) => this.session.pause(congested)),
      store.stateDoubt.onRaised(() => {
        if (this.phase !== 'claimed') {
          this.retained.readAgain();
        }
      }),
    ];
  }

  /** What a message waits at the broker until it is stored. */
  get behindMs(): number {
    return this.markers.behindMs;
  }

  /** Raises the fence, then reads. */
  async start(): Promise<void> {
    const { store, config } = this.parts;
    this.renewTimer = setInterval(
      walled('ingest', () => this.renew()),
      config.redis.leaseMs / RENEWALS_PER_LEASE,
    );
    try {
      await store.raiseFence(this.token, this.shard.number);
    } catch (error) {
      await this.end((error as Error).message);
      return;
    }
    if (this.ending === undefined) {
      this.brokerTimer = setTimeout(
        walled('ingest', () => this.end(`no connection to the broker within ${this.brokerTimeoutMs} ms`)),
        this.brokerTimeoutMs,
      );
      this.session.pause(store.congested);
      this.session.start();
    }
  }

  /**
   * Unsubscribes from topics that other shards read now and that this session may have read before. Until the broker has done so, both may
   * get a message, and none is lost.
   */
  letGo(): void {
    if (!this.hasLetGo) {
      this.hasLetGo = true;
      const { shards } = this.parts.division;
      this.session.disown(shards.flatMap((filters) => filters.map(({ filter }) => filter)));
    }
  }

  /** Hands over: lets pending messages be stored, then releases session and lease and sends a note. @param leaves this instance stops */
  async handOver(reason: string, leaves = true): Promise<void> {
    this.leaves = leaves;
    this.session.pause(true);
    this.retained.messages.flush();
    const deadline = performance.now() + SETTLE_TIMEOUT_MS;
    while (this.session.unacknowledged > 0 && performance.now() < deadline) {
      await delay(SETTLE_LOOK_MS);
    }
    await this.end(reason);
  }

  /** Ends in order, so that the broker publishes no will and keeps the session for the next holder. */
  end(reason: string): Promise<void> {
    this.ending ??= this.leave(reason);
    return this.ending;
  }

  private async leave(reason: string): Promise<void> {
    clearTimeout(this.brokerTimer);
    clearInterval(this.renewTimer);
    this.markers.stop();
    this.forgets.forEach((forget) => forget());
    this.retained.messages.end();
    // Even if a step fails, this holder has ended: the next one may begin.
    try {
      await Promise.all([this.retained.stop(), this.session.end()]);
      // If the store does not answer, the lease expires.
      const { leaseMs } = this.parts.config.redis;
      await within(leaseMs, this.lease.release(this.token)).catch(() => undefined);
      this.notes.tell(this.note('gone', this.leaves));
    } catch (error) {
      contain('ingest', error);
    }
    this.events.ended(reason);
  }

  private note(event: LeaseNote['event'], leaves = false): LeaseNote {
    const { number, of } = this.shard;
    return {
      event,
      token: this.token,
      ...(number > 0 && { shard: number }),
      ...(of > 1 && leaves && { left: this.parts.instance }),
    };
  }

  private setPhase(phase: LeasePhase): void {
    if (this.ending !== undefined || this.phase === phase || this.phase === 'caught-up') {
      return;
    }
    this.phase = phase;
    if (phase === 'caught-up') {
      this.retained.messages.caughtUp();
    }
    if (phase !== 'claimed') {
      this.notes.tell(this.note(phase));
    }
    this.renew();
    this.events.phase(phase);
  }

  private reading(): void {
    this.setPhase('reading');
    const { parts } = this;
    const { number, of } = this.shard;
    const what = of === 1 ? 'device topics' : `shard ${number} of the device topics`;
    const broker = parts.context.broker.name;
    this.logger.log(`Reading ${what} from ${broker} for all instances`, { broker, shard: number });
    this.retained.read();
    background('ingest', this.catchUp());
  }

  private async catchUp(): Promise<void> {
    if (await this.markers.catchUp(MARKER_TIMEOUT_MS)) {
      this.passed = true;
      this.considerCaughtUp();
    }
  }

  private retainedDone(): void {
    this.parts.store.stateDoubt.settle();
    this.retainedRead = true;
    this.considerCaughtUp();
  }

  private considerCaughtUp(): void {
    if (this.retainedRead && this.passed) {
      this.setPhase('caught-up');
    }
  }

  private renew(): void {
    const { config } = this.parts;
    if (performance.now() - this.renewedAt >= config.redis.leaseMs) {
      background('ingest', this.end('the lease could not be renewed'));
      return;
    }
    if (this.renewing) {
      return;
    }
    this.renewing = true;
    const askedAt = performance.now();
    const renewed = this.lease
      .renew(this.token, this.phase)
      .then(
        async (held) => {
          this.renewedAt = askedAt;
          if (!held) {
            await this.end('another instance has the lease');
          }
        },
        () => undefined, // retried until the lease expires
      )
      .finally(() => (this.renewing = false));
    background('ingest', renewed);
  }
}
