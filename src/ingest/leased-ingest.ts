import { Logger } from '@nestjs/common';
import { background, contain, walled } from '../logging/walls.js';
import { Backoff } from '../time/backoff.js';
import type { IngestSession } from '../mqtt/ingest-session.js';
import type { IngestLease, LeasePhase, LeaseState } from './ports.js';
import { Ingest, type SharedIngestParts } from './ingest.js';
import { IngestHolder, RENEWALS_PER_LEASE } from './lease-holder.js';
import { LocalMode } from './away.js';
import { type HolderNote, IngestNotes } from './notes.js';
import { StoreClaims } from './store-claims.js';
import { UpstreamGrace } from './upstream.js';

/** Wait before the lease is tried again after a holder failed. */
const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 5_000;
/** Tokens are times in µs: a note with a token further in the future is invalid. */
const MAX_CLOCK_DIFFERENCE_US = 3_600_000_000;
/** Time a new holder has to reach the broker; doubles with each failure, since a broker may be slow to accept connections. */
const BROKER_TIMEOUT_MS = 1_000;
/** Time without Redis after which a holder releases the lease: other instances may still reach Redis. */
const STORE_TIMEOUT_MS = 250;
/** A holder that lasted this long was good. */
const GOOD_HOLDER_MS = 5_000;

/**
 * One instance at a time reads the device topics for all, on one persistent session. Every instance watches the lease: at once through
 * notes at the broker (the holder's will among them), a little later through Redis. While Redis is away every instance reads for itself.
 */
export class LeasedIngest extends Ingest {
  private readonly logger = new Logger('Ingest');
  private readonly notes: IngestNotes;
  private readonly claims: StoreClaims;
  private readonly grace: UpstreamGrace;
  private readonly localMode: LocalMode;
  private readonly backoff = new Backoff(FIRST_WAIT_MS, LONGEST_WAIT_MS);
  private holder: IngestHolder | undefined;
  private holderSince = 0;
  private readonly lease: KnownLease;
  private acquiring = false;
  private notBefore = 0;
  private looking = false;
  private timer: NodeJS.Timeout | undefined;
  private storeTimer: NodeJS.Timeout | undefined;
  private stopped = false;
  private forgetFence: () => void = () => undefined;

  constructor(
    private readonly parts: SharedIngestParts,
    private readonly ingestLease: IngestLease,
  ) {
    super();
    this.grace = new UpstreamGrace(parts.upstream);
    this.lease = new KnownLease(parts.config.redis.leaseMs);
    this.notes = new IngestNotes(parts, {
      connected: () => background('ingest', this.look()),
      note: (note) => this.heard(note),
      claim: (payload) => this.heardClaim(payload),
    });
    this.claims = new StoreClaims(parts, this.notes);
    this.localMode = new LocalMode(parts, {
      away: () => background('ingest', this.holder?.end('Redis is away')),
      reachable: (reachable) => this.storeReached(reachable),
      changed: () => this.evaluate(),
    });
  }

  get connected(): boolean {
    return this.notes.connected;
  }

  get behindMs(): number {
    return this.holder?.behindMs ?? 0;
  }

  get sessions(): readonly IngestSession[] {
    return [this.holder?.session, this.localMode.session].filter((session) => session !== undefined);
  }

  start(): void {
    this.forgetFence = this.parts.store.onFenced(() =>
      background('ingest', this.holder?.end('a newer holder has been in the store')),
    );
    this.notes.open();
    this.localMode.start();
    background('ingest', this.look());
  }

  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    clearTimeout(this.storeTimer);
    this.grace.stop();
    this.forgetFence();
    if (this.holder !== undefined) {
      this.claims.withdraw();
    }
    await Promise.all([this.holder?.handOver('this instance stops'), this.localMode.stop()]);
    await this.notes.close();
  }

  private storeReached(reachable: boolean): void {
    clearTimeout(this.storeTimer);
    if (!reachable) {
      this.storeTimer = setTimeout(
        walled('ingest', () => this.holder?.end('Redis is not reached from here')),
        STORE_TIMEOUT_MS,
      );
    }
    background('ingest', this.look());
  }

  /** Reads the lease from the store, evaluates it, and schedules the next look. */
  private async look(): Promise<void> {
    if (this.looking || this.stopped) {
      this.evaluate();
      return;
    }
    this.looking = true;
    clearTimeout(this.timer);
    const { store } = this.parts;
    // A store that does not answer is asked again at the next look.
    const identified = store.storeReachable ? this.claims.identify().catch(() => undefined) : undefined;
    if (this.holder === undefined && store.storeReachable) {
      const asked = this.lease.lastSeen;
      // If it cannot be read, the last known state holds until it expires.
      const state = await this.ingestLease.read().catch(() => undefined);
      if (state !== undefined && this.holder === undefined && this.lease.lastSeen === asked) {
        this.lease.stored(state);
      }
    }
    await identified;
    this.looking = false;
    if (!this.stopped) {
      try {
        this.evaluate();
      } catch (error) {
        contain('ingest', error); // the next look is scheduled all the same
      }
      this.timer = setTimeout(
        walled('ingest', () => this.look()),
        this.nextLookMs(),
      );
    }
  }

  private nextLookMs(): number {
    const usualMs = this.parts.config.redis.leaseMs / RENEWALS_PER_LEASE;
    const now = performance.now();
    const moments = [this.lease.until, this.notBefore].filter((moment) => moment > now);
    return Math.max(1, Math.min(usualMs, ...moments.map((moment) => Math.ceil(moment - now) + 1)));
  }

  private heardClaim(payload: Buffer): void {
    this.claims.heard(payload);
    if (this.holder !== undefined && this.claims.yields) {
      background('ingest', this.holder.end('instances with another Redis read under the same name'));
    } else if (this.holder === undefined && payload.length === 0) {
      background('ingest', this.look());
    }
  }

  private heard(note: HolderNote): void {
    if (!('token' in note)) {
      return;
    }
    const { token, event } = note;
    const latest = Date.now() * 1000 + MAX_CLOCK_DIFFERENCE_US;
    if (this.holder !== undefined || token < this.lease.lastSeen || token > latest) {
      return;
    }
    if (event === 'gone') {
      this.lease.lastSeen = token;
      this.lease.free();
      background('ingest', this.acquire(token));
    } else {
      this.lease.told(token, event);
      this.evaluate();
    }
  }

  /** Acts on the known state of the lease. */
  private evaluate(): void {
    if (this.stopped) {
      return;
    }
    const { store } = this.parts;
    const { alive, phase } = this.lease;
    this.claims.tell();
    if (this.holder !== undefined) {
      this.claims.renew(this.behindMs);
    }
    this.parts.upstream.setBehind(store.mode === 'local' ? 0 : this.claims.furthestBehind(this.behindMs));
    this.grace.set(
      store.mode === 'local'
        ? this.localMode.session?.up === true
        : alive && phase !== 'claimed' && store.storeReachable,
      this.notes.connected,
    );
    if (!alive) {
      background('ingest', this.acquire(0));
    } else if (phase === 'caught-up') {
      // Without the broker there is nothing of it that is shown here and not stored.
      background(
        'ingest',
        this.localMode.giveBack(() => (this.notes.connected ? this.notes.passMarker() : Promise.resolve())),
      );
    }
  }

  /** @param replacing token of a holder that is known to be gone */
  private async acquire(replacing: number): Promise<void> {
    const { parts } = this;
    const may =
      !this.stopped &&
      !this.acquiring &&
      this.holder === undefined &&
      this.notes.connected &&
      parts.store.storeReachable &&
      this.claims.free &&
      performance.now() >= this.notBefore;
    if (!may) {
      return;
    }
    this.acquiring = true;
    let token: number | null = null;
    try {
      token = await this.ingestLease.acquire(replacing, this.lease.lastSeen);
    } catch {
      this.notBefore = performance.now() + this.backoff.nextMs();
    } finally {
      this.acquiring = false;
    }
    if (token === null) {
      background('ingest', this.look());
    } else if (this.stopped) {
      await this.ingestLease.release(token).catch(() => undefined);
      this.notes.tell({ event: 'gone', token });
    } else {
      this.hold(token);
    }
  }

  private hold(token: number): void {
    const { parts } = this;
    this.holderSince = performance.now();
    this.lease.held(token, 'claimed');
    this.logger.log('This instance reads device topics for all: it has taken the ingest lease');
    parts.metrics.leaseHeld.set(1);
    const { failures } = this.backoff;
    const brokerTimeoutMs = Math.min(BROKER_TIMEOUT_MS * 2 ** failures, parts.config.mqtt.connectTimeoutMs);
    const holder = new IngestHolder(parts, this.ingestLease, this.notes, token, brokerTimeoutMs, {
      phase: (phase) => {
        this.lease.held(token, phase);
        this.evaluate();
      },
      ended: (reason) => this.holderEnded(reason),
    });
    this.holder = holder;
    this.claims.renew(0);
    background('ingest', holder.start());
  }

  private holderEnded(reason: string): void {
    this.holder = undefined;
    this.lease.free();
    this.parts.metrics.leaseHeld.set(0);
    if (this.stopped) {
      return;
    }
    this.logger.warn(`This instance no longer reads device topics for all: ${reason}`);
    if (performance.now() - this.holderSince >= GOOD_HOLDER_MS) {
      this.backoff.reset();
    }
    this.notBefore = performance.now() + this.backoff.nextMs();
    background('ingest', this.look());
  }
}

/** The ingest lease as known by this instance. */
class KnownLease {
  /** The highest token seen. */
  lastSeen = 0;
  private lease: { phase: LeasePhase; until: number } | null = null;

  /** @param leaseMs life of a lease without renewal */
  constructor(private readonly leaseMs: number) {}

  /** Somebody holds it. */
  get alive(): boolean {
    return this.lease !== null && performance.now() < this.lease.until;
  }

  get phase(): LeasePhase | undefined {
    return this.lease?.phase;
  }

  /** performance.now() at which it expires unless renewed; Infinity when that is not known, or this instance holds it. */
  get until(): number {
    return this.lease?.until ?? Infinity;
  }

  /** The state read from the store. */
  stored(state: LeaseState | null): void {
    if (state === null) {
      this.lease = null;
      return;
    }
    this.lastSeen = Math.max(this.lastSeen, state.token);
    this.lease = { phase: state.phase, until: performance.now() + state.expiresInMs };
  }

  /** A note from the holder. */
  told(token: number, phase: LeasePhase): void {
    this.lastSeen = token;
    this.lease = { phase, until: performance.now() + this.leaseMs };
  }

  /** This instance holds it. */
  held(token: number, phase: LeasePhase): void {
    this.lastSeen = token;
    this.lease = { phase, until: Infinity };
  }

  /** Nobody holds it. */
  free(): void {
    this.lease = null;
  }
}
