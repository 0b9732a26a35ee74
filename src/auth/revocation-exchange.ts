import { Logger } from '@nestjs/common';
import { background } from '../logging/walls.js';
import type { Metrics } from '../metrics/metrics.js';
import type { Clock } from '../time/clock.js';
import type { HeldRevocations } from './held-revocations.js';
import {
  type LogPosition,
  MAX_PER_CALL,
  MAX_REVOCATIONS,
  type RevocationChange,
  type RevocationPage,
  type RevocationStore,
} from './revocation-store.js';

/** Longest wait of a token for the first load. */
const LOAD_WAIT_MS = 5_000;
/** Wait before changes that the store had no room for are offered again. */
const OFFER_AGAIN_MS = 10_000;

type Written = 'written' | 'full' | 'away';

/**
 * Exchanges revocations with the store that all instances share: each call writes what the store lacks and reads what is new in its log. One
 * call at a time. While the store is away, changes wait here; when it comes back without what it had, all that is known here is written back.
 */
export class RevocationExchange {
  /** All that the store had was read once. */
  isLoaded = false;
  private readonly logger = new Logger('Revocations');
  private readonly waiters = new Map<string, (how: Written) => void>();
  private readonly starters = new Set<(isLoaded: boolean) => void>();
  private position: LogPosition = '';
  /** The log was read to its end. */
  private isRead = false;
  private isAway = false;
  private looking: Promise<void> | null = null;
  private lookAgain = false;
  private offerAt = 0;
  private stopped = false;

  /** @param revoked tokens that were good here are revoked */
  constructor(
    private readonly store: RevocationStore,
    private readonly held: HeldRevocations,
    private readonly clock: Clock,
    private readonly timeoutMs: number,
    private readonly metrics: Metrics,
    private readonly revoked: () => void,
  ) {}

  stop(): void {
    this.stopped = true;
    this.started(false);
    this.waiters.forEach((settle) => settle('away'));
  }

  /** @returns {@link isLoaded}, after 5 s at the latest */
  whenLoaded(): Promise<boolean> {
    if (this.isLoaded || this.stopped) {
      return Promise.resolve(this.isLoaded);
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

  /** Writes a change that was made here. @returns what became of it, after the store's timeout at the latest */
  async write(id: string): Promise<Written> {
    this.held.unwritten.add(id);
    this.waiters.get(id)?.('away');
    const told = new Promise<Written>((resolve) => this.waiters.set(id, resolve));
    const cancel = this.clock.after(this.timeoutMs, () => this.waiters.get(id)?.('away'));
    this.look();
    const how = await told;
    cancel();
    this.waiters.delete(id);
    return how;
  }

  /** Reads what is new now, as far as the store answers. */
  async refresh(): Promise<void> {
    this.look();
    await this.looking;
  }

  lookUnlessLooking(): void {
    if (this.looking === null) {
      this.look();
    }
  }

  /** Looks into the store; one look at a time, and one more when something came meanwhile. */
  look(): void {
    if (this.stopped) {
      return;
    }
    if (this.looking !== null) {
      this.lookAgain = true;
      return;
    }
    this.looking = this.lookUntilDone().finally(() => {
      this.looking = null;
    });
    background('auth', this.looking);
  }

  private async lookUntilDone(): Promise<void> {
    let isDone = false;
    while (!isDone && !this.stopped) {
      this.lookAgain = false;
      const page = await this.exchange();
      if (page === null) {
        this.lost();
        return;
      }
      this.take(page);
      // If the answer brought no change, the next call would get the same answer.
      const hasMore =
        !page.complete || (this.held.unwritten.size > 0 && (page.anew || page.changes.length > 0));
      isDone = !hasMore && !this.lookAgain;
    }
  }

  /** @returns null when the store does not answer in time */
  private async exchange(): Promise<RevocationPage | null> {
    // As long as the log was not read to its end, nobody knows what it lacks.
    const changes = this.isRead ? this.changesToWrite() : [];
    const answer = this.store.exchange(this.position, changes);
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
    for (const id of this.held.unwritten) {
      if (changes.length >= MAX_PER_CALL) {
        break;
      }
      if (isOffered || this.waiters.has(id)) {
        changes.push(this.held.changeOf(id));
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
      this.held.writeAllAgain();
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
      this.revoked();
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
      this.held.liftAsStored(id);
      this.written(id);
      return false;
    }
    if (this.held.isLifted(id)) {
      this.held.unwritten.add(id); // lifted while the store was away: it hears of that now
      return false;
    }
    this.written(id);
    return this.held.take(record);
  }

  private written(id: string): void {
    this.held.unwritten.delete(id);
    this.waiters.get(id)?.('written');
  }

  private refusedByStore(id: string): void {
    const waiter = this.waiters.get(id);
    if (waiter !== undefined) {
      this.held.unwritten.delete(id);
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
