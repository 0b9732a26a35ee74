import { createPublicKey } from 'node:crypto';
import { type IncomingMessage, request as requestClear } from 'node:http';
import { request as requestTls } from 'node:https';
import { Logger } from '@nestjs/common';
import { createLocalJWKSet, type JWK, type JWTVerifyGetKey } from 'jose';
import { isForSignatures, namedAlgorithm, publicMembers } from '../config/jwks.js';
import { algorithmOf } from '../config/public-key.js';
import { background } from '../logging/walls.js';
import type { Metrics } from '../metrics/metrics.js';
import { isObject } from '../protocol/json.js';
import { AuthError } from './auth-error.js';
import type { Clock } from '../time/clock.js';

/** Ids of revoked keys that are remembered: more than any rotation leaves within the life of a token. */
const MAX_TAKEN_BACK = 256;

interface JwksOptions {
  url: string;
  /** Age at which the keys are fetched again, ms. */
  maxAgeMs: number;
  /** Least time between two fetches caused by tokens, and between attempts while the server is away, ms. */
  cooldownMs: number;
  /** Time the server has for the complete answer, ms. */
  timeoutMs: number;
}

/**
 * The keys of a JWKS server, refreshed by a timer and not by traffic: a revoked key is dropped after `maxAgeMs` even if all tokens come
 * from the cache, and no client ever waits for a routine fetch. While the server is away the last keys stay in use however old they are,
 * and a fetch is tried every `cooldownMs`.
 *
 * Not jose's `createRemoteJWKSet`, though its `reload()` and `customFetch` would allow limits of age and size: its cooldown counts
 * successes only and uses its own clock, so the timer, attempts, removals and the filter of keys would stay here, and only one shared
 * promise and a timeout would be saved. jose finds and imports the keys.
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
  /** Ids of revoked keys, the oldest first: a token that names one is known to be bad. */
  private readonly takenBack = new Set<string>();

  constructor(
    private readonly options: JwksOptions,
    private readonly clock: Clock,
    private readonly metrics: Metrics,
  ) {}

  /** Fetches in the background. Never throws: a start while the server is down is a normal start. */
  start(): void {
    background('auth', this.refresh());
  }

  /** Stops the timer and the pending fetch. */
  stop(): void {
    this.stopped = true;
    this.attempt?.abort(new Error('stopped'));
    this.cancelTimer?.();
  }

  /** How often keys were revoked. */
  get generation(): number {
    return this.removals;
  }

  wasTakenBack(keyId: string): boolean {
    return this.takenBack.has(keyId);
  }

  /** Unix ms at which the current keys were fetched; 0 before the first fetch. */
  get fetchedAtMs(): number {
    return this.fetchedAt ?? 0;
  }

  /** Seconds since the current keys were fetched; 0 before the first fetch. */
  get ageSeconds(): number {
    return this.fetchedAt === undefined ? 0 : (this.clock.now() - this.fetchedAt) / 1000;
  }

  /**
   * The current keys; waits for a fetch only while there are none.
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
   * For a token whose key is not in `known`: a rotation may have been missed. Fetches unless that was done recently.
   * @param mayBeNew the token names a key id that is not in `known`
   * @returns keys that differ from `known`, or undefined when the server has no others
   * @throws {AuthError} `unavailable` when the server could not be asked: it is away, or the cooldown prevents a fetch for a key that may
   * be new
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

  /** One fetch at a time, shared by concurrent callers. */
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
      // An unchanged set keeps its identity, and so the imported keys.
      this.keys = next;
      const ignored = next.ignored > 0 ? `, ${next.ignored} of other kinds ignored` : '';
      const message = `${next.fingerprints.size} usable key(s)${ignored}`;
      const facts = { keys: next.fingerprints.size, ignored: next.ignored };
      if (next.fingerprints.size > 0) {
        this.logger.log(message, facts);
      } else {
        // An empty set is an answer too (everything was revoked): it applies, but an operator should look.
        this.logger.warn(message, facts);
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
      this.logger.warn(`Cannot be fetched (${error.message}): ${effect}`, { reason: error.message });
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

/** More keys than any rotation needs; bounds the cost of a token without a key id, for which all keys of its kind are tried. */
const MAX_KEYS = 64;

/** The keys of a JWKS that may verify tokens. */
export interface UsableKeys {
  /** Finds the key by `alg` and `kid`; each key is tied to its one algorithm. */
  readonly find: JWTVerifyGetKey;
  readonly ids: ReadonlySet<string>;
  /** Each key in full, to see which of them a newer document lacks. */
  readonly fingerprints: ReadonlySet<string>;
  /** Entries left out: other kinds and uses of keys, RSA under 2048 bits, invalid ones. */
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
  if (!isObject(entry)) {
    return undefined;
  }
  const { kid, alg } = entry;
  const material = publicMembers(entry);
  if (!isForSignatures(entry) || (kid !== undefined && typeof kid !== 'string') || material === undefined) {
    return undefined;
  }
  try {
    const algorithm = algorithmOf(createPublicKey({ key: material, format: 'jwk' }));
    return alg === undefined || namedAlgorithm(alg) === algorithm
      ? { ...material, alg: algorithm, ...(kid === undefined ? {} : { kid }) }
      : undefined;
  } catch {
    return undefined;
  }
}

/** A JWKS of 64 keys with certificate chains is smaller; bounds the memory a server can use. */
const MAX_BYTES = 512 * 1024;

/**
 * One GET of a JWKS. Redirects are not followed: only the configured address is trusted. By node:https, since fetch() has no option for the
 * check of the certificate, and NODE_TLS_REJECT_UNAUTHORIZED would turn it off.
 * @returns the parsed JSON
 * @throws Error with a short reason, without the address
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
      // Also after the answer has begun; the body then emits the same error.
      .on('error', reject)
      .end();
  });
}

async function boundedText(response: IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  // An error inside the loop ends the connection and discards the rest of the body.
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
