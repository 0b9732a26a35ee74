import type { OnModuleDestroy, OnModuleInit } from '@nestjs/common';
import { compactVerify, errors } from 'jose';
import type { UsableKeys } from './jwks-document.js';
import type { JwksKeySet } from './jwks-key-set.js';
import { SignatureVerifier, badSignature, parseJson, readHeader } from './signature-verifier.js';

const ALGORITHMS = ['RS256', 'ES256', 'EdDSA'];

type Outcome = { payload: Uint8Array } | 'unknown key' | 'bad signature';

/** Tokens signed by a key of a JWKS. A key id that is not in it asks the server once more: keys rotate. */
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

  override async claims(token: string): Promise<unknown> {
    const { kid } = readHeader(token, ALGORITHMS);
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
    return parseJson(outcome.payload);
  }
}

/** How long before a token is signed its key may still be missing at the key server, and how far clocks may differ. */
const PUBLISHED_LATE_MS = 60_000;

/**
 * Whether a token says that it was signed since the keys were fetched: its key may be newer than they are. One from before was signed by a
 * key that has been taken back, or by none; to come back with it would be in vain. Nobody has checked what it says: who lies is told to
 * come back, and nothing is fetched for it.
 */
function isIssuedSince(token: string, fetchedAtMs: number): boolean {
  const claims = parseJson(Buffer.from(token.split('.', 2)[1] ?? '', 'base64url')) as {
    iat?: unknown;
  } | null;
  const issuedAt = claims?.iat;
  return typeof issuedAt !== 'number' || issuedAt * 1000 + PUBLISHED_LATE_MS >= fetchedAtMs;
}

async function verifyWith(keys: UsableKeys, token: string, hasKeyId: boolean): Promise<Outcome> {
  const options = { algorithms: ALGORITHMS };
  // Without a key id all keys of the kind are tried; the one that signed may have been published since.
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
