import type { Grants } from './grants.js';

/** What a good token says. Immutable and shared by all connections that show the same token. */
export interface VerifiedToken {
  readonly userId: string;
  /** Unix ms of `exp`, without the clock tolerance. At most the end of the year 9999: too far for one timer. */
  readonly expiresAt: number;
  readonly grants: Grants;
  /** Cap on the rate of a subscription, in publications per device and second. */
  readonly maxRateHz?: number;
  /** Cap on the rooms of a connection. */
  readonly maxRooms?: number;
}
