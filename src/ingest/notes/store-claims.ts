import { Logger } from '@nestjs/common';
import { isObject } from '../../protocol/json.js';
import type { SharedIngestParts } from '../ingest.js';
import type { IngestNotes } from './notes.js';
import { RENEWALS_PER_LEASE, type StoreIdentity } from '../ports.js';

/** Other readers and former identities that are remembered; of more than that the oldest is forgotten. */
const MAX_REMEMBERED = 16;
/** For this many lives of a lease the former identity of our store still counts as ours, because a server that came back empty has a new identity. */
const FORMER_LIVES = 10;
/** A reader does not claim if another one of the same store has claimed within this part of an interval. */
const QUIET_AFTER = 0.9;

/** A reader that is further behind than this, and further than all others by the factor below, sends a claim of its own. */
const BEHIND_MS = 2_000;
const MUCH_FURTHER = 1.5;

/** What a reader says of itself, through the broker. */
interface Claim {
  readonly store: string;
  readonly bornMs: number;
  readonly mode: string;
  readonly namespace: string;
  /** What a message waits at the broker until this reader has stored it. */
  readonly behindMs: number;
}

interface Other extends Claim {
  /** Monotonic ms of its first claim. */
  readonly since: number;
  /** Monotonic ms until which it lives unless it claims again. */
  until: number;
}

/**
 * Who reads under our names at the broker, and for which store. Readers claim the names with the identity of their store, again and again, on
 * `<NAMESPACE>/ingest/claim` and in the group's name; retained, so that an instance that starts hears it at once. Where readers of another
 * store live this instance does not read: two Redis servers in one rolling update, or two deployments in one group of a shared subscription,
 * would take the broker's messages from each other.
 */
export class StoreClaims {
  private readonly logger = new Logger('Ingest');
  private readonly others = new Map<string, Other>();
  private readonly formerly = new Map<string, number>();
  private own: StoreIdentity | undefined;
  /** When the store was asked for it. */
  private identifiedAt = -Infinity;
  private claimedAt = -Infinity;
  /** The furthest behind of the readers of this store, as the last claims say. */
  private behind = { ms: 0, until: 0 };
  private said: string | undefined;

  /** @param now monotonic ms; replaced in tests */
  constructor(
    private readonly parts: Pick<SharedIngestParts, 'config' | 'metrics' | 'store' | 'upstream' | 'division'>,
    private readonly notes: Pick<IngestNotes, 'claim' | 'claimUnder'>,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** The group of the shared subscription; undefined until the store has said it. */
  get group(): string | undefined {
    return this.own?.group;
  }

  /** The store is known, and nobody reads for another one: this instance may begin to read. */
  get free(): boolean {
    return this.own !== undefined && this.rival(false) === undefined;
  }

  /** This instance, which reads, leaves the names to the readers of a store that is older. */
  get yields(): boolean {
    const { own } = this;
    const rival = own && this.rival();
    return (
      own !== undefined &&
      rival !== undefined &&
      (rival.bornMs - own.bornMs || (keyOf(rival) < this.ownKey(own) ? -1 : 1)) < 0
    );
  }

  /** Instances that share this store divide the topics in another way, and read all of them. */
  get otherDivision(): boolean {
    const rival = this.own && this.rival();
    return rival !== undefined && rival.store === this.own?.id && rival.mode.startsWith('leased');
  }

  /** Asks the store who it is. Rejects when it does not answer. */
  async identify(): Promise<void> {
    const askedAt = this.now();
    const identity = await this.parts.store.identify(this.own?.group);
    const { own } = this;
    if (own !== undefined && own.id !== identity.id) {
      remember(this.formerly, this.ownKey(own), this.now() + FORMER_LIVES * this.leaseMs);
    }
    this.own = identity;
    this.identifiedAt = askedAt;
    this.notes.claimUnder(
      this.parts.config.mqtt.ingest === 'shared' ? identity.group : this.parts.config.redis.namespace,
    );
    this.tell();
  }

  /** How far the slowest reader is behind, this one included; claims say it of the others. */
  furthestBehind(ownMs: number): number {
    return this.now() < this.behind.until ? Math.max(ownMs, this.behind.ms) : ownMs;
  }

  /**
   * Called while a reader of this instance lives. Sends a claim, unless another reader of the same store, as far behind, has just sent one.
   * @param behindMs what it is behind the broker
   */
  renew(behindMs: number): void {
    const { own } = this;
    const { config } = this.parts;
    const at = this.now();
    const due = at - this.claimedAt >= (QUIET_AFTER * this.leaseMs) / RENEWALS_PER_LEASE;
    if (own !== undefined && (due || behindMs > MUCH_FURTHER * this.furthestBehind(BEHIND_MS))) {
      const claim: Claim = {
        store: own.id,
        bornMs: own.bornMs,
        mode: this.mode,
        namespace: config.redis.namespace,
        behindMs: Math.round(behindMs),
      };
      this.claimedAt = at;
      this.notes.claim(JSON.stringify(claim));
    }
  }

  /** The last reader of this store has left in order. */
  withdraw(): void {
    this.claimedAt = -Infinity;
    this.notes.claim('');
  }

  /** @param payload of a claim, retained or just sent; empty: the readers there have left */
  heard(payload: Buffer): void {
    if (payload.length === 0) {
      this.others.clear();
    }
    const claim = parseClaim(payload);
    if (claim !== undefined) {
      const key = keyOf(claim);
      if (this.own !== undefined && key === this.ownKey(this.own)) {
        this.claimedAt = this.now();
        this.behind = { ms: claim.behindMs, until: this.now() + this.leaseMs };
      } else {
        const now = this.now();
        const known = this.others.get(key);
        const since = known !== undefined && known.until > now ? known.since : now;
        remember(this.others, key, { ...claim, since, until: now + this.leaseMs });
      }
    }
    this.tell();
  }

  /** Says in log, health and metric whether somebody else reads; nothing while that is as before. */
  tell(): void {
    const rival = this.own === undefined ? undefined : this.rival();
    const { metrics, upstream } = this.parts;
    const reason =
      rival === undefined
        ? undefined
        : rival.store === this.own?.id
          ? this.otherReaders(rival)
          : `instances of namespace ${rival.namespace} read under the same names at the broker, with another Redis or as another deployment`;
    if (reason === this.said) {
      return;
    }
    this.said = reason;
    upstream.hindrance = reason;
    metrics.ingestConflict.set(reason === undefined ? 0 : 1);
    if (reason === undefined) {
      this.logger.log('Nobody else reads under our names at the broker any longer');
    } else {
      this.logger.error(`This instance does not begin to read device topics: ${reason}`, { reason });
    }
  }

  /**
   * A living reader of another store. One that was heard after this instance had asked its store who it is may read for this same store, which has
   * come back empty and has a new identity: the instance that knows this first claims at once.
   * @param isSure without those that may be of this same store
   */
  private rival(isSure = true): Other | undefined {
    const now = this.now();
    for (const [key, other] of this.others) {
      const own = this.own !== undefined && key === this.ownKey(this.own);
      const isFormer = (this.formerly.get(key) ?? -Infinity) > now;
      if (other.until > now && !own && !isFormer && (!isSure || other.since <= this.identifiedAt)) {
        return other;
      }
    }
    return undefined;
  }

  private get leaseMs(): number {
    return this.parts.config.redis.leaseMs;
  }

  private ownKey({ id }: StoreIdentity): string {
    return keyOf({ store: id, mode: this.mode });
  }

  /** Readers that divide the topics differently would read a topic twice, or not at all: as different as `leased` and `shared`. */
  private get mode(): string {
    const { config, division } = this.parts;
    return division.name === '' ? config.mqtt.ingest : `leased/${config.mqtt.ingestShards}/${division.name}`;
  }

  private otherReaders({ mode }: Claim): string {
    const [ingest] = mode.split('/');
    return ingest === this.parts.config.mqtt.ingest
      ? 'instances with another INGEST_SHARDS, or with layouts that divide the topics differently, read for this deployment: this one begins when they are gone'
      : `instances with MQTT_INGEST=${ingest} read for this deployment, this one has ${this.parts.config.mqtt.ingest}: change it with all instances stopped`;
  }
}

const keyOf = ({ store, mode }: Pick<Claim, 'store' | 'mode'>): string => `${store} ${mode}`;

function remember<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  if (map.size > MAX_REMEMBERED) {
    map.delete(map.keys().next().value as string);
  }
}

const MAX_TEXT = 128;

/** Anybody with the right may publish there: what is no claim is ignored. */
function parseClaim(payload: Buffer): Claim | undefined {
  const texts = (...values: unknown[]): boolean =>
    values.every((value) => typeof value === 'string' && value !== '' && value.length <= MAX_TEXT);
  try {
    const claim: unknown = JSON.parse(payload.toString());
    if (isObject(claim) && texts(claim['store'], claim['mode'], claim['namespace'])) {
      const { store, bornMs, mode, namespace, behindMs } = claim as unknown as Claim;
      return Number.isSafeInteger(bornMs) && Number.isSafeInteger(behindMs) && behindMs >= 0
        ? { store, bornMs, mode, namespace, behindMs }
        : undefined;
    }
  } catch {
    // not JSON
  }
  return undefined;
}
