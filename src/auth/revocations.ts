import { randomBytes } from 'node:crypto';
import {
  Inject,
  Injectable,
  Logger,
  type OnModuleDestroy,
  type OnModuleInit,
  Optional,
} from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { InstanceBus } from '../instances/instance-bus.js';
import { background, tellEach } from '../logging/walls.js';
import { mirrorGauge } from '../metrics/hot-counters.js';
import { Metrics } from '../metrics/metrics.js';
import { CLOCK, type Clock } from '../time/clock.js';
import type { VerifiedToken } from './claims.js';
import { RevocationIndex } from './revocation-index.js';
import {
  type LogPosition,
  MAX_PER_CALL,
  MAX_REVOCATIONS,
  type Revocation,
  type RevocationChange,
  type RevocationPage,
  RevocationStore,
  type RevocationTarget,
} from './revocation-store.js';

/** Longest `jti` that can be revoked, in UTF-16 code units. */
export const JTI_MAX_LENGTH = 512;
/** Time between two looks into the store. If a message of the bus is lost, the change is still found within a second. */
const LOOK_EVERY_MS = 250;
/** Kind of the messages by which an instance tells the others to look at once. */
const BUS_KIND = 'revocations';
/** Between two removals of what has expired. */
const PURGE_EVERY_MS = 10_000;
/** Longest wait of a token for the first load. */
const LOAD_WAIT_MS = 5_000;
/** Time for which a lifted revocation is remembered, so that an instance that did not hear of it does not bring it back. */
const LIFTED_KEPT_MS = 24 * 3_600_000;
/** Wait before what the store had no room for is offered again. */
const OFFER_AGAIN_MS = 10_000;

/** How well a change is kept. */
export interface RevocationOutcome {
  readonly id: string;
  /** It is in Redis. */
  readonly durable: boolean;
  /** Redis is away: the change holds on this instance, and on the others when Redis is back. */
  readonly pending: boolean;
}

/** {@link MAX_REVOCATIONS} are held: nothing was revoked. */
export class RevocationsFullError extends Error {
  override readonly name = 'RevocationsFullError';

  constructor() {
    super(`There are ${MAX_REVOCATIONS} revocations; remove some, or give each its expiresAt`);
  }
}

/**
 * Which tokens are no good any more, though they have not expired. A check is one or two lookups, however many revocations there are.
 *
 * With a store every instance looks into it several times a second, and at once when another one tells it to; it writes what it has to tell in
 * the same call, and lets nobody in before it has read all of it once. While the store is away, changes hold here and are written when it is back; when it comes back without what it had,
 * each instance writes back what it knows.
 */
@Injectable()
export class RevocationsService implements OnModuleInit, OnModuleDestroy {
  private readonly logger = new Logger('Revocations');
  private readonly audit = new Logger('RevocationAudit');
  private readonly store: RevocationStore | null;
  private readonly held = new RevocationIndex();
  /** Lifted ids with the Unix ms until which they are remembered, the oldest first. */
  private readonly lifted = new Map<string, number>();
  /** Ids of changes that the store is not known to have. */
  private readonly unwritten = new Set<string>();
  private readonly waiters = new Map<string, (how: 'written' | 'full' | 'away') => void>();
  private readonly listeners = new Set<() => void>();
  private readonly starters = new Set<(isLoaded: boolean) => void>();
  private position: LogPosition = '';
  private isLoaded = false;
  /** The log was read to its end. */
  private isRead = false;
  private isAway = false;
  private looking: Promise<void> | null = null;
  private lookAgain = false;
  private offerAt = 0;
  private purgedAt = 0;
  private cancelTimer: (() => void) | null = null;
  private leaveBus: (() => void) | null = null;
  private stopped = false;
  private readonly toleranceMs: number;
  private readonly timeoutMs: number;

  constructor(
    @Inject(CONFIG) { auth, redis }: Pick<Config, 'auth' | 'redis'>,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly metrics: Metrics,
    @Optional() @Inject(RevocationStore) store?: RevocationStore | null,
    @Optional() @Inject(InstanceBus) private readonly bus?: InstanceBus | null,
  ) {
    this.toleranceMs = auth.clockToleranceS * 1000;
    this.timeoutMs = redis.timeoutMs;
    this.store = store ?? null;
    mirrorGauge(metrics.revocations, () => this.held.size);
    mirrorGauge(metrics.revocationsPending, () => this.unwritten.size);
  }

  onModuleInit(): void {
    this.leaveBus =
      this.bus?.on(BUS_KIND, (_, from) => {
        if (from !== this.bus?.instanceId) {
          this.look();
        }
      }) ?? null;
    this.tick();
  }

  onModuleDestroy(): void {
    this.stopped = true;
    this.leaveBus?.();
    this.cancelTimer?.();
    this.started(false);
    this.waiters.forEach((settle) => settle('away'));
  }

  /** All that the store had was read once: before that nobody knows which tokens are revoked. */
  get loaded(): boolean {
    return this.store === null || this.isLoaded;
  }

  /** @returns whether it is {@link loaded}, after 5 s at the latest */
  whenLoaded(): Promise<boolean> {
    if (this.loaded || this.stopped) {
      return Promise.resolve(this.loaded);
    }
    return new Promise((resolve) => {
      const done = (isLoaded: boolean): void => {
        cancel();
        this.starters.delete(done);
        resolve(isLoaded);
      };
      const cancel = this.clock.after(LOAD_WAIT_MS, () => done(false));
      this.starters.add(done);
    });
  }

  /** Whether a token that was good is not good any more. */
  isRevoked(token: VerifiedToken): boolean {
    return token.key?.isGone === true || (this.held.size > 0 && this.held.concerns(token));
  }

  /** Called when tokens were revoked: connections with one must end. @returns removes the listener */
  onRevoked(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Tells the listeners: revocations came, or keys went. */
  tell(): void {
    tellEach('auth', [...this.listeners]);
  }

  /**
   * Revokes a token or the tokens of a user, here at once and on all instances within a second. Without `issuedBefore` all tokens issued
   * until now; those without `iat` are always included. The same again is the same revocation.
   * @param expiresAt Unix ms at which the last of the tokens has expired: the revocation goes then. Without it, it stays until it is removed
   * @param by who asks, for the audit line
   * @returns when Redis has it, or does not answer
   * @throws {RevocationsFullError}
   */
  async add(
    target: { jti: string } | { userId: string; issuedBefore?: number | undefined },
    expiresAt?: number,
    by?: string,
  ): Promise<RevocationOutcome> {
    const now = this.clock.now();
    const what: RevocationTarget =
      'jti' in target
        ? { jti: target.jti }
        : // A token of this very millisecond was issued until now.
          { userId: target.userId, issuedBefore: target.issuedBefore ?? now + 1 };
    const same = this.held.same(what, expiresAt);
    if (same !== undefined) {
      return await this.settled(same.id);
    }
    const record: Revocation = {
      id: randomBytes(12).toString('base64url'),
      ...what,
      createdAt: now,
      ...(expiresAt !== undefined && { expiresAt }),
    };
    if (this.held.size >= MAX_REVOCATIONS) {
      this.purge(now);
    }
    if (this.held.size >= MAX_REVOCATIONS) {
      throw this.full();
    }
    this.audit.log({ msg: 'tokens revoked', ...record, ...(by !== undefined && { by }) });
    this.held.add(record);
    this.tell();
    return await this.write(record.id);
  }

  /** The revocations of all instances, oldest first. */
  async list(): Promise<Revocation[]> {
    await this.refresh();
    const now = this.clock.now();
    return [...this.held.values()]
      .filter((record) => !this.hasExpired(record, now))
      .sort((one, other) => one.createdAt - other.createdAt || (one.id < other.id ? -1 : 1));
  }

  /**
   * Lifts a revocation: the tokens that it concerned are good again until they expire.
   * @returns null when there is none with this id
   */
  async remove(id: string, by?: string): Promise<RevocationOutcome | null> {
    await this.refresh(); // another instance may have made it, or lifted it, a moment ago
    const record = this.held.get(id);
    if (record === undefined || this.hasExpired(record, this.clock.now())) {
      return null;
    }
    this.audit.log({ msg: 'revocation lifted', ...record, ...(by !== undefined && { by }) });
    this.lift(id, record.expiresAt);
    return await this.write(id);
  }

  private release(id: string): void {
    this.held.delete(id);
    this.unwritten.delete(id);
  }

  private lift(id: string, expiresAt: number | undefined): void {
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

  private endOf(expiresAt: number): number {
    return expiresAt + this.toleranceMs;
  }

  private hasExpired({ expiresAt }: Revocation, now: number): boolean {
    return expiresAt !== undefined && now >= this.endOf(expiresAt);
  }

  private purge(now: number): void {
    this.purgedAt = now;
    for (const record of this.held.values()) {
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

  private full(): RevocationsFullError {
    this.metrics.revocationsRefused.inc();
    return new RevocationsFullError();
  }

  // The store

  private async write(id: string): Promise<RevocationOutcome> {
    if (this.store === null) {
      return { id, durable: false, pending: false };
    }
    this.unwritten.add(id);
    const how = await this.told(id);
    if (how === 'full') {
      this.audit.log({ msg: 'revocation refused: there is no room for it', id });
      this.release(id);
      throw this.full();
    }
    if (how === 'written') {
      background('auth', this.bus?.publish(BUS_KIND, null));
    }
    return { id, durable: how === 'written', pending: how === 'away' };
  }

  /** How a change that was made before stands now. */
  private async settled(id: string): Promise<RevocationOutcome> {
    if (this.unwritten.has(id)) {
      await this.refresh();
    }
    const pending = this.unwritten.has(id);
    return { id, durable: this.store !== null && !pending, pending };
  }

  private async told(id: string): Promise<'written' | 'full' | 'away'> {
    this.waiters.get(id)?.('away');
    const told = new Promise<'written' | 'full' | 'away'>((resolve) => this.waiters.set(id, resolve));
    const cancel = this.clock.after(this.timeoutMs, () => this.waiters.get(id)?.('away'));
    this.look();
    const how = await told;
    cancel();
    this.waiters.delete(id);
    return how;
  }

  /** Reads what is new now, as far as the store answers. */
  async refresh(): Promise<void> {
    if (this.store !== null) {
      this.look();
      await this.looking;
    }
  }

  private tick(): void {
    if (this.stopped) {
      return;
    }
    const now = this.clock.now();
    if (now - this.purgedAt >= PURGE_EVERY_MS) {
      this.purge(now);
    }
    if (this.looking === null) {
      this.look();
    }
    const everyMs = this.store === null ? PURGE_EVERY_MS : LOOK_EVERY_MS;
    this.cancelTimer = this.clock.after(everyMs, () => this.tick());
  }

  /** Looks into the store; one look at a time, and one more when something came meanwhile. */
  look(): void {
    const { store } = this;
    if (store === null || this.stopped) {
      return;
    }
    if (this.looking !== null) {
      this.lookAgain = true;
      return;
    }
    this.looking = this.lookUntilDone(store).finally(() => {
      this.looking = null;
    });
    background('auth', this.looking);
  }

  private async lookUntilDone(store: RevocationStore): Promise<void> {
    let isDone = false;
    while (!isDone && !this.stopped) {
      this.lookAgain = false;
      const page = await this.exchange(store);
      if (page === null) {
        this.lost();
        return;
      }
      this.take(page);
      // Without a change in the answer the next call would be the same.
      const hasMore = !page.complete || (this.unwritten.size > 0 && (page.anew || page.changes.length > 0));
      isDone = !hasMore && !this.lookAgain;
    }
  }

  /** @returns null when the store does not answer in time */
  private async exchange(store: RevocationStore): Promise<RevocationPage | null> {
    // As long as the log was not read to its end, nobody knows what it lacks.
    const changes = this.isRead ? this.changesToWrite() : [];
    const answer = store.exchange(this.position, changes);
    if (answer === null) {
      return null;
    }
    let cancel: () => void = () => undefined;
    const late = new Promise<null>((resolve) => {
      cancel = this.clock.after(this.timeoutMs, () => resolve(null));
    });
    try {
      return await Promise.race([answer, late]);
    } catch {
      return null; // the connection's own log says why
    } finally {
      cancel();
    }
  }

  private changesToWrite(): RevocationChange[] {
    const changes: RevocationChange[] = [];
    const isOffered = this.clock.now() >= this.offerAt;
    for (const id of this.unwritten) {
      if (changes.length >= MAX_PER_CALL) {
        break;
      }
      const record = this.held.get(id);
      const keepUntil =
        record === undefined
          ? this.lifted.get(id)
          : record.expiresAt === undefined
            ? undefined
            : this.endOf(record.expiresAt);
      if (isOffered || this.waiters.has(id)) {
        changes.push({ id, record: record ?? null, ...(keepUntil !== undefined && { keepUntil }) });
      }
    }
    return changes;
  }

  private take({ anew, changes, position, complete, full }: RevocationPage): void {
    if (anew) {
      if (this.held.size > 0) {
        this.logger.warn('Redis lacks revocations that it had: they are written back');
      }
      this.isRead = false;
      for (const id of [...this.held.ids(), ...this.lifted.keys()]) {
        this.unwritten.add(id);
      }
    }
    this.position = position;
    let isRevoking = false;
    for (const change of changes) {
      isRevoking = this.apply(change) || isRevoking;
    }
    for (const id of full) {
      this.refusedByStore(id);
    }
    if (isRevoking) {
      this.tell();
    }
    if (complete) {
      this.isAway = false;
      this.isRead = true;
      this.isLoaded = true;
      this.started(true);
    }
  }

  /** @returns whether it revokes tokens that were good here */
  private apply({ id, record }: RevocationChange): boolean {
    if (record === null) {
      const known = this.held.get(id);
      if (known !== undefined || !this.lifted.has(id)) {
        this.lift(id, known?.expiresAt);
      }
      this.written(id);
      return false;
    }
    if (this.lifted.has(id)) {
      this.unwritten.add(id); // lifted while the store was away: it hears of that now
      return false;
    }
    this.written(id);
    if (this.held.has(id) || this.hasExpired(record, this.clock.now())) {
      return false;
    }
    this.held.add(record);
    return true;
  }

  private written(id: string): void {
    this.unwritten.delete(id);
    this.waiters.get(id)?.('written');
  }

  private refusedByStore(id: string): void {
    const waiter = this.waiters.get(id);
    if (waiter !== undefined) {
      this.unwritten.delete(id);
      waiter('full');
      return;
    }
    // It was accepted while the store was away, and holds here.
    if (this.clock.now() >= this.offerAt) {
      this.metrics.revocationsRefused.inc();
      this.logger.error(`Redis has ${MAX_REVOCATIONS} revocations: others hold on this instance alone`, {
        revocations: MAX_REVOCATIONS,
      });
    }
    this.offerAt = this.clock.now() + OFFER_AGAIN_MS;
  }

  private lost(): void {
    if (!this.isAway) {
      this.isAway = true;
      if (this.isLoaded) {
        this.logger.warn('Revocations are not exchanged: Redis is away');
      }
    }
    [...this.waiters.values()].forEach((settle) => settle('away'));
  }

  private started(isLoaded: boolean): void {
    [...this.starters].forEach((done) => done(isLoaded));
  }
}
