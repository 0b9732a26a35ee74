import type { Clock } from '../time/clock.js';
import type { VerifiedToken } from './claims.js';
import {
  MAX_REVOCATIONS,
  type Revocation,
  type RevocationChange,
  type RevocationTarget,
} from './revocation-store.js';

/** Time for which a lifted revocation is remembered, so that an instance that did not hear of it does not bring it back. */
const LIFTED_KEPT_MS = 24 * 3_600_000;

/** What this instance knows of revocations: those that hold, those that were lifted, and which of it the store is not known to have. */
export class HeldRevocations {
  /** Ids of changes that the store is not known to have. */
  readonly unwritten = new Set<string>();
  private readonly index = new RevocationIndex();
  /** Lifted ids with the Unix ms until which they are remembered, the oldest first. */
  private readonly lifted = new Map<string, number>();

  constructor(
    private readonly clock: Clock,
    private readonly toleranceMs: number,
  ) {}

  get size(): number {
    return this.index.size;
  }

  concerns(token: VerifiedToken): boolean {
    return this.index.size > 0 && this.index.concerns(token);
  }

  /** One that says the same. */
  same(what: RevocationTarget, expiresAt: number | undefined): Revocation | undefined {
    return this.index.same(what, expiresAt);
  }

  /** The revocation with this id, unless it has expired. */
  current(id: string): Revocation | undefined {
    const record = this.index.get(id);
    return record === undefined || this.hasExpired(record, this.clock.now()) ? undefined : record;
  }

  /** All that have not expired, the oldest first. */
  list(): Revocation[] {
    const now = this.clock.now();
    return [...this.index.values()]
      .filter((record) => !this.hasExpired(record, now))
      .sort((one, other) => one.createdAt - other.createdAt || (one.id < other.id ? -1 : 1));
  }

  add(record: Revocation): void {
    this.index.add(record);
  }

  /** Takes one from the store. @returns whether it is new here, and revokes tokens that were good */
  take(record: Revocation): boolean {
    if (this.index.has(record.id) || this.hasExpired(record, this.clock.now())) {
      return false;
    }
    this.index.add(record);
    return true;
  }

  /** The store says that it was lifted. */
  liftAsStored(id: string): void {
    const known = this.index.get(id);
    if (known !== undefined || !this.lifted.has(id)) {
      this.lift(id, known?.expiresAt);
    }
  }

  lift(id: string, expiresAt: number | undefined): void {
    this.release(id);
    const until = this.clock.now() + LIFTED_KEPT_MS;
    this.lifted.set(id, expiresAt === undefined ? until : Math.min(until, this.endOf(expiresAt)));
    for (const oldest of this.lifted.keys()) {
      if (this.lifted.size <= MAX_REVOCATIONS) {
        break;
      }
      this.lifted.delete(oldest);
      this.unwritten.delete(oldest);
    }
  }

  isLifted(id: string): boolean {
    return this.lifted.has(id);
  }

  /** Forgets one, as if it had never been made. */
  release(id: string): void {
    this.index.delete(id);
    this.unwritten.delete(id);
  }

  /** Forgets what has expired. */
  purge(): void {
    const now = this.clock.now();
    for (const record of this.index.values()) {
      if (this.hasExpired(record, now)) {
        this.release(record.id);
      }
    }
    for (const [id, until] of this.lifted) {
      if (now >= until) {
        this.lifted.delete(id);
        this.unwritten.delete(id);
      }
    }
  }

  /** The store has lost what it had: all that is known here is written again. */
  writeAllAgain(): void {
    for (const id of [...this.index.ids(), ...this.lifted.keys()]) {
      this.unwritten.add(id);
    }
  }

  /** What the store is told of an id. */
  changeOf(id: string): RevocationChange {
    const record = this.index.get(id);
    const keepUntil =
      record === undefined
        ? this.lifted.get(id)
        : record.expiresAt === undefined
          ? undefined
          : this.endOf(record.expiresAt);
    return { id, record: record ?? null, ...(keepUntil !== undefined && { keepUntil }) };
  }

  private endOf(expiresAt: number): number {
    return expiresAt + this.toleranceMs;
  }

  private hasExpired({ expiresAt }: Revocation, now: number): boolean {
    return expiresAt !== undefined && now >= this.endOf(expiresAt);
  }
}

/** The revocations that hold, found by what they revoke: a check is one or two lookups, however many there are. */
class RevocationIndex {
  private readonly byId = new Map<string, Revocation>();
  private readonly byJti = new Map<string, Target>();
  private readonly byUser = new Map<string, Target>();

  get size(): number {
    return this.byId.size;
  }

  has(id: string): boolean {
    return this.byId.has(id);
  }

  get(id: string): Revocation | undefined {
    return this.byId.get(id);
  }

  ids(): Iterable<string> {
    return this.byId.keys();
  }

  /** In the order in which they came; one may be deleted meanwhile. */
  values(): Iterable<Revocation> {
    return this.byId.values();
  }

  concerns({ jti, userId, issuedAt }: VerifiedToken): boolean {
    if (jti !== undefined && this.byJti.has(jti)) {
      return true;
    }
    const ofUser = this.byUser.get(userId);
    return ofUser !== undefined && (issuedAt === undefined || issuedAt < ofUser.issuedBefore);
  }

  /** One that says the same. */
  same(what: RevocationTarget, expiresAt: number | undefined): Revocation | undefined {
    return this.indexOf(what)
      .get(what.jti ?? what.userId)
      ?.records.get(contentOf(what, expiresAt));
  }

  add(record: Revocation): void {
    this.byId.set(record.id, record);
    const index = this.indexOf(record);
    const name = record.jti ?? record.userId;
    const target = index.get(name);
    if (target === undefined) {
      index.set(name, new Target(record));
    } else {
      target.add(record);
    }
  }

  delete(id: string): void {
    const record = this.byId.get(id);
    if (record === undefined) {
      return;
    }
    this.byId.delete(id);
    const index = this.indexOf(record);
    const name = record.jti ?? record.userId;
    const target = index.get(name);
    target?.delete(record);
    if (target?.records.size === 0) {
      index.delete(name);
    }
  }

  private indexOf({ jti }: RevocationTarget): Map<string, Target> {
    return jti === undefined ? this.byUser : this.byJti;
  }
}

/** The revocations of one `jti` or user. */
class Target {
  /** Keyed by content, so that equal revocations are held once. */
  readonly records = new Map<string, Revocation>();
  private newest: number | undefined;

  constructor(first: Revocation) {
    this.add(first);
  }

  /** The latest `issuedBefore`. */
  get issuedBefore(): number {
    if (this.newest === undefined) {
      this.newest = Number.NEGATIVE_INFINITY;
      for (const { issuedBefore } of this.records.values()) {
        this.newest = Math.max(this.newest, issuedBefore ?? 0);
      }
    }
    return this.newest;
  }

  add(record: Revocation): void {
    const content = contentOf(record, record.expiresAt);
    // Two instances may say the same at once: each holds until it is removed.
    this.records.set(this.records.has(content) ? `${content}|${record.id}` : content, record);
    if (this.newest !== undefined) {
      this.newest = Math.max(this.newest, record.issuedBefore ?? 0);
    }
  }

  delete(record: Revocation): void {
    const content = contentOf(record, record.expiresAt);
    this.records.delete(this.records.get(content) === record ? content : `${content}|${record.id}`);
    if (record.issuedBefore === this.newest) {
      this.newest = undefined;
    }
  }
}

function contentOf({ issuedBefore }: RevocationTarget, expiresAt: number | undefined): string {
  return `${issuedBefore ?? ''}|${expiresAt ?? ''}`;
}
