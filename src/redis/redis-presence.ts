import type { OnModuleDestroy } from '@nestjs/common';
import { createHash, randomBytes } from 'node:crypto';
import { walled } from '../logging/walls.js';
import type { StorePlace } from './store-place.js';
import { SharedPresence } from '../gateway/door/presence.js';
import { PresenceShare, type PresenceSettings } from './presence.js';

const INSTANCE_ID_BYTES = 9;
/** Bytes of a user id's SHA-256 that stand for it in Redis: bounds the keys, and names nobody there. */
const USER_BYTES = 16;
/** Renewals within the life of what an instance has stored. */
const RENEWALS_PER_LIFE = 3;

/**
 * Counts the connections of users over all instances in Redis. Each instance has its counts in hashes of its own, which end by themselves
 * when they are not renewed, so that a killed instance leaves nothing behind. While Redis is away each instance counts its own
 * connections; it tells them when Redis is back. Nobody is closed then for having more than allowed in all.
 */
export class RedisPresence extends SharedPresence implements OnModuleDestroy {
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

  /** Answers within REDIS_TIMEOUT_MS: from what this instance knows when Redis does not. */
  join(userId: string): Promise<boolean> | boolean {
    const { share, user } = this.find(userId);
    return share.join(user);
  }

  leave(userId: string): void {
    const { share, user } = this.find(userId);
    share.leave(user);
  }

  /** What is still stored of this instance ends by itself. */
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
