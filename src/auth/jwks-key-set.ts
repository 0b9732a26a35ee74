import { createPublicKey } from 'node:crypto';
import { type IncomingMessage, request as requestClear } from 'node:http';
import { request as requestTls } from 'node:https';
import { Logger } from '@nestjs/common';
import { createLocalJWKSet, type JWK, type JWTVerifyGetKey } from 'jose';
import { algorithmOf } from '../config/public-key.js';
import { background } from '../logging/walls.js';
import type { Metrics } from '../metrics/metrics.js';
import { AuthError } from './auth-error.js';
import type { Clock } from '../time/clock.js';

/** Ids of keys that were taken back and are remembered: more than any rotation leaves within the life of a token. */
const MAX_TAKEN_BACK = 256;

interface JwksOptions {
  url: string;
  /** Age at which the keys are fetched again, ms. */
  maxAgeMs: number;
  /** Least time between two fetches that tokens ask for, and between attempts while the server is away, ms. */
  cooldownMs: number;
  /** Time the server has for the whole answer, ms. */
  timeoutMs: number;
}

/**
 * The keys of a JWKS server, kept up to date by a timer and not by traffic: a key that was taken back is gone after
 * `maxAgeMs` also where all tokens come from the cache, and no client ever waits for a routine fetch.
 * While the server is away the last keys stay in use however old they are, and a fetch is tried every `cooldownMs`.
 *
 * Not jose's `createRemoteJWKSet`, though its `reload()` and `customFetch` would allow for age and size: it counts its cooldown from
 * successes alone and by its own clock, so that timer, attempts, removals and the filter of keys stay here, and one shared promise and a
 * time-out are all that it saves. Finding and importing keys is jose's.
 */
export class JwksKeySet {
  private readonly logger = new Logger('JWKS');
  private keys: UsableKeys | undefined;
  private fetchedAt: number | undefined;
  private lastAttemptAt = -Infinity;
  private failing = false;
  private fetching: Promise<void> | undefined;
  private cancelTimer: (() => void) | undefined;
  private attempt: AbortController | undefined;
  private stopped = false;
  private removals = 0;
  /** Ids of keys that were taken back, the oldest first: a token that names one is known to be bad. */
  private readonly takenBack = new Set<string>();

  constructor(
    private readonly options: JwksOptions,
    private readonly clock: Clock,
    private readonly metrics: Metrics,
  ) {}

  /** Fetches in the background. Never throws: a start while the server is down is an ordinary start. */
  start(): void {
    background('auth', this.refresh());
  }

  /** Ends the timer and the fetch under way. */
  stop(): void {
    this.stopped = true;
    this.attempt?.abort(new Error('stopped'));
    this.cancelTimer?.();
  }

  /** How often keys were taken back. */
  get generation(): number {
    return this.removals;
  }

  wasTakenBack(keyId: string): boolean {
    return this.takenBack.has(keyId);
  }

  /** Unix ms at which the keys in use were fetched; 0 before the first. */
  get fetchedAtMs(): number {
    return this.fetchedAt ?? 0;
  }

  /** Seconds since the keys in use were fetched; 0 before the first. */
  get ageSeconds(): number {
    return this.fetchedAt === undefined ? 0 : (this.clock.now() - this.fetchedAt) / 1000;
  }

  /**
   * The keys in use; waits for a fetch only while there are none.
   * @throws {AuthError} `unavailable` when there are none
   */
  async current(): Promise<UsableKeys> {
    if (this.keys === undefined) {
      await this.refreshIfAllowed();
    }
    if (this.keys === undefined) {
      throw unavailable();
    }
    return this.keys;
  }

  /**
   * For a token whose key is not among `known`: perhaps a rotation was missed. Fetches unless that was done lately.
   * @param mayBeNew the key has an id that is not among them
   * @returns other keys than `known`, or undefined when the server has no others
   * @throws {AuthError} `unavailable` when the server could not be asked: it is away, or it is too early to ask for a key that may be new
   */
  async newerThan(known: UsableKeys, mayBeNew: boolean): Promise<UsableKeys | undefined> {
    const asked = this.keys !== known || (await this.refreshIfAllowed());
    if (this.keys !== known) {
      return this.keys;
    }
    if (this.failing || (!asked && mayBeNew)) {
      throw unavailable();
    }
    return undefined;
  }

  /** @returns whether the server was asked */
  private async refreshIfAllowed(): Promise<boolean> {
    const rested = this.clock.now() - this.lastAttemptAt >= this.options.cooldownMs;
    if (this.fetching === undefined && !rested) {
      return false;
    }
    await this.refresh();
    return true;
  }

  /** One fetch at a time, shared by all who ask. */
  private refresh(): Promise<void> {
    this.fetching ??= this.fetchOnce().finally(() => {
      this.fetching = undefined;
    });
    return this.fetching;
  }

  private async fetchOnce(): Promise<void> {
    if (this.stopped) {
      return;
    }
    this.cancelTimer?.();
    this.lastAttemptAt = this.clock.now();
    const attempt = new AbortController();
    this.attempt = attempt;
    const cancelTimeout = this.clock.after(this.options.timeoutMs, () =>
      attempt.abort(new Error(`no answer within ${this.options.timeoutMs} ms`)),
    );
    try {
      this.accept(usableKeys(await fetchJwks(this.options.url, attempt.signal)));
    } catch (error) {
      this.reject(error as Error);
    } finally {
      cancelTimeout();
    }
    if (!this.stopped) {
      const delayMs = this.failing ? this.options.cooldownMs : this.options.maxAgeMs;
      this.cancelTimer = this.clock.after(delayMs, () => background('auth', this.refresh()));
    }
  }

  private accept(next: UsableKeys): void {
    const previous = this.keys;
    const same = previous !== undefined && sameMembers(previous.fingerprints, next.fingerprints);
    if (previous !== undefined && [...previous.fingerprints].some((key) => !next.fingerprints.has(key))) {
      this.removals++;
    }
    this.rememberTakenBack(previous?.ids ?? [], next.ids);
    if (!same) {
      // An unchanged set keeps its identity, and with it the imported keys.
      this.keys = next;
      const ignored = next.ignored > 0 ? `, ${next.ignored} of other kinds ignored` : '';
      const message = `${next.fingerprints.size} usable key(s)${ignored}`;
      if (next.fingerprints.size > 0) {
        this.logger.log(message);
      } else {
        // An answer too (everything was taken back): it holds, but somebody should look.
        this.logger.warn(message);
      }
    }
    if (this.failing) {
      this.logger.log('The server answers again');
    }
    this.fetchedAt = this.clock.now();
    this.failing = false;
    this.metrics.jwksFetches.inc({ outcome: 'ok' });
  }

  private rememberTakenBack(before: Iterable<string>, now: ReadonlySet<string>): void {
    now.forEach((id) => this.takenBack.delete(id));
    for (const id of before) {
      if (!now.has(id)) {
        this.takenBack.add(id);
      }
    }
    for (const id of this.takenBack) {
      if (this.takenBack.size <= MAX_TAKEN_BACK) {
        break;
      }
      this.takenBack.delete(id);
    }
  }

  private reject(error: Error): void {
    if (this.stopped) {
      return;
    }
    if (!this.failing) {
      const effect = this.keys === undefined ? 'no token can be verified' : 'the last keys stay in use';
      this.logger.warn(`Cannot be fetched (${error.message}): ${effect}`);
    }
    this.failing = true;
    this.metrics.jwksFetches.inc({ outcome: 'failed' });
  }
}

function sameMembers(one: ReadonlySet<string>, other: ReadonlySet<string>): boolean {
  return one.size === other.size && [...one].every((member) => other.has(member));
}

function unavailable(): AuthError {
  return new AuthError('unavailable', 'The keys that verify tokens cannot be fetched now');
}

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
function usableKeys(document: unknown): UsableKeys {
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

/** A JWKS of 64 keys with certificate chains is smaller; a server cannot fill the memory. */
const MAX_BYTES = 512 * 1024;

/**
 * One GET of a JWKS. Redirects are not followed: the address in the settings is the one that is trusted. By node:https, since fetch()
 * has no option for the check of the certificate, and NODE_TLS_REJECT_UNAUTHORIZED would turn it off.
 * @returns the parsed JSON
 * @throws Error whose message says in a few words why not, without the address
 */
async function fetchJwks(url: string, signal: AbortSignal): Promise<unknown> {
  try {
    const response = await get(new URL(url), signal);
    if (response.statusCode !== 200) {
      response.destroy();
      throw new Error(`HTTP ${response.statusCode}`);
    }
    return JSON.parse(await boundedText(response));
  } catch (error) {
    throw new Error(reasonOf(error, signal), { cause: error });
  }
}

function get(url: URL, signal: AbortSignal): Promise<IncomingMessage> {
  const headers = { accept: 'application/json, application/jwk-set+json' };
  const request = url.protocol === 'https:' ? requestTls : requestClear;
  return new Promise((resolve, reject) => {
    request(url, { headers, signal, rejectUnauthorized: true })
      .once('response', resolve)
      // Also after the answer has begun, when the body's error says the same.
      .on('error', reject)
      .end();
  });
}

async function boundedText(response: IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  // Leaving the loop by an error ends the connection, and with it the rest of the body.
  for await (const chunk of response as AsyncIterable<Uint8Array>) {
    bytes += chunk.byteLength;
    if (bytes > MAX_BYTES) {
      throw new Error(`more than ${MAX_BYTES} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function reasonOf(error: unknown, signal: AbortSignal): string {
  if (signal.aborted) {
    return signal.reason instanceof Error ? signal.reason.message : 'aborted';
  }
  if (error instanceof SyntaxError) {
    return 'the answer is not JSON';
  }
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message;
}
