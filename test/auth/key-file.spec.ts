import { createHmac } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { type KeyRingVerifier } from '../../src/auth/signature-verifier.js';
import { loadConfig } from '../../src/config/load-config.js';
import { stopAfterEach } from '../support/cleanup.js';
import { MountedSecret } from '../support/mounted-secret.js';
import { eventually } from '../redis/redis-fixture.js';
import { jwk } from './jwks-server.js';
import { ManualClock } from './manual-clock.js';
import {
  type AuthUnderTest,
  authUnderTest,
  base64url,
  edDsa,
  es256,
  goodClaims,
  hs256,
  pem,
  rs256,
  type Signer,
  signToken,
} from './tokens.js';

const [rsa, ec, ed, otherRsa] = [rs256(), es256(), edDsa(), rs256()];
const SECRETS = ['first secret of more than 32 bytes', 'second secret of more than 32 bytes'] as const;
const oct = (secret: string, members: object = {}): object => ({
  kty: 'oct',
  k: base64url(secret),
  ...members,
});
const jwks = (...keys: object[]): string => JSON.stringify({ keys });

describe('keys in a file', () => {
  const own = stopAfterEach();
  let clock: ManualClock;
  let mounted: MountedSecret;
  let auth: AuthUnderTest;
  let revoked = 0;
  let logged: jest.Spied<typeof Logger.prototype.log>;
  let told: jest.Spied<typeof Logger.prototype.error>;

  beforeEach(() => {
    logged = jest.spyOn(Logger.prototype, 'log').mockImplementation(() => undefined);
    told = jest.spyOn(Logger.prototype, 'error').mockImplementation(() => undefined);
  });
  afterEach(() => jest.restoreAllMocks());

  const start = (setting: string, text: string): void => {
    clock = new ManualClock();
    mounted = own(new MountedSecret({ key: text }));
    auth = authUnderTest({ [`${setting}_FILE`]: mounted.path('key') }, clock);
    const signatures = auth.signatures as KeyRingVerifier;
    signatures.onModuleInit();
    own({ stop: () => signatures.onModuleDestroy() });
    revoked = 0;
    auth.verifier.onRevoked(() => (revoked += 1));
  };
  const token = (signer: Signer, header: object = {}): string => signToken(goodClaims(clock), signer, header);
  const outcome = (text: string): Promise<string> =>
    auth.verifier.verify(text).then(
      () => 'good',
      ({ reason }: { reason: string }) => reason,
    );
  /** Ten seconds pass, and every look at the file that begins in them ends. */
  const tenSeconds = async (): Promise<void> => {
    for (let second = 0; second < 10; second += 1) {
      clock.advance(1_000);
      await eventually(() => clock.pendingTimers === 1, 'the next look');
    }
  };
  const reloads = async (result: string): Promise<number> =>
    (await auth.metrics.fileReloads.get()).values.find(({ labels }) => labels['outcome'] === result)?.value ??
    0;

  it('may be of every kind and any number in a JWKS, told apart by their kid', async () => {
    const many = Array.from({ length: 70 }, (_, at) => oct(`${SECRETS[0]} ${at}`, { kid: `oct-${at}` }));
    start(
      'JWT_JWKS',
      jwks(
        ...[jwk(rsa, { kid: 'rsa' }), jwk(ec, { kid: 'ec' }), jwk(ed, { kid: 'ed', alg: 'EdDSA' })],
        ...[...many, { kty: 'AKP', kid: 'new', alg: 'ML-DSA-44', pub: 'AAAA' }],
      ),
    );
    expect(await outcome(token(rsa, { kid: 'rsa' }))).toBe('good');
    expect(await outcome(token(ec, { kid: 'ec' }))).toBe('good');
    expect(await outcome(token(ed, { kid: 'ed' }))).toBe('good');
    expect(await outcome(token(hs256(`${SECRETS[0]} 69`), { kid: 'oct-69' }))).toBe('good');
    expect(await outcome(token(hs256(`${SECRETS[0]} 69`), { kid: 'oct-68' }))).toBe('invalid');
    expect(await outcome(token(rsa, { kid: 'ec' }))).toBe('invalid');
    expect(await outcome(token(rsa, { kid: 'new' }))).toBe('invalid');
    expect(await outcome(token(rsa, { kid: 'who' }))).toBe('invalid');
  });

  it('are all tried, of the fitting algorithm, for a token without kid', async () => {
    start(
      'JWT_JWKS',
      jwks(jwk(rsa, { kid: 'a' }), jwk(otherRsa, { kid: 'b' }), oct(SECRETS[0]), oct(SECRETS[1])),
    );
    expect(await outcome(token(otherRsa))).toBe('good');
    expect(await outcome(token(hs256(SECRETS[1])))).toBe('good');
    expect(await outcome(token(ec))).toBe('invalid');
    expect(await outcome(token(rs256()))).toBe('invalid');
  });

  it('decide the algorithm alone: what is public is no secret, and a token chooses nothing', async () => {
    start('JWT_JWKS', jwks(jwk(rsa, { kid: 'rsa' }), oct(SECRETS[0], { kid: 'oct' })));
    const forged = (secret: Buffer | string, kid: string): string =>
      token(
        { algorithm: 'HS256', sign: (input) => createHmac('sha256', secret).update(input).digest() },
        { kid },
      );
    for (const kid of ['rsa', 'oct']) {
      expect(await outcome(forged(pem(rsa), kid))).toBe('invalid');
      expect(await outcome(forged(JSON.stringify(jwk(rsa)), kid))).toBe('invalid');
      expect(await outcome(forged('', kid))).toBe('invalid');
    }
    expect(await outcome(token({ ...rsa, algorithm: 'none' as 'RS256' }, { kid: 'rsa' }))).toBe('invalid');
    expect(await outcome(token({ ...rsa, algorithm: 'RS512' as 'RS256' }, { kid: 'rsa' }))).toBe('invalid');
  });

  it('change within ten seconds: new ones verify, tokens of those that are gone are revoked', async () => {
    start('JWT_JWKS', jwks(jwk(rsa, { kid: 'a' }), jwk(ec, { kid: 'b' })));
    const [old, stays] = [token(rsa, { kid: 'a' }), token(ec, { kid: 'b' })];
    const [verified, kept] = [await auth.verifier.verify(old), await auth.verifier.verify(stays)];
    mounted.update({ key: jwks(jwk(ec, { kid: 'b' }), jwk(ed, { kid: 'c' })) });
    await tenSeconds();
    expect(await outcome(token(ed, { kid: 'c' }))).toBe('good');
    expect(await outcome(old)).toBe('invalid');
    expect(await outcome(stays)).toBe('good');
    expect(auth.verifier.isRevoked(verified)).toBe(true);
    expect(auth.verifier.isRevoked(kept)).toBe(false);
    expect(revoked).toBe(1);
    expect(logged.mock.calls).toEqual([
      [expect.objectContaining({ msg: 'keys of tokens changed', keys: 2, added: ['c'], gone: ['a'] })],
    ]);
    expect(await reloads('ok')).toBe(1);
  });

  it('end the tokens of a key when another one has its kid', async () => {
    start('JWT_JWKS', jwks(jwk(rsa, { kid: 'a' })));
    const verified = await auth.verifier.verify(token(rsa, { kid: 'a' }));
    mounted.update({ key: jwks(jwk(otherRsa, { kid: 'a' })) });
    await tenSeconds();
    expect(auth.verifier.isRevoked(verified)).toBe(true);
    expect(await outcome(token(otherRsa, { kid: 'a' }))).toBe('good');
    expect(await outcome(token(rsa, { kid: 'a' }))).toBe('invalid');
  });

  it('do not end tokens when they are only written in another order, twice, or beside new ones', async () => {
    start('JWT_JWKS', jwks(jwk(rsa, { kid: 'a' }), jwk(rsa, { kid: 'a' }), jwk(ec)));
    const verified = [await auth.verifier.verify(token(rsa)), await auth.verifier.verify(token(ec))];
    mounted.update({ key: `\n${jwks(jwk(ed), jwk(ec), jwk(rsa, { kid: 'a', use: 'sig' }))}\n` });
    await tenSeconds();
    expect(verified.map((one) => auth.verifier.isRevoked(one))).toEqual([false, false]);
    expect(revoked).toBe(0);
  });

  it.each([
    ['no key', jwks(), 'has no key that can verify tokens'],
    ['only keys of unknown kinds', jwks({ kty: 'AKP' }), 'has no key that can verify tokens'],
    ['half a document', '{"keys":[{"kty":', 'must be JSON'],
    ['another document', '[]', 'must be a JWKS'],
    ['half a key', jwks(jwk(ec), { kty: 'RSA', n: 'AAAA' }), 'keys[1] is not a whole key'],
    ['a weak key', jwks(jwk(rs256(1024))), 'keys[0] is an RSA key of 1024 bits'],
    ['a short secret', jwks(oct('short')), 'keys[0] is a key of 5 bytes'],
    ['a kid that is no text', jwks(jwk(ec, { kid: 5 })), 'keys[0].kid must be a text'],
    ['nothing', '', 'must be JSON'],
    ['more than is read', jwks(jwk(ec), oct('x'.repeat(800_000))), 'has more than 1048576 bytes'],
    [
      'more keys than are tried',
      jwks(...Array.from({ length: 1_001 }, () => jwk(ec))),
      'more than 1000 keys',
    ],
  ])('go on when the file has %s, which is said once', async (_what, text, said) => {
    start('JWT_JWKS', jwks(jwk(rsa, { kid: 'a' })));
    mounted.update({ key: text });
    await tenSeconds();
    await tenSeconds();
    expect(await outcome(token(rsa, { kid: 'a' }))).toBe('good');
    expect(revoked).toBe(0);
    expect(told.mock.calls).toEqual([
      [
        expect.stringContaining(`JWT_JWKS_FILE is not taken, what was there before goes on: `),
        { file: 'JWT_JWKS_FILE', reason: expect.any(String) },
      ],
    ]);
    expect(told.mock.calls[0]?.[0]).toContain(said);
    expect(await reloads('refused')).toBe(1);
    mounted.update({ key: jwks(jwk(ec)) });
    await tenSeconds();
    expect(await outcome(token(ec))).toBe('good');
  });

  it('go on when the file is gone', async () => {
    start('JWT_JWKS', jwks(jwk(rsa)));
    mounted.update({});
    await tenSeconds();
    expect(await outcome(token(rsa))).toBe('good');
    expect(told.mock.calls).toEqual([
      [
        expect.stringContaining('cannot be read (ENOENT)'),
        { file: 'JWT_JWKS_FILE', reason: expect.any(String) },
      ],
    ]);
  });

  it('are not taken from a file that is just being written', async () => {
    start('JWT_SECRET', SECRETS[0]);
    const verified = await auth.verifier.verify(token(hs256(SECRETS[0])));
    const path = mounted.path('key');
    rmSync(path);
    for (let second = 0; second < 20; second += 1) {
      writeFileSync(path, `${SECRETS[1]} ${second}`);
      clock.advance(1_000);
      await eventually(() => clock.pendingTimers === 1, 'the next look');
    }
    expect(auth.verifier.isRevoked(verified)).toBe(false);
    await tenSeconds();
    expect(await outcome(token(hs256(`${SECRETS[1]} 19`)))).toBe('good');
    expect(auth.verifier.isRevoked(verified)).toBe(true);
  });

  it.each([
    [
      'JWT_SECRET',
      `${SECRETS[0]}\n`,
      hs256(SECRETS[0]),
      SECRETS[1],
      hs256(SECRETS[1]),
      'short',
      'at least 32 bytes',
    ],
    ['JWT_PUBLIC_KEY', pem(rsa), rsa, pem(ed), ed, 'no key', 'must be one public key in PEM'],
  ])('change in %s_FILE in the same way', async (setting, first, signer, second, next, bad, said) => {
    start(setting, first);
    const verified = await auth.verifier.verify(token(signer, { kid: 'any' }));
    mounted.update({ key: bad });
    await tenSeconds();
    expect(told.mock.calls[0]?.[0]).toContain(said);
    expect(JSON.stringify(told.mock.calls)).not.toContain(SECRETS[0]);
    expect(auth.verifier.isRevoked(verified)).toBe(false);
    mounted.update({ key: second });
    await tenSeconds();
    expect(auth.verifier.isRevoked(verified)).toBe(true);
    expect(await outcome(token(signer))).toBe('invalid');
    expect(await outcome(token(next))).toBe('good');
  });

  it('are read at once at SIGHUP', async () => {
    start('JWT_JWKS', jwks(jwk(rsa)));
    mounted.update({ key: jwks(jwk(ec)) });
    await auth.reloads.run();
    expect(await outcome(token(ec))).toBe('good');
    mounted.update({ key: '{' });
    await auth.reloads.run();
    expect(told.mock.calls).toEqual([
      [expect.stringContaining('must be JSON'), { file: 'JWT_JWKS_FILE', reason: 'must be JSON' }],
    ]);
  });

  it('must be good at the start', () => {
    const path = own(new MountedSecret({ key: '{"keys":[]}' })).path('key');
    expect(() => loadConfig({ JWT_JWKS_FILE: path })).toThrow('JWT_JWKS: has no key that can verify tokens');
    expect(() => loadConfig({ JWT_JWKS_FILE: '/nowhere' })).toThrow(
      /JWT_JWKS_FILE names cannot be read \(ENOENT\)/,
    );
    expect(() => loadConfig({ JWT_JWKS_FILE: path, JWT_SECRET: SECRETS[0] })).toThrow('exactly one of');
  });
});
