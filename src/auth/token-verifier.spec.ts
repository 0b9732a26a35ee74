import { inspect } from 'node:util';
import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { testConfig } from '../../test/support/test-config.js';
import { Metrics } from '../metrics/metrics.js';
import { ManualClock } from '../../test/auth/manual-clock.js';
import { AuthError } from './auth-error.js';
import { type Signed, SignatureVerifier } from './signature-verifier.js';
import { RevocationsService } from './revocations.js';
import { TokenVerifier } from './token-verifier.js';

/** Every token is its own claims; verifications wait until they are let go. */
class FakeSignatures extends SignatureVerifier {
  generation = 0;
  asked: string[] = [];
  failure: Error | undefined;
  private gate: Promise<void> = Promise.resolve();
  private open = (): void => undefined;

  hold(): void {
    this.gate = new Promise((resolve) => (this.open = resolve));
  }

  release(): void {
    this.open();
  }

  override async claims(token: string): Promise<Signed> {
    this.asked.push(token);
    await this.gate;
    if (this.failure !== undefined) {
      throw this.failure;
    }
    return { claims: JSON.parse(token) };
  }
}

describe(TokenVerifier.name, () => {
  const clock = new ManualClock();
  let signatures: FakeSignatures;
  let metrics: Metrics;

  const newVerifier = (env: Record<string, string> = {}): TokenVerifier => {
    signatures = new FakeSignatures();
    metrics = new Metrics();
    const config = testConfig(env);
    return new TokenVerifier(
      signatures,
      metrics,
      config,
      clock,
      new RevocationsService(config, clock, metrics),
    );
  };
  const token = (userId: string, lifetimeS = 60, deviceIds: string[] = []): string =>
    JSON.stringify({ userId, deviceIds, exp: clock.seconds + lifetimeS });
  /** Shows the token, and whether its signature had to be checked for it. */
  const isKnown = async (verifier: TokenVerifier, text: string): Promise<boolean> => {
    const { length } = signatures.asked;
    await verifier.verify(text);
    return signatures.asked.length === length;
  };
  const counted = async (outcome: string): Promise<number> =>
    (await metrics.auth.get()).values.find(({ labels }) => labels['outcome'] === outcome)?.value ?? 0;

  it('verifies a token once and then knows it at once', async () => {
    const verifier = newVerifier();
    const text = token('ann');
    const verified = await verifier.verify(text);
    expect(verifier.verifyAtOnce(text)).toBe(verified);
    expect(signatures.asked).toHaveLength(1);
    expect(await Promise.all(['verified', 'cached'].map(counted))).toEqual([1, 1]);
  });

  it('verifies a token once that a thousand connections show at the same time', async () => {
    const verifier = newVerifier();
    signatures.hold();
    const all = Array.from({ length: 1_000 }, () => verifier.verify(token('ann')));
    signatures.release();
    expect(new Set(await Promise.all(all)).size).toBe(1);
    expect(signatures.asked).toHaveLength(1);
    expect(await Promise.all(['verified', 'cached'].map(counted))).toEqual([1, 999]);
  });

  it('gives all who share a failed verification its reason, and verifies anew after it', async () => {
    const verifier = newVerifier();
    signatures.hold();
    signatures.failure = new AuthError('unavailable', 'later');
    const all = Promise.allSettled([verifier.verify(token('ann')), verifier.verify(token('ann'))]);
    signatures.release();
    expect((await all).map((result) => (result as PromiseRejectedResult).reason.reason)).toEqual([
      'unavailable',
      'unavailable',
    ]);
    signatures.failure = undefined;
    await expect(verifier.verify(token('ann'))).resolves.toMatchObject({ userId: 'ann' });
  });

  it('forgets a token when it expires, tolerance included', async () => {
    const verifier = newVerifier({ JWT_CLOCK_TOLERANCE_S: '5' });
    const text = token('ann', 60);
    await verifier.verify(text);
    clock.advance(64_999);
    expect(await isKnown(verifier, text)).toBe(true);
    clock.advance(1);
    await expect(verifier.verify(text)).rejects.toMatchObject({ reason: 'expired' });
    expect(verifier.cachedTokens).toBe(0);
    expect(await counted('expired')).toBe(1);
  });

  it('keeps a bounded number of tokens, the most recently used ones', async () => {
    const verifier = newVerifier({ 'auth.tokenCacheMax': '100' });
    const first = token('first');
    await verifier.verify(first);
    for (let i = 0; i < 1_000; i++) {
      await verifier.verify(token(`user-${i}`));
      await verifier.verify(first);
    }
    expect(verifier.cachedTokens).toBe(100);
    expect(await isKnown(verifier, first)).toBe(true);
    expect(await isKnown(verifier, token('user-999'))).toBe(true);
    expect(await isKnown(verifier, token('user-0'))).toBe(false);
  });

  it('keeps fewer large tokens, bounded in bytes', async () => {
    const verifier = newVerifier({ JWT_CACHE_MAX_BYTES: String(1024 * 1024) });
    const many = Array.from({ length: 2_000 }, (_, i) => `device-${i}`);
    for (let i = 0; i < 50; i++) {
      await verifier.verify(token(`user-${i}`, 60, many));
    }
    expect(verifier.cachedTokens).toBeGreaterThan(0);
    expect(verifier.cachedTokens).toBeLessThan(10);
  });

  it.each(['auth.tokenCacheMax', 'JWT_CACHE_MAX_BYTES'])('keeps nothing with %s=0', async (name) => {
    const verifier = newVerifier({ [name]: '0' });
    await verifier.verify(token('ann'));
    await verifier.verify(token('ann'));
    expect(signatures.asked).toHaveLength(2);
    expect(verifier.cachedTokens).toBe(0);
  });

  it('verifies again after keys were taken back, also when that happened during the verification', async () => {
    const verifier = newVerifier();
    await verifier.verify(token('ann'));
    signatures.generation++;
    expect(await isKnown(verifier, token('ann'))).toBe(false);
    signatures.hold();
    const verification = verifier.verify(token('bob'));
    signatures.generation++;
    signatures.release();
    await verification;
    expect(await isKnown(verifier, token('bob'))).toBe(false);
  });

  it('does not pass on what a library says, which may quote the token', async () => {
    const logged = jest.spyOn(Logger.prototype, 'error').mockImplementation(() => undefined);
    const verifier = newVerifier();
    const error: unknown = await verifier.verify('secret-token').catch((refusal: unknown) => refusal);
    expect(error).toMatchObject({ reason: 'invalid', message: 'The token cannot be verified' });
    expect(inspect(error, { depth: 9 })).not.toContain('secret-token');
    expect(logged.mock.calls).toEqual([['A verification failed with SyntaxError', { type: 'SyntaxError' }]]);
    logged.mockRestore();
  });

  it('holds no token after the verification', async () => {
    const verifier = newVerifier();
    const text = token('ann');
    await verifier.verify(text);
    signatures.asked = [];
    expect(inspect(verifier, { depth: 20, showHidden: true, maxStringLength: null })).not.toContain(text);
  });

  it('says missing for an empty token', async () => {
    await expect(newVerifier().verify('')).rejects.toMatchObject({ reason: 'missing' });
    expect(await counted('missing')).toBe(1);
  });
});
