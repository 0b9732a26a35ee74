import type { VerifiedToken } from './claims.js';
import type { Revocation, RevocationTarget } from './revocation-store.js';

/** The revocations that hold, found by what they revoke: a check is one or two lookups, however many there are. */
export class RevocationIndex {
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
  /** By what they say, so that the same is not held twice. */
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
