import { createHash, randomBytes } from 'node:crypto';
import type { OnModuleDestroy } from '@nestjs/common';
import { Presence } from '../gateway/door/presence.js';
import { background, walled } from '../logging/walls.js';
import type { StorePlace } from './connection/scripts.js';

const INSTANCE_ID_BYTES = 9;
/** Bytes of the SHA-256 that stands for a user id in Redis: bounds the keys, and does not reveal the user. */
const USER_BYTES = 16;
/** Renewals within the life of what an instance has stored. */
const RENEWALS_PER_LIFE = 3;

/**
 * Counts the connections of users over all instances in Redis. Each instance keeps its counts in hashes of its own, which expire unless
 * renewed, so that a killed instance leaves nothing behind. While Redis is away each instance counts only its own connections, and stores
 * them when Redis is back; users who then exceed the limit in total are not closed.
 */
export class RedisPresence extends Presence implements OnModuleDestroy {
  private readonly shares: readonly PresenceShare[];
  private readonly renewals: NodeJS.Timeout;

  /** @param places users are spread over them by their id: the same on all instances */
  constructor(places: readonly StorePlace[], settings: PresenceSettings) {
    super();
    const instance = randomBytes(INSTANCE_ID_BYTES).toString('base64url');
    this.shares = places.map((place) => new PresenceShare(place, instance, settings));
    this.renewals = setInterval(
      walled('redis', () => this.shares.forEach((share) => share.renew())),
      settings.expiryMs / RENEWALS_PER_LIFE,
    ).unref();
  }

  get users(): number {
    return this.shares.reduce((sum, share) => sum + share.users, 0);
  }

  /** Answers within REDIS_TIMEOUT_MS; if Redis does not, from this instance's own counts. */
  join(userId: string): Promise<boolean> | boolean {
    const { share, user } = this.find(userId);
    return share.join(user);
  }

  leave(userId: string): void {
    const { share, user } = this.find(userId);
    share.leave(user);
  }

  /** What this instance has stored expires. */
  onModuleDestroy(): void {
    clearInterval(this.renewals);
    this.shares.forEach((share) => share.stop());
  }

  private find(userId: string): { share: PresenceShare; user: string } {
    const digest = createHash('sha256').update(userId).digest();
    const share = this.shares[digest.readUInt32LE(USER_BYTES) % this.shares.length] as PresenceShare;
    return { share, user: digest.toString('base64url', 0, USER_BYTES) };
  }
}

interface PresenceSettings {
  /** Connections one user may have at once, over all instances. */
  readonly maxPerUser: number;
  /** Time after which the counts of a killed instance expire. */
  readonly expiryMs: number;
  /** Silence of Redis after which this instance decides alone. */
  readonly timeoutMs: number;
}

interface Join {
  readonly user: string;
  readonly resolve: (isIn: boolean) => void;
}

/** Users in one call: bounds the time for which one call keeps Redis busy. */
const MAX_USERS_PER_CALL = 128;
/** Wait before Redis is tried again while it is away. */
const RETRY_MS = 500;

/**
 * The users of one partition. One call at a time is pending and what comes meanwhile forms the next, so that this instance knows exactly
 * what it has stored: if the answer differs (Redis was wiped, an answer was lost) everything is rewritten.
 */
class PresenceShare {
  /** Connections of this instance by user. */
  private readonly counts = new Map<string, number>();
  /** Users whose stored count is out of date. */
  private changed = new Set<string>();
  private joins: Join[] = [];
  private flight: { joins: readonly Join[]; timer: NodeJS.Timeout } | null = null;
  /** Users this instance has stored, as far as it knows. */
  private stored = 0;
  private writesAnew = false;
  /** Redis is away. */
  private isAlone = false;
  private scheduled = false;
  private retry: NodeJS.Timeout | null = null;
  private stopped = false;

  constructor(
    private readonly place: StorePlace,
    private readonly instance: string,
    private readonly settings: PresenceSettings,
  ) {}

  get users(): number {
    return this.counts.size;
  }

  join(user: string): Promise<boolean> | boolean {
    if (this.isAlone || this.stopped || this.countOf(user) >= this.settings.maxPerUser) {
      return this.joinAlone(user);
    }
    return new Promise((resolve) => {
      this.joins.push({ user, resolve });
      this.schedule();
    });
  }

  leave(user: string): void {
    this.change(user, -1);
    this.schedule();
  }

  /** Renews the expiry of what is stored. */
  renew(): void {
    if (this.counts.size > 0 && !this.isAlone) {
      this.call();
    }
  }

  stop(): void {
    this.stopped = true;
    this.decideAlone();
    if (this.retry !== null) {
      clearTimeout(this.retry);
    }
  }

  private countOf(user: string): number {
    return this.counts.get(user) ?? 0;
  }

  private setCount(user: string, count: number): void {
    if (count > 0) {
      this.counts.set(user, count);
    } else {
      this.counts.delete(user);
    }
  }

  private joinAlone(user: string): boolean {
    if (this.countOf(user) >= this.settings.maxPerUser) {
      return false;
    }
    this.change(user, 1);
    return true;
  }

  private change(user: string, by: number): void {
    this.setCount(user, this.countOf(user) + by);
    if (!this.writesAnew) {
      this.changed.add(user); // While everything is to be rewritten anyway, single changes are not recorded, so the set stays bounded.
    }
  }

  /** All changes of one event-loop turn are sent together. */
  private schedule(): void {
    if (!this.scheduled && !this.isAlone && !this.stopped) {
      this.scheduled = true;
      setImmediate(
        walled(
          'redis',
          () => {
            this.scheduled = false;
            if (!this.isAlone) {
              this.call();
            }
          },
          () => this.lose(),
        ),
      );
    }
  }

  private call(): void {
    if (this.flight !== null || this.stopped) {
      return;
    }
    const redis = this.place.connection();
    if (redis === null) {
      this.lose();
      return;
    }
    const begins = this.writesAnew;
    if (begins) {
      this.writesAnew = false;
      this.changed = new Set(this.counts.keys());
    }
    const { args, joins } = this.take(begins);
    const { expiryMs, timeoutMs, maxPerUser } = this.settings;
    const flight = {
      joins,
      timer: setTimeout(
        walled('redis', () => this.lose()),
        timeoutMs,
      ),
    };
    this.flight = flight;
    const limits = [String(expiryMs), String(maxPerUser)];
    const told = redis.sluicePresence(`${this.place.prefix}presence`, this.instance, ...limits, ...args).then(
      ([before, after, answers]) => {
        if (this.flight === flight) {
          this.writesAnew ||= !begins && before !== this.stored;
          this.stored = after;
          this.settle(answers);
        }
      },
      () => {
        if (this.flight === flight) {
          this.lose();
        }
      },
    );
    background('redis', told, () => this.lose());
  }

  /** Joins wait until all counts are stored, because they are added to them. */
  private take(begins: boolean): { args: string[]; joins: Join[] } {
    const counts: string[] = [];
    let users = 0;
    for (const user of this.changed) {
      if (users >= MAX_USERS_PER_CALL) {
        break;
      }
      users += 1;
      this.changed.delete(user);
      counts.push(user, String(this.countOf(user)));
    }
    const joins = this.changed.size === 0 ? this.joins.splice(0, MAX_USERS_PER_CALL - users) : [];
    return {
      args: [begins ? '1' : '0', String(users), ...counts, ...joins.map(({ user }) => user)],
      joins,
    };
  }

  private settle(answers: string): void {
    const { joins, timer } = this.flight as NonNullable<typeof this.flight>;
    clearTimeout(timer);
    this.flight = null;
    this.isAlone = false;
    joins.forEach(({ user, resolve }, at) => {
      const isIn = answers[at] === '1';
      if (isIn) {
        this.setCount(user, this.countOf(user) + 1);
      }
      resolve(isIn);
    });
    if (this.changed.size > 0 || this.joins.length > 0 || this.writesAnew) {
      this.call();
    }
  }

  /** Redis is away, or the effect of a call is unknown. */
  private lose(): void {
    this.isAlone = true;
    this.writesAnew = true;
    this.changed.clear();
    this.decideAlone();
    this.retry = setTimeout(
      walled(
        'redis',
        () => this.call(),
        () => this.lose(),
      ),
      RETRY_MS,
    ).unref();
  }

  private decideAlone(): void {
    const joins = [...(this.flight?.joins ?? []), ...this.joins];
    clearTimeout(this.flight?.timer);
    this.flight = null;
    this.joins = [];
    joins.forEach(({ user, resolve }) => resolve(this.joinAlone(user)));
  }
}
