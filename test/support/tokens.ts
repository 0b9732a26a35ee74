import { createSecretKey } from 'node:crypto';
import { SignJWT } from 'jose';

/** The HS256 key of every instance that the tests start. */
export const TEST_SECRET = 'a secret of the tests, of more than 32 bytes';

export interface TokenClaims {
  userId?: string;
  deviceIds?: unknown;
  permissions?: unknown;
  /** Life in seconds from now; may be negative. Default 3 600. */
  lifetimeS?: number;
  [claim: string]: unknown;
}

/** A token as the operator's own service would issue it. */
export function signToken({
  userId = 'user-1',
  deviceIds = ['*'],
  lifetimeS = 3_600,
  ...claims
}: TokenClaims = {}): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  return new SignJWT({ userId, deviceIds, ...claims, iat: now, exp: now + lifetimeS })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(createSecretKey(Buffer.from(TEST_SECRET)));
}
