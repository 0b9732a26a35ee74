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
import { HeldRevocations } from './held-revocations.js';
import { RevocationExchange } from './revocation-exchange.js';
import {
  MAX_REVOCATIONS,
  type Revocation,
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
 * With a store every instance looks into it several times a second, and at once when another one tells it to ({@link RevocationExchange}). It
 * lets nobody in before it has read all of the store once. While the store is away, changes hold here and are written when it is back.
 */
@Injectable()
export class RevocationsService implements OnModuleInit, OnModuleDestroy {
  private readonly audit = new Logger('RevocationAudit');
  private readonly held: HeldRevocations;
  /** Null where instances share no store: there is one alone. */
  private readonly exchange: RevocationExchange | null;
  private readonly listeners = new Set<() => void>();
  private purgedAt = 0;
  private cancelTimer: (() => void) | null = null;
  private leaveBus: (() => void) | null = null;
  private stopped = false;

  constructor(
    @Inject(CONFIG) { auth, redis }: Pick<Config, 'auth' | 'redis'>,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly metrics: Metrics,
    @Optional() @Inject(RevocationStore) store?: RevocationStore | null,
    @Optional() @Inject(InstanceBus) private readonly bus?: InstanceBus | null,
  ) {
    this.held = new HeldRevocations(clock, auth.clockToleranceS * 1000);
    this.exchange =
      store === null || store === undefined
        ? null
        : new RevocationExchange(store, this.held, clock, redis.timeoutMs, metrics, () => this.tell());
    mirrorGauge(metrics.revocations, () => this.held.size);
    mirrorGauge(metrics.revocationsPending, () => this.held.unwritten.size);
  }

  onModuleInit(): void {
    this.leaveBus =
      this.bus?.on(BUS_KIND, (_, from) => {
        if (from !== this.bus?.instanceId) {
          this.exchange?.look();
        }
      }) ?? null;
    this.tick();
  }

  onModuleDestroy(): void {
    this.stopped = true;
    this.leaveBus?.();
    this.cancelTimer?.();
    this.exchange?.stop();
  }

  /** All that the store had was read once: before that nobody knows which tokens are revoked. */
  get loaded(): boolean {
    return this.exchange === null || this.exchange.isLoaded;
  }

  /** @returns whether it is {@link loaded}, after 5 s at the latest */
  whenLoaded(): Promise<boolean> {
    return this.exchange === null ? Promise.resolve(true) : this.exchange.whenLoaded();
  }

  /** Whether a token that was good is not good any more. */
  isRevoked(token: VerifiedToken): boolean {
    return token.key?.isGone === true || this.held.concerns(token);
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
    await this.exchange?.refresh();
    return this.held.list();
  }

  /**
   * Lifts a revocation: the tokens that it concerned are good again until they expire.
   * @returns null when there is none with this id
   */
  async remove(id: string, by?: string): Promise<RevocationOutcome | null> {
    await this.exchange?.refresh(); // another instance may have made it, or lifted it, a moment ago
    const record = this.held.current(id);
    if (record === undefined) {
      return null;
    }
    this.audit.log({ msg: 'revocation lifted', ...record, ...(by !== undefined && { by }) });
    this.held.lift(id, record.expiresAt);
    return await this.write(id);
  }

  private purge(now: number): void {
    this.purgedAt = now;
    this.held.purge();
  }

  private full(): RevocationsFullError {
    this.metrics.revocationsRefused.inc();
    return new RevocationsFullError();
  }

  private async write(id: string): Promise<RevocationOutcome> {
    if (this.exchange === null) {
      return { id, durable: false, pending: false };
    }
    const how = await this.exchange.write(id);
    if (how === 'full') {
      this.audit.log({ msg: 'revocation refused: there is no room for it', id });
      this.held.release(id);
      throw this.full();
    }
    if (how === 'written') {
      background('auth', this.bus?.publish(BUS_KIND, null));
    }
    return { id, durable: how === 'written', pending: how === 'away' };
  }

  /** How a change that was made before stands now. */
  private async settled(id: string): Promise<RevocationOutcome> {
    const { unwritten } = this.held;
    if (unwritten.has(id)) {
      await this.exchange?.refresh();
    }
    const pending = unwritten.has(id);
    return { id, durable: this.exchange !== null && !pending, pending };
  }

  private tick(): void {
    if (this.stopped) {
      return;
    }
    const now = this.clock.now();
    if (now - this.purgedAt >= PURGE_EVERY_MS) {
      this.purge(now);
    }
    this.exchange?.lookUnlessLooking();
    const everyMs = this.exchange === null ? PURGE_EVERY_MS : LOOK_EVERY_MS;
    this.cancelTimer = this.clock.after(everyMs, () => this.tick());
  }
}
