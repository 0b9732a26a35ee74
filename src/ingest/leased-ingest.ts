import { background, contain, walled } from '../logging/walls.js';
import { mirrorByLabel } from '../metrics/hot-counters.js';
import { Backoff } from '../time/backoff.js';
import type { IngestSession } from '../mqtt/ingest-session.js';
import { type IngestLease, type IngestReaders, RENEWALS_PER_LEASE } from './ports.js';
import { Ingest, type SharedIngestParts } from './ingest.js';
import type { IngestHolder } from './lease-holder.js';
import { isAbandoned, LeasedShard } from './leased-shard.js';
import { LocalMode } from './away.js';
import { type HolderNote, IngestNotes } from './notes/notes.js';
import { Shares } from './shares.js';
import { StoreClaims } from './notes/store-claims.js';
import { UpstreamGrace } from './upstream.js';

/** Time without Redis after which a holder releases the lease: other instances may still reach Redis. */
const STORE_TIMEOUT_MS = 250;
/** Wait between giving up two shards; it doubles while that does not even the shares out. */
const FIRST_GIVE_UP_MS = 1_000;
const LONGEST_GIVE_UP_MS = 60_000;

/**
 * One instance at a time reads the device topics for all, on one persistent session; with INGEST_SHARDS one at a time reads each part of
 * them, and the parts are spread over the instances. Every instance watches the leases: at once through notes at the broker (the holder's will
 * among them), a little later through Redis. While Redis is away every instance reads for itself.
 */
export class LeasedIngest extends Ingest {
  private readonly notes: IngestNotes;
  private readonly claims: StoreClaims;
  private readonly grace: UpstreamGrace;
  private readonly localMode: LocalMode;
  private readonly shards: readonly LeasedShard[];
  private readonly shares: Shares;
  private readonly giveUps = new Backoff(FIRST_GIVE_UP_MS, LONGEST_GIVE_UP_MS, Math.random, 0.5);
  private giveUpAt = 0;
  private attending = false;
  private looking = false;
  private timer: NodeJS.Timeout | undefined;
  private storeTimer: NodeJS.Timeout | undefined;
  private stopped = false;
  private forgetFence: () => void = () => undefined;

  /**
   * @param leases one a shard
   * @param readers the instances among which several shards are spread
   */
  constructor(
    private readonly parts: SharedIngestParts,
    leases: readonly IngestLease[],
    private readonly readers: IngestReaders,
  ) {
    super();
    const { config, instance, metrics, upstream } = parts;
    this.grace = new UpstreamGrace(upstream);
    this.shares = new Shares(instance, leases.length, config.redis.leaseMs);
    this.notes = new IngestNotes(parts, {
      connected: () => background('ingest', this.look()),
      note: (note) => this.heard(note),
      claim: (payload) => this.heardClaim(payload),
    });
    this.claims = new StoreClaims(parts, this.notes);
    this.localMode = new LocalMode(parts, {
      away: () => this.endAll('Redis is away'),
      reachable: (reachable) => this.storeReached(reachable),
      changed: () => this.evaluate(),
    });
    const mayRead = (): boolean => this.mayRead;
    const host = {
      get mayRead() {
        return mayRead();
      },
      mayTakeOneMore: (forMs: number) =>
        leases.length === 1 ||
        this.shards.filter(({ isTaken }) => isTaken).length < this.shares.own ||
        isAbandoned(forMs, config.redis.leaseMs),
      changed: () => this.evaluate(),
      holdingChanged: () => this.holdingChanged(),
      look: () => background('ingest', this.look()),
    };
    this.shards = leases.map(
      (lease, number) => new LeasedShard(parts, { number, of: leases.length }, lease, this.notes, host),
    );
    mirrorByLabel(
      metrics.ingestShardBacklog,
      'shard',
      Object.fromEntries(
        this.shards.map((shard) => [String(shard.number), () => (shard.holder?.behindMs ?? 0) / 1_000]),
      ),
    );
    this.tellHeld();
  }

  get connected(): boolean {
    return this.notes.connected;
  }

  get behindMs(): number {
    return Math.max(this.localMode.behindMs, this.holdersBehindMs);
  }

  get sessions(): readonly IngestSession[] {
    return [...this.holders, this.localMode]
      .map((reader) => reader.session)
      .filter((session) => session !== undefined);
  }

  start(): void {
    this.forgetFence = this.parts.store.onFenced((shard) =>
      background('ingest', this.shards[shard]?.holder?.end('a newer holder has been in the store')),
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
    const othersRead = this.shards.some(({ holder, alive }) => holder === undefined && alive);
    if (this.holders.length > 0 && !othersRead) {
      this.claims.withdraw();
    }
    if (this.attending) {
      background(
        'ingest',
        this.readers.leave(this.parts.instance).catch(() => undefined),
      );
    }
    await Promise.all([
      ...this.shards.map((shard) => shard.stop('this instance stops')),
      this.localMode.stop(),
    ]);
    await this.notes.close();
  }

  private get holdersBehindMs(): number {
    return Math.max(0, ...this.holders.map(({ behindMs }) => behindMs));
  }

  private get holders(): IngestHolder[] {
    return this.shards.map(({ holder }) => holder).filter((holder) => holder !== undefined);
  }

  private get mayRead(): boolean {
    const { config, store } = this.parts;
    return config.redis.role !== 'edge' && this.notes.connected && store.storeReachable && this.claims.free;
  }

  private endAll(reason: string): void {
    this.holders.forEach((holder) => background('ingest', holder.end(reason)));
  }

  private storeReached(reachable: boolean): void {
    clearTimeout(this.storeTimer);
    if (!reachable) {
      this.storeTimer = setTimeout(
        walled('ingest', () => this.endAll('Redis is not reached from here')),
        STORE_TIMEOUT_MS,
      );
    }
    background('ingest', this.look());
  }

  /** Reads the leases from the store, evaluates them, and schedules the next look. */
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
    if (store.storeReachable) {
      await Promise.all(this.shards.map((shard) => shard.read()));
    }
    await identified;
    await this.attend();
    this.looking = false;
    if (!this.stopped) {
      try {
        this.evaluate();
        this.giveUpOne();
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
    const moments = this.shards.flatMap((shard) => shard.moments).filter((moment) => moment > now);
    return Math.max(1, Math.min(usualMs, ...moments.map((moment) => Math.ceil(moment - now) + 1)));
  }

  /** Says in the store that this instance may read and how many shards it holds, and learns that of the others. */
  private async attend(): Promise<void> {
    const { shards, parts } = this;
    if (shards.length === 1 || this.stopped) {
      return;
    }
    const mayAttend = this.mayRead && !shards.some(({ isFailing }) => isFailing);
    const held = this.holders.length;
    try {
      if (mayAttend) {
        this.shares.told(await this.readers.attend(parts.instance, held));
      } else if (this.attending) {
        this.shares.told(new Map());
        await this.readers.leave(parts.instance);
      }
      this.attending = mayAttend;
    } catch {
      // Asked again at the next look; until then what was known holds.
    }
  }

  /** Gives one shard up if this instance holds more than its share, so that an instance with less takes it. */
  private giveUpOne(): void {
    const { holders } = this;
    if (!this.attending || !this.shares.tooMany(holders.length)) {
      this.giveUps.reset();
    } else if (performance.now() >= this.giveUpAt && this.shards.every(({ isCaughtUp }) => isCaughtUp)) {
      this.giveUpAt = performance.now() + this.giveUps.nextMs();
      background('ingest', holders.at(-1)?.handOver('another instance reads less', false));
    }
  }

  private heardClaim(payload: Buffer): void {
    this.claims.heard(payload);
    const { holders } = this;
    if (holders.length > 0 && this.claims.yields) {
      this.endAll(
        this.claims.otherDivision
          ? 'instances divide the topics in another way'
          : 'instances with another Redis read under the same name',
      );
    } else if (holders.length === 0 && payload.length === 0) {
      background('ingest', this.look());
    }
  }

  private heard(note: HolderNote): void {
    if (!('token' in note)) {
      return;
    }
    if (note.left !== undefined && note.left !== this.parts.instance) {
      this.shares.left(note.left);
    }
    this.shards[note.shard ?? 0]?.heard(note);
  }

  /** Acts on the known state of the leases. */
  private evaluate(): void {
    if (this.stopped) {
      return;
    }
    const { shards, claims, notes } = this;
    const { store, upstream } = this.parts;
    claims.tell();
    if (this.holders.length > 0) {
      claims.renew(this.holdersBehindMs);
    }
    upstream.setBehind(
      store.mode === 'local' ? this.localMode.behindMs : claims.furthestBehind(this.holdersBehindMs),
    );
    // Whoever divides the topics in another way reads all of them; one that does not divide them has the first lease.
    const needed = claims.otherDivision ? shards.slice(0, 1) : shards;
    this.grace.set(
      store.mode === 'local'
        ? this.localMode.session?.up === true
        : needed.every(({ isRead }) => isRead) && store.storeReachable,
      notes.connected,
    );
    for (const shard of shards) {
      if (!shard.alive) {
        background('ingest', shard.acquire());
      }
    }
    if (shards.length > 1 && shards.every(({ isRead }) => isRead)) {
      this.holders.forEach((holder) => holder.letGo());
    }
    if (needed.every(({ isCaughtUp }) => isCaughtUp)) {
      // Without a connection to the broker nothing new is shown here, and no barrier is needed.
      const barrier = (): Promise<unknown> =>
        notes.connected ? notes.passMarker(needed.length) : Promise.resolve();
      background('ingest', this.localMode.giveBack(barrier));
    }
  }

  private holdingChanged(): void {
    this.tellHeld();
    if (this.holders.length > 0) {
      this.claims.renew(0);
    }
  }

  private tellHeld(): void {
    const { metrics, upstream } = this.parts;
    metrics.leaseHeld.set(this.holders.length > 0 ? 1 : 0);
    for (const { number, holder } of this.shards) {
      metrics.ingestShardHeld.set({ shard: String(number) }, holder === undefined ? 0 : 1);
    }
    upstream.shards = this.shards.filter(({ holder }) => holder !== undefined).map(({ number }) => number);
  }
}
