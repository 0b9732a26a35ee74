/**
 * How far the holder of the lease is: `claimed` it and not reading yet, `reading` live, `caught-up` with all that the broker had
 * queued and retained for it.
 */
export type LeasePhase = 'claimed' | 'reading' | 'caught-up';

export interface LeaseState {
  readonly token: number;
  readonly phase: LeasePhase;
  /** Ms until it ends by itself, unless its holder renews it. */
  readonly expiresInMs: number;
}

/**
 * Who reads the device topics: one holder at a time, named by a token that is greater than every token before. A holder that does
 * not renew loses it after REDIS_LEASE_MS. Losing it is no proof that the former holder has stopped: the token fences the store.
 * Every method rejects when the store does not answer.
 */
export abstract class IngestLease {
  /**
   * Takes the lease if nobody holds it.
   * @param replacing token of a holder that is known to be gone: its lease counts as free
   * @param lastSeen highest token that this instance has heard of
   * @returns the new token, or null when somebody holds it
   */
  abstract acquire(replacing: number, lastSeen: number): Promise<number | null>;

  /** @returns false when the lease is lost */
  abstract renew(token: number, phase: LeasePhase): Promise<boolean>;

  /** Gives the lease up, if it is still this one. */
  abstract release(token: number): Promise<void>;

  /** @returns null when nobody holds it */
  abstract read(): Promise<LeaseState | null>;
}
