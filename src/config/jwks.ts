import { createPublicKey, createSecretKey, type KeyObject } from 'node:crypto';
import type { JWK } from 'jose';
import { isObject } from '../protocol/json.js';
import { algorithmOf } from './public-key.js';

/** Shortest HS256 key: RFC 7518 (3.2) wants as many bits as the hash has. */
const MIN_SECRET_BYTES = 32;
/** A JWKS in a file or variable: some 2 000 RSA keys. */
export const JWKS_MAX_BYTES = 1024 * 1024;
/** Keys of one: a token without a key id has all of its kind tried. */
export const JWKS_MAX_KEYS = 1_000;

/** A key that verifies tokens, and the one algorithm that follows from it. */
export interface NamedKey {
  readonly kid: string | undefined;
  readonly algorithm: 'HS256' | 'RS256' | 'ES256' | 'EdDSA';
  readonly key: KeyObject;
}

/** @returns what is wrong with an HS256 secret; undefined when it is good */
export function checkSecret(secret: string): string | undefined {
  return Buffer.byteLength(secret) < MIN_SECRET_BYTES
    ? `must be at least ${MIN_SECRET_BYTES} bytes long`
    : undefined;
}

/**
 * Reads the JWKS of the operator. Keys of a kind or for a use that Sluice does not have are left out; a key of a kind that it has and that
 * is not whole is a fault of the document, so that a slip does not end all tokens of a key.
 * @throws Error with advice; never with a part of a key
 */
export function readJwks(text: string): { keys: NamedKey[]; ignored: number } {
  if (Buffer.byteLength(text) > JWKS_MAX_BYTES) {
    throw new Error(`has more than ${JWKS_MAX_BYTES} bytes`);
  }
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw new Error('must be JSON');
  }
  const entries = isObject(document) ? document['keys'] : undefined;
  if (!Array.isArray(entries)) {
    throw new Error('must be a JWKS like {"keys": […]}');
  }
  if (entries.length > JWKS_MAX_KEYS) {
    throw new Error(`has more than ${JWKS_MAX_KEYS} keys`);
  }
  const keys: NamedKey[] = [];
  entries.forEach((entry: unknown, at) => {
    const found = namedKey(entry, `keys[${at}]`);
    if (found !== null) {
      keys.push(found);
    }
  });
  if (keys.length === 0) {
    throw new Error('has no key that can verify tokens (RSA, P-256, Ed25519, or oct for HS256)');
  }
  return { keys, ignored: entries.length - keys.length };
}

/** @returns what is wrong with the JWKS; undefined when it is good */
export function checkJwks(text: string): string | undefined {
  try {
    readJwks(text);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** @returns null for a key of another kind or use */
function namedKey(entry: unknown, name: string): NamedKey | null {
  if (!isObject(entry)) {
    throw new Error(`${name} must be a JSON object`);
  }
  const { kid, alg } = entry;
  if (!isForSignatures(entry)) {
    return null;
  }
  if (kid !== undefined && typeof kid !== 'string') {
    throw new Error(`${name}.kid must be a text`);
  }
  const isSecret = entry['kty'] === 'oct';
  const material = isSecret ? undefined : publicMembers(entry);
  if (isSecret ? alg !== undefined && alg !== 'HS256' : material === undefined) {
    return null;
  }
  try {
    const key = material === undefined ? secretOf(entry) : publicKeyOf(material);
    const algorithm = isSecret ? 'HS256' : algorithmOf(key);
    return alg === undefined || namedAlgorithm(alg) === algorithm ? { kid, algorithm, key } : null;
  } catch (error) {
    throw new Error(`${name} ${(error as Error).message}`, { cause: error });
  }
}

function publicKeyOf(material: JWK): KeyObject {
  try {
    return createPublicKey({ key: material, format: 'jwk' });
  } catch {
    throw new Error('is not a whole key'); // the library's message may quote it
  }
}

function secretOf({ k }: Record<string, unknown>): KeyObject {
  if (typeof k !== 'string' || !/^[\w-]*$/.test(k)) {
    throw new Error('must have its key as base64url in k');
  }
  const bytes = Buffer.from(k, 'base64url');
  if (bytes.length < MIN_SECRET_BYTES) {
    throw new Error(`is a key of ${bytes.length} bytes; it must have at least ${MIN_SECRET_BYTES}`);
  }
  return createSecretKey(bytes);
}

/** Whether an entry of a JWKS may verify signatures. */
export function isForSignatures({ use, key_ops: operations }: Record<string, unknown>): boolean {
  return (
    (use === undefined || use === 'sig') &&
    (operations === undefined || (Array.isArray(operations) && operations.includes('verify')))
  );
}

/** RFC 9864 calls EdDSA on this curve Ed25519 in keys; tokens say EdDSA. */
export function namedAlgorithm(alg: unknown): unknown {
  return alg === 'Ed25519' ? 'EdDSA' : alg;
}

/** The public members of an asymmetric key; undefined for a kind that is not supported. */
export function publicMembers(members: Record<string, unknown>): JWK | undefined {
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
