import type { OnModuleDestroy, OnModuleInit } from '@nestjs/common';
import { JwtService } from '@nestjs/jwt';
import { compactVerify, errors } from 'jose';
import { AuthError } from './auth-error.js';
import type { TokenKey } from './claims.js';
import type { JwksKeySet, UsableKeys } from './jwks-key-set.js';
import type { KeyRing, RingKey } from './key-ring.js';

/** Checks signatures with the configured source of keys. */
export abstract class SignatureVerifier {
  /** Grows whenever keys were revoked: tokens verified under a lower number must be verified again. */
  abstract readonly generation: number;

  /**
   * @returns the claims of a token whose signature is good, as a promise if the keys may have to be fetched, or the check is one; the
   * caller checks times and contents
   * @throws {AuthError} `invalid`, or `unavailable` when the keys cannot be fetched now
   */
  abstract claims(token: string): Signed | Promise<Signed>;
}

/** Claims whose signature is good. */
export interface Signed {
  readonly claims: unknown;
  /** The key, where keys are taken back one by one. */
  readonly key?: TokenKey;
}

const COMPACT_JWS = /^[\w-]+\.[\w-]+\.[\w-]+$/;

interface TokenHeader {
  alg: string;
  kid?: string;
}

/**
 * Reads the header and refuses, before any cryptography, what no good token has: another algorithm than the settings allow, an empty
 * signature, or `crit` (extensions that must be understood; RFC 7515, 4.1.11). `jwk`, `jku`, `x5c` and `x5u` are never read: a token does
 * not bring its own key.
 * @throws {AuthError} `invalid`
 */
function readHeader(token: string, algorithms: readonly string[]): TokenHeader {
  if (!COMPACT_JWS.test(token)) {
    throw new AuthError('invalid', 'The token is no signed JWT');
  }
  const header = decodeHeader(token.slice(0, token.indexOf('.')));
  if (typeof header !== 'object' || header === null) {
    throw new AuthError('invalid', 'The token has no header');
  }
  const { alg, kid, crit } = header as Record<string, unknown>;
  if (typeof alg !== 'string' || !algorithms.includes(alg)) {
    throw new AuthError('invalid', 'The token is not signed with the expected algorithm');
  }
  if (crit !== undefined) {
    throw new AuthError('invalid', 'The token demands extensions that are not supported');
  }
  if (kid !== undefined && typeof kid !== 'string') {
    throw new AuthError('invalid', 'The token has a key id that is no text');
  }
  return { alg, kid };
}

/** The last header text, up to this length: the tokens of one issuer have equal headers. */
const REMEMBERED_LENGTH = 1_024;
let remembered = { text: '', header: undefined as unknown };

function decodeHeader(text: string): unknown {
  if (text === remembered.text) {
    return remembered.header;
  }
  const header = parseJson(Buffer.from(text, 'base64url'));
  if (text.length <= REMEMBERED_LENGTH) {
    remembered = { text: Buffer.from(text).toString(), header }; // a copy: a slice would keep the whole token alive
  }
  return header;
}

/** @returns the value, or undefined when the bytes are not JSON */
function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
  } catch {
    return undefined;
  }
}

function badSignature(): AuthError {
  return new AuthError('invalid', 'The signature of the token is wrong');
}

/** Tokens signed by a key of the settings, or of their files. The algorithm comes from the key alone. */
export class KeyRingVerifier extends SignatureVerifier implements OnModuleInit, OnModuleDestroy {
  constructor(private readonly ring: KeyRing) {
    super();
  }

  override get generation(): number {
    return this.ring.generation;
  }

  onModuleInit(): void {
    this.ring.start();
  }

  onModuleDestroy(): void {
    this.ring.stop();
  }

  override claims(token: string): Signed | Promise<Signed> {
    const { alg, kid } = readHeader(token, this.ring.algorithms);
    const keys = this.ring.keys.filter(
      (key) => key.algorithm === alg && (kid === undefined || key.kid === undefined || key.kid === kid),
    );
    return alg === 'HS256' ? bySecret(token, keys) : byPublicKey(token, keys);
  }
}

/**
 * The key is a `KeyObject`: with a string, jsonwebtoken first tries to parse it as PEM for every token, which takes forty times as long as
 * the check itself (480 us instead of 10 us).
 */
function bySecret(token: string, keys: readonly RingKey[]): Signed {
  for (const key of keys) {
    try {
      // Times are checked in claims.ts, equally for all kinds of keys and by the injected clock.
      const options = { algorithms: ['HS256' as const], ignoreExpiration: true, ignoreNotBefore: true };
      return { claims: checkerOf(key).verify<object>(token, options), key };
    } catch {
      // Another key may fit.
    }
  }
  throw badSignature();
}

/** By jose, since jsonwebtoken has no EdDSA. */
async function byPublicKey(token: string, keys: readonly RingKey[]): Promise<Signed> {
  for (const key of keys) {
    try {
      const { payload } = await compactVerify(token, key.key, { algorithms: [key.algorithm] });
      return { claims: parseJson(payload), key };
    } catch {
      // Another key may fit.
    }
  }
  throw badSignature();
}

const checkers = new WeakMap<RingKey, JwtService>();

function checkerOf(key: RingKey): JwtService {
  const known = checkers.get(key) ?? new JwtService({ secret: key.key });
  checkers.set(key, known);
  return known;
}

const JWKS_ALGORITHMS = ['RS256', 'ES256', 'EdDSA'];

type LastOutcome = { payload: Uint8Array } | 'unknown key' | 'bad signature';

/** Tokens signed by a key of a JWKS. An unknown key id causes one more fetch: keys rotate. */
export class JwksSignatureVerifier extends SignatureVerifier implements OnModuleInit, OnModuleDestroy {
  constructor(private readonly keySet: JwksKeySet) {
    super();
  }

  override get generation(): number {
    return this.keySet.generation;
  }

  onModuleInit(): void {
    this.keySet.start();
  }

  onModuleDestroy(): void {
    this.keySet.stop();
  }

  override async claims(token: string): Promise<Signed> {
    const { kid } = readHeader(token, JWKS_ALGORITHMS);
    const hasKeyId = kid !== undefined;
    const keys = await this.keySet.current();
    let outcome = await verifyWith(keys, token, hasKeyId);
    if (outcome === 'unknown key') {
      const isOld = !hasKeyId || keys.ids.has(kid) || this.keySet.wasTakenBack(kid);
      const mayBeNew = !isOld && isIssuedSince(token, this.keySet.fetchedAtMs);
      const newer = await this.keySet.newerThan(keys, mayBeNew);
      outcome = newer === undefined ? outcome : await verifyWith(newer, token, hasKeyId);
    }
    if (typeof outcome === 'string') {
      throw badSignature();
    }
    return { claims: parseJson(outcome.payload) };
  }
}

/** How long before a token is signed its key may still be missing at the key server; also the allowed clock difference. */
const PUBLISHED_LATE_MS = 60_000;

/**
 * Whether a token claims to be signed after the keys were fetched: its key may be newer than they are. An older one was signed by a revoked
 * key or by none, so coming back with it would be in vain. The claim is not verified: a false one only makes its client come back, and
 * causes no fetch.
 */
function isIssuedSince(token: string, fetchedAtMs: number): boolean {
  const claims = parseJson(Buffer.from(token.split('.', 2)[1] ?? '', 'base64url')) as {
    iat?: unknown;
  } | null;
  const issuedAt = claims?.iat;
  return typeof issuedAt !== 'number' || issuedAt * 1000 + PUBLISHED_LATE_MS >= fetchedAtMs;
}

async function verifyWith(keys: UsableKeys, token: string, hasKeyId: boolean): Promise<LastOutcome> {
  const options = { algorithms: JWKS_ALGORITHMS };
  // Without a key id all keys of the kind are tried; the right one may have been published since.
  const failed = hasKeyId ? 'bad signature' : 'unknown key';
  try {
    return await compactVerify(token, keys.find, options);
  } catch (error) {
    if (error instanceof errors.JWKSMultipleMatchingKeys) {
      for await (const key of error) {
        const verified = await compactVerify(token, key, options).catch(() => undefined);
        if (verified !== undefined) {
          return verified;
        }
      }
      return failed;
    }
    return error instanceof errors.JWKSNoMatchingKey ? 'unknown key' : failed;
  }
}
