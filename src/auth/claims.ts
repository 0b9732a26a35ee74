import { AuthError } from './auth-error.js';
import { Grants } from './grants.js';

/** The claims of a good token. Immutable and shared by all connections with the same token. */
export interface VerifiedToken {
  readonly userId: string;
  /** Unix ms of `exp`, without the clock tolerance. At most the end of the year 9999: too far for one timer. */
  readonly expiresAt: number;
  readonly grants: Grants;
  /** `jti`, by which this one token can be revoked. */
  readonly jti?: string;
  /** Unix ms of `iat`. */
  readonly issuedAt?: number;
  /** The key that verified it; absent where keys are not taken back one by one. */
  readonly key?: TokenKey;
  /** Cap on the rate of a subscription, in publications per device and second. */
  readonly maxRateHz?: number;
  /** Cap on the rooms of a connection. */
  readonly maxRooms?: number;
}

/** A key that verifies tokens, for as long as it is in use. */
export interface TokenKey {
  /** It was taken back, and with it the tokens it has signed. */
  readonly isGone: boolean;
}

/** Longest user id, in UTF-16 code units: OpenID Connect allows 255 for `sub`. */
const USER_ID_MAX_LENGTH = 256;
/** End of the year 9999. An `exp` written in milliseconds by mistake lies far beyond it and would never pass. */
const MAX_EXP_S = 253_402_300_799;
const CONTROL_CHARACTER = /\p{Cc}/u;

export interface ClaimRules {
  /** Expected `iss`; not checked when unset. */
  issuer?: string | undefined;
  /** Expected in `aud`; not checked when unset. */
  audience?: string | undefined;
  /** By how much clocks may differ, ms. */
  toleranceMs: number;
}

/**
 * Reads claims after the signature was checked. Here and not in the libraries that check signatures, so that tokens are judged equally for
 * every kind of key. `userId` has precedence over `sub`. Invalid caps make the token bad: ignoring them would grant more than intended.
 * @param key that has verified the signature, where it may be taken back
 * @throws {AuthError} `expired` only when nothing else is wrong
 */
export function readClaims(claims: unknown, rules: ClaimRules, nowMs: number, key?: TokenKey): VerifiedToken {
  if (typeof claims !== 'object' || claims === null || Array.isArray(claims)) {
    throw bad('is not a JSON object');
  }
  const { exp, nbf, iat, iss, aud, jti, userId, sub, deviceIds, permissions, maxRateHz, maxRooms } =
    claims as Record<string, unknown>;
  if (!isTime(exp)) {
    throw bad('has no exp that is a time in seconds');
  }
  if (nbf !== undefined && !isTime(nbf)) {
    throw bad('has an nbf that is no time in seconds');
  }
  if (nbf !== undefined && nbf * 1000 > nowMs + rules.toleranceMs) {
    throw bad('is not valid yet');
  }
  if (rules.issuer !== undefined && iss !== rules.issuer) {
    throw bad('is from another issuer');
  }
  if (rules.audience !== undefined && !(Array.isArray(aud) ? aud : [aud]).includes(rules.audience)) {
    throw bad('is for another audience');
  }
  const token: VerifiedToken = Object.freeze({
    userId: readUserId(userId, sub),
    expiresAt: Math.floor(exp * 1000),
    grants: readGrants(deviceIds, permissions),
    ...(typeof jti === 'string' && { jti }),
    // What is no time does not say when the token was issued.
    ...(isTime(iat) && { issuedAt: Math.floor(iat * 1000) }),
    ...(key !== undefined && { key }),
    ...readCaps(maxRateHz, maxRooms),
  });
  if (isExpired(token, rules.toleranceMs, nowMs)) {
    throw new AuthError('expired', 'The token is expired');
  }
  return token;
}

/** Whether a token has expired, tolerance included. */
export function isExpired(token: VerifiedToken, toleranceMs: number, nowMs: number): boolean {
  return nowMs >= token.expiresAt + toleranceMs;
}

function readUserId(userId: unknown, sub: unknown): string {
  const id = userId === undefined ? sub : userId;
  if (
    typeof id !== 'string' ||
    id.length < 1 ||
    id.length > USER_ID_MAX_LENGTH ||
    CONTROL_CHARACTER.test(id)
  ) {
    throw bad(`has no userId or sub that is a text of 1 to ${USER_ID_MAX_LENGTH} characters`);
  }
  return id;
}

function readGrants(deviceIds: unknown, permissions: unknown): Grants {
  if (!Array.isArray(deviceIds) || !deviceIds.every((entry) => typeof entry === 'string')) {
    throw bad('has no deviceIds that are an array of texts');
  }
  if (permissions !== undefined && !Array.isArray(permissions)) {
    throw bad('has permissions that are no array');
  }
  return new Grants(deviceIds, permissions);
}

function readCaps(maxRateHz: unknown, maxRooms: unknown): Pick<VerifiedToken, 'maxRateHz' | 'maxRooms'> {
  const caps: { maxRateHz?: number; maxRooms?: number } = {};
  if (maxRateHz !== undefined) {
    if (typeof maxRateHz !== 'number' || !Number.isFinite(maxRateHz) || maxRateHz <= 0) {
      throw bad('has a maxRateHz that is no number above 0');
    }
    caps.maxRateHz = maxRateHz;
  }
  if (maxRooms !== undefined) {
    if (typeof maxRooms !== 'number' || !Number.isSafeInteger(maxRooms) || maxRooms < 0) {
      throw bad('has a maxRooms that is no whole number');
    }
    caps.maxRooms = maxRooms;
  }
  return caps;
}

function isTime(value: unknown): value is number {
  return typeof value === 'number' && Math.abs(value) <= MAX_EXP_S;
}

function bad(fault: string): AuthError {
  return new AuthError('invalid', `The token ${fault}`);
}
