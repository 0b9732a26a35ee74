/** Revocations that are held, over all instances; one more is refused. One is some 400 bytes in each of them. */
export const MAX_REVOCATIONS = 100_000;
/** Entries in one call of the store: bounds the time for which a call keeps it busy. */
export const MAX_PER_CALL = 500;

/** What is revoked: one token, or the tokens of a user. */
export type RevocationTarget =
  | { readonly jti: string; readonly userId?: undefined; readonly issuedBefore?: undefined }
  | {
      readonly userId: string;
      /** Unix ms: tokens whose `iat` is before it, and those without one. */
      readonly issuedBefore: number;
      readonly jti?: undefined;
    };

export type Revocation = RevocationTarget & {
  readonly id: string;
  /** Unix ms. */
  readonly createdAt: number;
  /** Unix ms at which the last token that is concerned has expired; absent: it is kept until it is removed. */
  readonly expiresAt?: number;
};

/** One change of the list: `record` holds from now on, or, where it is null, does not any more. Each id is added once and lifted once. */
export interface RevocationChange {
  readonly id: string;
  readonly record: Revocation | null;
  /** Unix ms until which the store keeps it; absent: for ever. */
  readonly keepUntil?: number;
}

/** A place in the store's log; an empty one is its beginning. */
export type LogPosition = string;

export interface RevocationPage {
  /** The log does not have the position (Redis was emptied, or set back): this page begins at its beginning. */
  readonly anew: boolean;
  /** Changes after the position, oldest first, those of this call included. */
  readonly changes: readonly RevocationChange[];
  /** After the last of them. */
  readonly position: LogPosition;
  /** There are no more. */
  readonly complete: boolean;
  /** Ids of this call that the store has no room for. */
  readonly full: readonly string[];
}

/**
 * What the instances share: a log of changes. Writing a change that is there already changes nothing, and one that was lifted is not added
 * again, so that a call may be repeated when its answer is lost, and every instance may write back what it knows.
 */
export abstract class RevocationStore {
  /**
   * Writes changes, and reads what came after `position`; one step.
   * @returns null while the store cannot be reached
   */
  abstract exchange(
    position: LogPosition,
    changes: readonly RevocationChange[],
  ): Promise<RevocationPage> | null;
}
