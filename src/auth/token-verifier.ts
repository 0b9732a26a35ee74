import { hash } from 'node:crypto';
import { Inject, Injectable, Logger } from '@nestjs/common';
import { LRUCache } from 'lru-cache';
import { CONFIG, type Config } from '../config/config.js';
import { Metrics } from '../metrics/metrics.js';
import { AuthError } from './auth-error.js';
import { type ClaimRules, isExpired, readClaims, type VerifiedToken } from './claims.js';
import { CLOCK, type Clock } from '../time/clock.js';
import { RevocationsService } from './revocations.js';
import { type Signed, SignatureVerifier } from './signature-verifier.js';

/** Digits of the hash of a refused token that are shown: who has the token can recognise it. */
const HASH_DIGITS = 12;
/** A refused token that is longer is not parsed for the name of its user. */
const MAX_READ_CHARACTERS = 8_192;

/** Message of a refusal for an unexpected error. */
const UNEXPECTED = 'The token cannot be verified';

/**
 * Decides whether a token is good. Good ones are cached until they expire, so that a storm of reconnects does not verify again; equal
 * tokens that arrive at once are verified once.
 *
 * Revocations are looked up for every call, cached or not, and nobody is let in before they are loaded.
 *
 * Counts every call in `sluice_auth_tokens_total`: verified, cached (also a shared verification), missing, invalid, expired, revoked, unavailable.
 */
@Injectable()
export class TokenVerifier {
  private readonly logger = new Logger('Auth');
  private readonly cache: TokenCache;
  /** Pending verifications, shared by concurrent callers; each ends by the key server's timeout at the latest. */
  private readonly pending = new Map<TokenDigest, Promise<VerifiedToken>>();
  private readonly rules: ClaimRules;
  private readonly isLive = (token: VerifiedToken): boolean =>
    !isExpired(token, this.rules.toleranceMs, this.clock.now());

  constructor(
    private readonly signatures: SignatureVerifier,
    private readonly metrics: Metrics,
    @Inject(CONFIG) config: Config,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly revocations: RevocationsService,
  ) {
    const { auth } = config;
    this.cache = new TokenCache(auth.tokenCacheMax, auth.tokenCacheMaxBytes);
    metrics.keeps('tokens', () => this.cache.size);
    this.rules = {
      issuer: auth.jwtIssuer,
      audience: auth.jwtAudience,
      toleranceMs: auth.clockToleranceS * 1000,
    };
  }

  /** Cached tokens. */
  get cachedTokens(): number {
    return this.cache.size;
  }

  /**
   * @returns the claims of the token
   * @throws {AuthError} `missing`, `invalid`, `expired`, `revoked`, or `unavailable` when its key cannot be fetched now or revocations are not loaded
   */
  async verify(token: string): Promise<VerifiedToken> {
    return await this.verifyAtOnce(token);
  }

  /**
   * Like {@link verify}, but synchronous where possible: the token is cached, or its key is at hand. Connects come by the thousand, and a
   * promise each would be a cost.
   */
  verifyAtOnce(token: string): VerifiedToken | Promise<VerifiedToken> {
    if (!this.revocations.loaded) {
      return this.verifyLoaded(token);
    }
    try {
      if (token === '') {
        throw new AuthError('missing', 'There is no token');
      }
      const digest = digestOf(token);
      const pending = this.pending.get(digest);
      if (pending !== undefined) {
        return this.counted(pending, 'cached', token);
      }
      const known = this.cache.get(digest, this.signatures.generation, this.isLive);
      const verified = known ?? this.check(token, digest);
      if (verified instanceof Promise) {
        const verification = verified.finally(() => this.pending.delete(digest));
        this.pending.set(digest, verification);
        return this.counted(verification, 'verified', token);
      }
      this.refuseRevoked(verified);
      this.count(known === undefined ? 'verified' : 'cached');
      return verified;
    } catch (error) {
      throw this.refusal(error, token);
    }
  }

  /**
   * Whether a verified token was revoked since, or its key taken back. Ask in the very step that uses a token which was verified in another.
   */
  isRevoked(token: VerifiedToken): boolean {
    return this.revocations.isRevoked(token);
  }

  /** Called when tokens were revoked: what is open on one must end. @returns removes the listener */
  onRevoked(listener: () => void): () => void {
    return this.revocations.onRevoked(listener);
  }

  private async verifyLoaded(token: string): Promise<VerifiedToken> {
    if (!(await this.revocations.whenLoaded())) {
      throw this.refusal(new AuthError('unavailable', 'The revocations cannot be read now'), token);
    }
    return await this.verifyAtOnce(token);
  }

  private refuseRevoked(token: VerifiedToken): void {
    if (this.revocations.isRevoked(token)) {
      throw revoked();
    }
  }

  private async counted(
    verification: Promise<VerifiedToken>,
    outcome: 'verified' | 'cached',
    token: string,
  ): Promise<VerifiedToken> {
    try {
      const verified = await verification;
      this.refuseRevoked(verified);
      this.count(outcome);
      return verified;
    } catch (error) {
      throw this.refusal(error, token);
    }
  }

  private count(outcome: 'verified' | 'cached'): void {
    const { hot } = this.metrics;
    if (outcome === 'verified') {
      hot.tokensVerified += 1;
    } else {
      hot.tokensCached += 1;
    }
  }

  private refusal(error: unknown, token: string): AuthError {
    const refusal = error instanceof AuthError ? error : this.unexpected(error);
    this.metrics.auth.inc({ outcome: refusal.reason });
    const { tokens } = this.metrics.top.refused;
    if (refusal.reason !== 'missing' && tokens.due()) {
      const sha256 = hash('sha256', token, 'hex').slice(0, HASH_DIGITS);
      // Anybody may have written the user name in a token with a bad signature, so it is not shown.
      const isSigned = refusal.reason === 'expired' || refusal.reason === 'revoked';
      const subject = isSigned ? subjectOf(token) : undefined;
      tokens.refused(subject ?? `sha256:${sha256}`, refusal.reason, {
        detail: refusal.message,
        hash: sha256,
      });
    }
    return refusal;
  }

  /** A library's message may quote the token: only the kind of its error is logged. */
  private unexpected(error: unknown): AuthError {
    const type = error instanceof Error ? error.name : typeof error;
    this.logger.error(`A verification failed with ${type}`, { type });
    return new AuthError('invalid', UNEXPECTED);
  }

  private check(token: string, digest: TokenDigest): VerifiedToken | Promise<VerifiedToken> {
    // Read before the await: if a key is revoked meanwhile, the entry is outdated at once.
    const { generation } = this.signatures;
    const signed = this.signatures.claims(token);
    const accept = ({ claims, key }: Signed): VerifiedToken => {
      const verified = readClaims(claims, this.rules, this.clock.now(), key);
      this.cache.set(digest, generation, verified, token.length);
      return verified;
    };
    return signed instanceof Promise ? signed.then(accept) : accept(signed);
  }
}

/** Whom a token names that is signed and not good any more, for the list of who is refused. Undefined where it names nobody. */
function subjectOf(token: string): string | undefined {
  if (token.length > MAX_READ_CHARACTERS) {
    return undefined;
  }
  try {
    const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as unknown;
    const { userId, sub } = claims as { userId?: unknown; sub?: unknown };
    const name = typeof userId === 'string' ? userId : sub;
    return typeof name === 'string' && name !== '' ? name : undefined;
  } catch {
    return undefined;
  }
}

export function revoked(): AuthError {
  return new AuthError('revoked', 'The token was revoked');
}

/** Identifies a token without revealing it. */
type TokenDigest = string;

/** SHA-256, so that no token stays in memory longer than its check takes; about 2 us. */
function digestOf(token: string): TokenDigest {
  return hash('sha256', token, 'base64');
}

/**
 * Upper estimate of an entry's memory: its user, device ids and patterns are kept as strings, set and array entries. Measured on the heap
 * of Node 20: 0.7 KiB for a token without devices, 1.1 KiB with 5 devices (240 characters), 4.5 bytes per character with 10 000 short ids.
 */
const ENTRY_BYTES = 1024;
const BYTES_PER_CHARACTER = 5;

interface Entry {
  readonly token: VerifiedToken;
  readonly generation: number;
}

/**
 * Verified tokens by digest, least recently used dropped first, bounded in count and in estimated bytes (with thousands of devices per
 * token a count alone would not bound the memory). Expired ones are dropped on access.
 */
class TokenCache {
  private readonly entries: LRUCache<TokenDigest, Entry> | undefined;

  /** A bound of 0 turns the cache off. */
  constructor(maxTokens: number, maxBytes: number) {
    this.entries =
      maxTokens > 0 && maxBytes > 0 ? new LRUCache({ max: maxTokens, maxSize: maxBytes }) : undefined;
  }

  get size(): number {
    return this.entries?.size ?? 0;
  }

  /**
   * @param isLive whether the token has not expired
   * @param generation of the current keys: tokens verified under another one are dropped
   */
  get(
    digest: TokenDigest,
    generation: number,
    isLive: (token: VerifiedToken) => boolean,
  ): VerifiedToken | undefined {
    const entry = this.entries?.get(digest);
    if (entry === undefined) {
      return undefined;
    }
    if (entry.generation !== generation || !isLive(entry.token)) {
      this.entries?.delete(digest);
      return undefined;
    }
    return entry.token;
  }

  /** @param length of the token in characters */
  set(digest: TokenDigest, generation: number, token: VerifiedToken, length: number): void {
    const size = ENTRY_BYTES + BYTES_PER_CHARACTER * length;
    this.entries?.set(digest, { token, generation }, { size });
  }
}
