import { RevocationsService } from '../../src/auth/revocations.js';
import type { ServerResponse } from 'node:http';
import { setImmediate as turn } from 'node:timers/promises';
import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { JwksKeySet } from '../../src/auth/jwks-key-set.js';
import { JwksSignatureVerifier } from '../../src/auth/signature-verifier.js';
import { TokenVerifier } from '../../src/auth/token-verifier.js';
import { loadConfig } from '../../src/config/load-config.js';
import { Metrics } from '../../src/metrics/metrics.js';
import { JwksServer, jwk, keysAnswer } from './jwks-server.js';
import { ManualClock } from './manual-clock.js';
import { authUnderTest, edDsa, es256, goodClaims, hs256, pem, rs256, signToken } from './tokens.js';

const MAX_AGE_MS = 600_000;
const COOLDOWN_MS = 10_000;
const TIMEOUT_MS = 5_000;

const [rsa, rsaNext, ec, ed] = [rs256(), rs256(), es256(), edDsa()];

describe('a JWKS', () => {
  let clock: ManualClock;
  let server: JwksServer;
  let keySet: JwksKeySet;
  let verifier: TokenVerifier;
  let fetches: { ok: number; failed: number };
  let onFetch: (() => void)[];
  let logged: string[];

  /** The end of the fetch under way. */
  const fetched = async (): Promise<void> => {
    await new Promise<void>((resolve) => onFetch.push(resolve));
    await turn();
  };
  /** Lets time pass until a fetch is due, and waits for that fetch alone. */
  const advanceToFetch = async (byMs: number): Promise<void> => {
    const done = fetched();
    clock.advance(byMs);
    await done;
  };
  const startKeySet = async (): Promise<void> => {
    const done = fetched();
    keySet.start();
    await done;
  };
  const token = (signer = rsa, kid: string | null = 'one', claims: object = {}): string =>
    signToken(
      { ...goodClaims(clock), exp: clock.seconds + 90 * 86_400, ...claims },
      signer,
      kid === null ? {} : { kid },
    );
  const outcome = (text: string): Promise<string> =>
    verifier.verify(text).then(
      ({ userId }) => userId,
      (error: { reason: string }) => error.reason,
    );

  beforeEach(async () => {
    logged = [];
    for (const level of ['log', 'warn', 'error'] as const) {
      jest.spyOn(Logger.prototype, level).mockImplementation((message: unknown) => {
        // What becomes of the tokens is said, too; this is about the keys.
        if (!String(message).startsWith('A token was refused')) {
          logged.push(`${level}: ${String(message)}`);
        }
      });
    }
    clock = new ManualClock();
    server = new JwksServer(keysAnswer(jwk(rsa, { kid: 'one' })));
    await server.start();
    const metrics = new Metrics();
    fetches = { ok: 0, failed: 0 };
    onFetch = [];
    jest.spyOn(metrics.jwksFetches, 'inc').mockImplementation(((labels: { outcome: 'ok' | 'failed' }) => {
      fetches[labels.outcome]++;
      onFetch.splice(0).forEach((resolve) => resolve());
    }) as never);
    keySet = new JwksKeySet(
      { url: server.url, maxAgeMs: MAX_AGE_MS, cooldownMs: COOLDOWN_MS, timeoutMs: TIMEOUT_MS },
      clock,
      metrics,
    );
    const config = loadConfig({ JWT_JWKS_URL: server.url });
    verifier = new TokenVerifier(
      new JwksSignatureVerifier(keySet),
      metrics,
      config,
      clock,
      new RevocationsService(config, clock, metrics),
    );
  });

  afterEach(async () => {
    keySet.stop();
    await server.stop();
    jest.restoreAllMocks();
    expect(clock.pendingTimers).toBe(0);
  });

  it('is fetched once for many tokens that arrive before it', async () => {
    keySet.start();
    const all = await Promise.all([token(), token(), token(rsa, 'one', { userId: 'bob' })].map(outcome));
    expect(all).toEqual(['ann', 'ann', 'bob']);
    expect(server.requests).toBe(1);
  });

  it('serves RSA, P-256 and Ed25519 keys side by side, each for its own algorithm only', async () => {
    server.answer = keysAnswer(
      jwk(rsa, { kid: 'r' }),
      jwk(ec, { kid: 'e' }),
      jwk(ed, { kid: 'd', alg: 'Ed25519', use: 'sig' }),
    );
    await startKeySet();
    expect(await Promise.all([token(rsa, 'r'), token(ec, 'e'), token(ed, 'd')].map(outcome))).toEqual([
      'ann',
      'ann',
      'ann',
    ]);
    // The key of another kind under a matching kid
    expect(await outcome(token(rsa, 'e'))).toBe('invalid');
    expect(await outcome(token(ed, 'r'))).toBe('invalid');
    expect(await outcome(signToken(goodClaims(clock), hs256(pem(rsa)), { kid: 'r' }))).toBe('invalid');
    for (const alg of ['RS512', 'PS256', 'ES384', 'none', 'Ed25519']) {
      expect(await outcome(signToken(goodClaims(clock), rsa, { kid: 'r', alg }))).toBe('invalid');
    }
  });

  it('never uses keys of other kinds or for other things', async () => {
    const short = rs256(1024);
    const secret = 'a symmetric key in a public document';
    const p384 = es256('P-384');
    server.answer = keysAnswer(
      { kty: 'oct', kid: 'oct', alg: 'HS256', k: Buffer.from(secret).toString('base64url') },
      jwk(p384, { kid: 'p384' }),
      jwk(es256('secp256k1'), { kid: 'k1' }),
      jwk(short, { kid: 'short' }),
      jwk(rsa, { kid: 'enc', use: 'enc' }),
      jwk(rsa, { kid: 'ops', key_ops: ['encrypt'] }),
      jwk(rsa, { kid: 'rs512', alg: 'RS512' }),
      jwk(rsa, { kid: 5 }),
      { kty: 'RSA', kid: 'broken', n: '!', e: 1 },
      { kty: 'EC', crv: 'P-256', kid: 'off-curve', x: 'AAAA', y: 'AAAA' },
      'text' as never,
      null as never,
      jwk(ec, { kid: 'good' }),
    );
    await startKeySet();
    for (const kid of ['enc', 'ops', 'rs512', 'broken']) {
      clock.advance(COOLDOWN_MS);
      expect(await outcome(token(rsa, kid))).toBe('invalid');
    }
    clock.advance(COOLDOWN_MS);
    expect(await outcome(token(short, 'short'))).toBe('invalid');
    expect(await outcome(signToken(goodClaims(clock), hs256(secret), { kid: 'oct' }))).toBe('invalid');
    clock.advance(COOLDOWN_MS);
    expect(await outcome(token(p384, 'p384'))).toBe('invalid');
    expect(await outcome(token(ec, 'good'))).toBe('ann');
    expect(logged).toContain('log: 1 usable key(s), 12 of other kinds ignored');
  });

  it('verifies with the public half of a key that was published whole', async () => {
    server.answer = keysAnswer(jwk(ed, { kid: 'd', d: 'AAAA' }));
    await startKeySet();
    expect(await outcome(token(ed, 'd'))).toBe('ann');
  });

  it('tries all keys of the kind for a token without a key id', async () => {
    server.answer = keysAnswer(jwk(rsaNext, { kid: 'two' }), jwk(rsa), jwk(ec));
    await startKeySet();
    expect(await outcome(token(rsa, null))).toBe('ann');
    expect(await outcome(token(ec, null))).toBe('ann');
    expect(await outcome(token(rs256(), null))).toBe('invalid');
  });

  it('asks again for an unknown key id, but not more often than the cooldown says', async () => {
    await startKeySet();
    server.answer = keysAnswer(jwk(rsa, { kid: 'one' }), jwk(rsaNext, { kid: 'two' }));
    // Defect: it was called invalid, and its user sent to log in, before anybody had asked for its key.
    expect(await outcome(token(rsaNext, 'two'))).toBe('unavailable');
    expect(server.requests).toBe(1);
    clock.advance(COOLDOWN_MS);
    // A storm of new tokens is one fetch.
    const storm = Array.from({ length: 20 }, (_, i) =>
      outcome(token(rsaNext, 'two', { userId: `user-${i}` })),
    );
    expect(new Set(await Promise.all(storm)).size).toBe(20);
    expect(server.requests).toBe(2);
    for (let i = 0; i < 20; i++) {
      expect(await outcome(token(rsaNext, `made-up-${i}`))).toBe('unavailable');
      expect(await outcome(token(rsa, 'one', { userId: `good-${i}` }))).toBe(`good-${i}`);
    }
    expect(server.requests).toBe(2);
    clock.advance(COOLDOWN_MS);
    expect(await outcome(token(rsaNext, 'made-up'))).toBe('invalid');
    expect(server.requests).toBe(3);
  });

  it('refuses at once a token from before the keys were fetched whose key is not among them', async () => {
    await startKeySet();
    const issued = (ago: number) => token(rsaNext, 'old', { iat: clock.seconds - ago });
    expect(await outcome(issued(3_600))).toBe('invalid');
    expect(await outcome(issued(0))).toBe('unavailable');
    expect(server.requests).toBe(1);
  });

  it('finds the successor of a key without an id', async () => {
    server.answer = keysAnswer(jwk(rsa));
    await startKeySet();
    server.answer = keysAnswer(jwk(rsaNext));
    clock.advance(COOLDOWN_MS);
    expect(await outcome(token(rsaNext, null))).toBe('ann');
  });

  it('does not ask the server for a wrong signature under a known key id', async () => {
    await startKeySet();
    clock.advance(COOLDOWN_MS);
    expect(await outcome(token(rsaNext, 'one'))).toBe('invalid');
    expect(server.requests).toBe(1);
  });

  it('refuses tokens of a key that was taken back, also cached ones, after the maximum age', async () => {
    await startKeySet();
    const old = token();
    expect(await outcome(old)).toBe('ann');
    server.answer = keysAnswer(jwk(rsaNext, { kid: 'two' }));
    clock.advance(MAX_AGE_MS - 1);
    expect(verifier.verifyAtOnce(old)).toMatchObject({ userId: 'ann' });
    await advanceToFetch(1);
    expect(await outcome(old)).toBe('invalid');
    expect(await outcome(token(rsaNext, 'two'))).toBe('ann');
  });

  it('keeps verified tokens while keys are only added or stay', async () => {
    await startKeySet();
    const old = token();
    await outcome(old);
    server.answer = keysAnswer(jwk(rsaNext, { kid: 'two' }), jwk(rsa, { kid: 'one' }));
    await advanceToFetch(MAX_AGE_MS);
    await advanceToFetch(MAX_AGE_MS);
    expect(fetches).toEqual({ ok: 3, failed: 0 });
    expect(verifier.verifyAtOnce(old)).toMatchObject({ userId: 'ann' });
  });

  it('takes an empty set for an answer and says so', async () => {
    await startKeySet();
    await outcome(token());
    server.answer = keysAnswer();
    await advanceToFetch(MAX_AGE_MS);
    expect(await outcome(token())).toBe('invalid');
    expect(logged).toContain('warn: 0 usable key(s)');
  });

  it('goes on with the last keys, however old, while the server is away, and recovers', async () => {
    await startKeySet();
    await server.stop();
    await advanceToFetch(MAX_AGE_MS);
    for (let day = 0; day < 30; day++) {
      await advanceToFetch(COOLDOWN_MS);
    }
    expect(fetches).toEqual({ ok: 1, failed: 31 });
    expect(await outcome(token())).toBe('ann');
    expect(await outcome(token(rsaNext, 'one'))).toBe('invalid');
    expect(keySet.ageSeconds).toBe((MAX_AGE_MS + 30 * COOLDOWN_MS) / 1000);
    // Whether that key exists cannot be known now.
    expect(await outcome(token(rsaNext, 'two'))).toBe('unavailable');

    server.answer = keysAnswer(jwk(rsaNext, { kid: 'two' }));
    await server.start();
    await advanceToFetch(COOLDOWN_MS);
    expect(await outcome(token(rsaNext, 'two'))).toBe('ann');
    expect(await outcome(token())).toBe('invalid');
    expect(keySet.ageSeconds).toBe(0);
    // One line for the outage and one for its end, not one per attempt
    expect(logged.filter((line) => line.startsWith('warn'))).toHaveLength(1);
    expect(logged.filter((line) => line.includes('answers again'))).toHaveLength(1);
  });

  it('starts while the server is down, and verifies as soon as it is up', async () => {
    await server.stop();
    await startKeySet();
    expect(await outcome(token())).toBe('unavailable');
    expect(fetches).toEqual({ ok: 0, failed: 1 });
    expect(keySet.ageSeconds).toBe(0);
    expect(logged).toEqual(['warn: Cannot be fetched (ECONNREFUSED): no token can be verified']);
    await server.start();
    await advanceToFetch(COOLDOWN_MS);
    expect(await outcome(token())).toBe('ann');
  });

  it.each<[string, JwksServer['answer'], RegExp]>([
    ['HTTP 500', (response) => response.writeHead(500).end('{"keys":[]}'), /HTTP 500/],
    ['HTTP 404', (response) => response.writeHead(404).end(), /HTTP 404/],
    [
      'a redirect',
      (response) => response.writeHead(302, { location: 'http://127.0.0.1:9/' }).end(),
      /HTTP 302/,
    ],
    ['no JSON', (response) => response.end('<html>'), /not JSON/],
    ['JSON that is no JWKS', (response) => response.end('{"keys":{}}'), /no JWKS/],
    ['null', (response) => response.end('null'), /no JWKS/],
    ['an empty body', (response) => response.end(), /not JSON/],
    ['a cut connection', (response) => response.destroy(), /UND_ERR|ECONN|fetch failed/],
    ['a body without end', (response) => flood(response), /more than 524288 bytes/],
  ])('counts %s as an outage', async (_what, answer, reason) => {
    await startKeySet();
    server.answer = answer;
    await advanceToFetch(MAX_AGE_MS);
    expect(fetches).toEqual({ ok: 1, failed: 1 });
    expect(logged.at(-1)).toMatch(reason);
    expect(logged.join()).not.toContain(server.url);
    expect(await outcome(token())).toBe('ann');
  });

  it.each<[string, JwksServer['answer']]>([
    ['does not answer', () => undefined],
    ['begins an answer and stops', (response) => response.writeHead(200).write('{"keys":[')],
  ])('gives up on a server that %s after the timeout', async (_what, answer) => {
    let asked = (): void => undefined;
    const request = new Promise<void>((resolve) => (asked = resolve));
    server.answer = (response, incoming) => {
      answer(response, incoming);
      asked();
    };
    keySet.start();
    const waiting = outcome(token());
    await request;
    clock.advance(TIMEOUT_MS);
    expect(await waiting).toBe('unavailable');
    expect(logged.at(-1)).toMatch(/no answer within 5000 ms/);
  });

  it('shows its fetches and its age in the metrics', async () => {
    const { verifier: ownVerifier, count } = authUnderTest(
      { JWT_JWKS_URL: server.url },
      (clock = new ManualClock()),
    );
    expect(await count('jwks_age_seconds')).toBe(0);
    await ownVerifier.verify(token());
    clock.advance(90_000);
    expect(await count('jwks_age_seconds')).toBe(90);
    expect(await count('jwks_fetches_total', { outcome: 'ok' })).toBe(1);
    clock = new ManualClock(); // the other one's key set is never stopped
  });

  it('ends a fetch under way when it is stopped, without a warning', async () => {
    let asked = (): void => undefined;
    const request = new Promise<void>((resolve) => (asked = resolve));
    server.answer = () => asked();
    keySet.start();
    const waiting = outcome(token());
    await request;
    keySet.stop();
    expect(await waiting).toBe('unavailable');
    expect(logged).toEqual([]);
  });
});

/** Writes until the other side has had enough. */
function flood(response: ServerResponse): void {
  const chunk = Buffer.alloc(64 * 1024, ' ');
  const more = (): void => {
    if (!response.destroyed && response.write(chunk)) {
      setImmediate(more);
    }
  };
  response.on('drain', more);
  more();
}
