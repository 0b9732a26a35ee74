import { Logger } from '@nestjs/common';
import { background } from '../logging/walls.js';
import { Backoff } from '../time/backoff.js';
import type { SharedIngestParts } from './ingest.js';
import { IngestHolder, type Shard } from './lease-holder.js';
import type { IngestNotes, LeaseNote } from './notes/notes.js';
import { type IngestLease, type LeasePhase, type LeaseState, RENEWALS_PER_LEASE } from './ports.js';

/** Wait before the lease is tried again after a holder failed. */
const FIRST_WAIT_MS = 200;
const LONGEST_WAIT_MS = 5_000;
/** Tokens are times in µs: a note with a token further in the future is invalid. */
const MAX_CLOCK_DIFFERENCE_US = 3_600_000_000;
/** Time a new holder has to reach the broker; doubles with each failure, since a broker may be slow to accept connections. */
const BROKER_TIMEOUT_MS = 1_000;
/** After this many failures in a row this instance leaves reading to others. */
const MANY_FAILURES = 3;
/** A holder that lasted this long was good. */
const GOOD_HOLDER_MS = 5_000;

export interface LeasedShardHost {
  /** Whether this instance may take a lease at all now. */
  readonly mayRead: boolean;
  /** Whether it may hold one shard more; asked while the lease of this one is free. @param forMs it has been free for so long */
  mayTakeOneMore(forMs: number): boolean;
  /** The lease of this shard is taken, read, caught up or gone. */
  changed(): void;
  /** This instance holds it now, or no longer. */
  holdingChanged(): void;
  /** The known state may be old. */
  look(): void;
}

/** The lease of one shard as this instance knows it, and while it holds that, the holder that reads. */
export class LeasedShard {
  private readonly logger = new Logger('Ingest');
  private readonly backoff = new Backoff(FIRST_WAIT_MS, LONGEST_WAIT_MS);
  private readonly lease: KnownLease;
  private current: IngestHolder | undefined;
  private holderSince = 0;
  private acquiring = false;
  private stopped = false;
  private notBefore = 0;

  constructor(
    private readonly parts: SharedIngestParts,
    private readonly shard: Shard,
    private readonly ingestLease: IngestLease,
    private readonly notes: IngestNotes,
    private readonly host: LeasedShardHost,
  ) {
    this.lease = new KnownLease(parts.config.redis.leaseMs);
  }

  /** While this instance holds the lease. */
  get holder(): IngestHolder | undefined {
    return this.current;
  }

  /** This instance holds the lease, or is asking for it. */
  get isTaken(): boolean {
    return this.current !== undefined || this.acquiring;
  }

  /** Its number. */
  get number(): number {
    return this.shard.number;
  }

  /** Somebody holds the lease. */
  get alive(): boolean {
    return this.lease.alive;
  }

  /** Somebody reads live messages. */
  get isRead(): boolean {
    return this.lease.alive && this.lease.phase !== 'claimed';
  }

  /** Somebody reads, and has read what the broker had queued and retained. */
  get isCaughtUp(): boolean {
    return this.lease.alive && this.lease.phase === 'caught-up';
  }

  /** Holders of this instance fail again and again, and the next one waits. */
  get isFailing(): boolean {
    return this.backoff.failures >= MANY_FAILURES && performance.now() < this.notBefore;
  }

  /** performance.now() at which the state may change without anybody saying so. */
  get moments(): readonly number[] {
    return [this.lease.until, this.notBefore];
  }

  /** Reads the lease from the store. If it cannot be read, the last known state holds until it expires. */
  async read(): Promise<void> {
    if (this.current !== undefined) {
      return;
    }
    const asked = this.lease.lastSeen;
    const state = await this.ingestLease.read().catch(() => undefined);
    if (state !== undefined && this.current === undefined && this.lease.lastSeen === asked) {
      this.lease.stored(state);
    }
  }

  heard({ token, event }: LeaseNote): void {
    const latest = Date.now() * 1000 + MAX_CLOCK_DIFFERENCE_US;
    if (this.current !== undefined || token < this.lease.lastSeen || token > latest) {
      return;
    }
    if (event === 'gone') {
      this.lease.lastSeen = token;
      this.lease.free();
      background('ingest', this.acquire(token));
    } else {
      this.lease.told(token, event);
      this.host.changed();
    }
  }

  /** Takes the lease, if it is free as far as known and this instance may. @param replacing token of a holder that is known to be gone */
  async acquire(replacing = 0): Promise<void> {
    const may =
      !this.stopped &&
      !this.acquiring &&
      this.current === undefined &&
      performance.now() >= this.notBefore &&
      this.host.mayRead &&
      this.host.mayTakeOneMore(this.lease.freeForMs);
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
      this.host.look();
    } else if (this.stopped) {
      await this.ingestLease.release(token).catch(() => undefined);
      const { number } = this.shard;
      this.notes.tell({ event: 'gone', token, ...(number > 0 && { shard: number }) });
    } else {
      this.hold(token);
    }
  }

  /** Ends the holder, if this instance is it, and takes the lease no more. */
  async stop(reason: string): Promise<void> {
    this.stopped = true;
    await this.current?.handOver(reason);
  }

  private hold(token: number): void {
    const { parts } = this;
    const { number, of } = this.shard;
    this.holderSince = performance.now();
    this.lease.held(token, 'claimed');
    parts.metrics.takeovers.inc({ what: 'lease' });
    this.logger.log(
      of === 1
        ? 'This instance reads device topics for all: it has taken the ingest lease'
        : `This instance reads shard ${number} of the device topics for all: ${filtersOf(parts, number)}`,
      { token, shard: number },
    );
    const { failures } = this.backoff;
    const brokerTimeoutMs = Math.min(BROKER_TIMEOUT_MS * 2 ** failures, parts.config.mqtt.connectTimeoutMs);
    const holder = new IngestHolder(parts, this.ingestLease, this.notes, this.shard, token, brokerTimeoutMs, {
      phase: (phase) => {
        this.lease.held(token, phase);
        this.host.changed();
      },
      ended: (reason) => this.holderEnded(reason),
    });
    this.current = holder;
    this.host.holdingChanged();
    background('ingest', holder.start());
  }

  private holderEnded(reason: string): void {
    this.current = undefined;
    this.lease.free();
    this.host.holdingChanged();
    if (this.stopped) {
      return;
    }
    const { number, of } = this.shard;
    const what = of === 1 ? 'device topics' : `shard ${number} of the device topics`;
    this.logger.warn(`This instance no longer reads ${what} for all: ${reason}`, { shard: number, reason });
    if (performance.now() - this.holderSince >= GOOD_HOLDER_MS) {
      this.backoff.reset();
    }
    this.notBefore = performance.now() + this.backoff.nextMs();
    this.host.look();
  }
}

/** Most filters that a line of the log names. */
const MAX_FILTERS_TOLD = 8;

function filtersOf({ division }: SharedIngestParts, number: number): string {
  const filters = (division.shards[number] ?? []).map(({ filter }) => filter);
  const more = filters.length - MAX_FILTERS_TOLD;
  return `${filters.slice(0, MAX_FILTERS_TOLD).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

/** An ingest lease as known by this instance. */
class KnownLease {
  /** The highest token seen. */
  lastSeen = 0;
  private lease: { phase: LeasePhase; until: number } | null = null;
  private freeSince = performance.now();

  /** @param leaseMs life of a lease without renewal */
  constructor(private readonly leaseMs: number) {}

  /** Somebody holds it. */
  get alive(): boolean {
    return this.lease !== null && performance.now() < this.lease.until;
  }

  /** For how long nobody has held it. */
  get freeForMs(): number {
    return performance.now() - (this.lease?.until ?? this.freeSince);
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
      this.free();
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
    if (this.lease !== null) {
      this.freeSince = performance.now();
    }
    this.lease = null;
  }
}

/** Whether a shard was free for so long that any instance takes it. Before that only instances with less than their share do. */
export function isAbandoned(freeForMs: number, leaseMs: number): boolean {
  return freeForMs > leaseMs / RENEWALS_PER_LEASE;
}
