import { createPublicKey } from 'node:crypto';
import { type JWK, type JWTVerifyGetKey, createLocalJWKSet } from 'jose';
import { algorithmOf } from '../config/public-key.js';

/** More keys than anybody rotates; bounds what a token without a key id costs, since all keys of its kind are tried. */
const MAX_KEYS = 64;

/** The keys of a JWKS that may verify tokens. */
export interface UsableKeys {
  /** Finds the key by `alg` and `kid`; each key is tied to its one algorithm. */
  readonly find: JWTVerifyGetKey;
  readonly ids: ReadonlySet<string>;
  /** Each key in full, to see which of them a newer document lacks. */
  readonly fingerprints: ReadonlySet<string>;
  /** Entries left out: other kinds and uses of keys, RSA under 2048 bits, damaged ones. */
  readonly ignored: number;
}

/**
 * Picks the RSA (RS256), P-256 (ES256) and Ed25519 (EdDSA) signature keys of a JWKS; a symmetric key in it, or a key for
 * encryption, is never used. Only public members are read.
 * @throws Error when the document is no JWKS
 */
export function usableKeys(document: unknown): UsableKeys {
  const entries = (document as { keys?: unknown } | null | undefined)?.keys;
  if (!Array.isArray(entries)) {
    throw new Error('the answer is no JWKS');
  }
  const keys = entries
    .slice(0, MAX_KEYS)
    .map(usableKey)
    .filter((key) => key !== undefined);
  return {
    find: createLocalJWKSet({ keys }),
    ids: new Set(keys.flatMap(({ kid }) => kid ?? [])),
    fingerprints: new Set(keys.map((key) => JSON.stringify(key))),
    ignored: entries.length - keys.length,
  };
}

function usableKey(entry: unknown): JWK | undefined {
  if (typeof entry !== 'object' || entry === null) {
    return undefined;
  }
  const { kid, use, key_ops: operations, alg, ...members } = entry as Record<string, unknown>;
  const forSignatures =
    (use === undefined || use === 'sig') &&
    (operations === undefined || (Array.isArray(operations) && operations.includes('verify')));
  if (!forSignatures || (kid !== undefined && typeof kid !== 'string')) {
    return undefined;
  }
  const material = publicMembers(members);
  if (material === undefined) {
    return undefined;
  }
  try {
    const algorithm = algorithmOf(createPublicKey({ key: material, format: 'jwk' }));
    // RFC 9864 calls EdDSA on this curve Ed25519 in keys; tokens say EdDSA.
    const named = alg === 'Ed25519' ? 'EdDSA' : alg;
    return named === undefined || named === algorithm
      ? { ...material, alg: algorithm, ...(kid === undefined ? {} : { kid }) }
      : undefined;
  } catch {
    return undefined;
  }
}

function publicMembers(members: Record<string, unknown>): JWK | undefined {
  const { kty, n, e, crv, x, y } = members;
  if (kty === 'RSA') {
    return { kty, n, e } as JWK;
  }
  if (kty === 'EC' && crv === 'P-256') {
    return { kty, crv, x, y } as JWK;
  }
  if (kty === 'OKP' && crv === 'Ed25519') {
    return { kty, crv, x } as JWK;
  }
  return undefined;
}
