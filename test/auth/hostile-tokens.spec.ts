import { createHmac } from 'node:crypto';
import { Logger } from '@nestjs/common';
import { AuthError } from '../../src/auth/auth-error.js';
import { JwksServer, jwk, keysAnswer } from './jwks-server.js';
import { ManualClock } from './manual-clock.js';
import {
  SECRET,
  type Signer,
  authUnderTest,
  base64url,
  edDsa,
  es256,
  goodClaims,
  hs256,
  pem,
  rs256,
  signToken,
} from './tokens.js';

const clock = new ManualClock();
const good = goodClaims(clock);
Logger.overrideLogger(false);

const jwksSigner = es256();
const jwksServer = new JwksServer(keysAnswer(jwk(rs256()), jwk(jwksSigner), jwk(edDsa(), { kid: 'named' })));
await jwksServer.start();
afterAll(() => jwksServer.stop());

const sources: { name: string; signer: Signer; env: Record<string, string> }[] = [
  { name: 'HS256 by secret', signer: hs256(), env: { JWT_SECRET: SECRET } },
  { name: 'ES256 by JWKS', signer: jwksSigner, env: { JWT_JWKS_URL: jwksServer.url } },
  ...[rs256(), es256(), edDsa()].map((signer) => ({
    name: `${signer.algorithm} by public key`,
    signer,
    env: { JWT_PUBLIC_KEY: pem(signer) },
  })),
];

/** The part of a token that an attacker changes, with the rest left as it was. */
const withPart = (token: string, index: number, change: (part: string) => string): string =>
  token
    .split('.')
    .map((part, i) => (i === index ? change(part) : part))
    .join('.');
const claims = (changes: object) => (signer: Signer) => signToken({ ...good, ...changes }, signer);
/** Claims as text, for what JSON.stringify does not write. */
const rawClaims = (changes: string) => (signer: Signer) =>
  signToken(`{${changes}${JSON.stringify(good).slice(1)}`, signer);
const header = (changes: object) => (signer: Signer) => signToken(good, signer, changes);
const text = (token: string) => () => token;
/** HS256 with the public key as its secret: the classic confusion. */
const hmacWith = (secret: string) => (input: string) => createHmac('sha256', secret).update(input).digest();

const HOSTILE: [what: string, make: (signer: Signer) => string, reason: string][] = [
  // What is not a token
  ['nothing', text(''), 'missing'],
  ['a space', text(' '), 'invalid'],
  ['one dot', text('.'), 'invalid'],
  ['two dots', text('..'), 'invalid'],
  ['four parts', (s) => `${signToken(good, s)}.x`, 'invalid'],
  ['five parts, as an encrypted token has', text('a.b.c.d.e'), 'invalid'],
  ['20 KB of one letter', text('a'.repeat(20_000)), 'invalid'],
  ['20 KB of dots', text('.'.repeat(20_000)), 'invalid'],
  ['20 KB in three parts', text(`${'a'.repeat(7_000)}.${'b'.repeat(7_000)}.${'c'.repeat(6_000)}`), 'invalid'],
  ['letters beyond ASCII', text('ä.ö.ü'), 'invalid'],
  ['emoji', text('🚀.🚀.🚀'), 'invalid'],
  ['a lone surrogate', text('\ud800.\ud800.\ud800'), 'invalid'],
  ['NUL characters', text('\0.\0.\0'), 'invalid'],
  ['the word undefined', text('undefined'), 'invalid'],
  ['a JSON object', text('{"alg":"none"}'), 'invalid'],
  ['a good token in quotes', (s) => `"${signToken(good, s)}"`, 'invalid'],
  ['a good token with Bearer before it', (s) => `Bearer ${signToken(good, s)}`, 'invalid'],
  ['a good token with a line end', (s) => `${signToken(good, s)}\n`, 'invalid'],
  ['a good token in padded base64', (s) => withPart(signToken(good, s), 2, (p) => `${p}==`), 'invalid'],
  // Headers
  ['alg none without signature', () => `${base64url({ alg: 'none' })}.${base64url(good)}.`, 'invalid'],
  ['alg none with a signature', header({ alg: 'none' }), 'invalid'],
  ['alg None', header({ alg: 'None' }), 'invalid'],
  ['alg in lower case', (s) => header({ alg: s.algorithm.toLowerCase() })(s), 'invalid'],
  ['no alg', header({ alg: undefined }), 'invalid'],
  ['alg that is a list', (s) => header({ alg: [s.algorithm] })(s), 'invalid'],
  ['alg HS384', header({ alg: 'HS384' }), 'invalid'],
  ['alg RS512', header({ alg: 'RS512' }), 'invalid'],
  ['alg PS256', header({ alg: 'PS256' }), 'invalid'],
  ['alg __proto__', header({ alg: '__proto__' }), 'invalid'],
  ['a header that is not JSON', (s) => withPart(signToken(good, s), 0, () => base64url('{')), 'invalid'],
  ['a header that is null', (s) => withPart(signToken(good, s), 0, () => base64url('null')), 'invalid'],
  ['a header that is a number', (s) => withPart(signToken(good, s), 0, () => base64url('1')), 'invalid'],
  ['crit with an unknown extension', header({ crit: ['x'], x: 1 }), 'invalid'],
  ['crit b64', header({ crit: ['b64'], b64: false }), 'invalid'],
  ['a kid that is an object', header({ kid: {} }), 'invalid'],
  [
    'a header changed after signing',
    (s) => withPart(signToken(good, s), 0, () => base64url({ alg: s.algorithm })),
    'invalid',
  ],
  // Signatures
  ['an empty signature', (s) => withPart(signToken(good, s), 2, () => ''), 'invalid'],
  ['a signature of zeros', (s) => withPart(signToken(good, s), 2, (p) => 'A'.repeat(p.length)), 'invalid'],
  ['a cut signature', (s) => withPart(signToken(good, s), 2, (p) => p.slice(0, -4)), 'invalid'],
  ['a longer signature', (s) => withPart(signToken(good, s), 2, (p) => `${p}AAAA`), 'invalid'],
  [
    'another user in the claims',
    (s) => withPart(signToken(good, s), 1, () => base64url({ ...good, userId: 'bob' })),
    'invalid',
  ],
  [
    'the signature of another token',
    (s) => withPart(signToken(good, s), 2, () => claims({ userId: 'bob' })(s).split('.')[2] ?? ''),
    'invalid',
  ],
  [
    'another key of the same kind',
    (s) =>
      signToken(
        good,
        {
          HS256: () => hs256('another secret of thirty-two bytes!!'),
          RS256: rs256,
          ES256: es256,
          EdDSA: edDsa,
        }[s.algorithm](),
      ),
    'invalid',
  ],
  [
    'a DER signature where raw is due',
    (s) => withPart(signToken(good, s), 2, () => 'MEUCIQDX'.repeat(9)),
    'invalid',
  ],
  // Times
  ['expired', claims({ exp: clock.seconds - 6 }), 'expired'],
  ['no exp', claims({ exp: undefined }), 'invalid'],
  ['exp null', claims({ exp: null }), 'invalid'],
  ['exp as text', claims({ exp: String(clock.seconds + 60) }), 'invalid'],
  ['exp as a list', claims({ exp: [clock.seconds + 60] }), 'invalid'],
  ['exp true', claims({ exp: true }), 'invalid'],
  ['exp 1e400', (s) => signToken(JSON.stringify(good).replace(/"exp":\d+/, '"exp":1e400'), s), 'invalid'],
  ['exp in milliseconds', claims({ exp: clock.now() + 60_000 }), 'invalid'],
  ['exp 1e300', claims({ exp: 1e300 }), 'invalid'],
  ['exp -1e300', claims({ exp: -1e300 }), 'invalid'],
  ['exp 0', claims({ exp: 0 }), 'expired'],
  ['nbf in the future', claims({ nbf: clock.seconds + 60 }), 'invalid'],
  ['nbf as text', claims({ nbf: '0' }), 'invalid'],
  ['nbf null', claims({ nbf: null }), 'invalid'],
  ['nbf 1e400', rawClaims('"nbf":1e400,'), 'invalid'],
  // Users
  ['neither userId nor sub', claims({ userId: undefined }), 'invalid'],
  ['an empty userId', claims({ userId: '' }), 'invalid'],
  ['a userId that is a number', claims({ userId: 42 }), 'invalid'],
  ['a userId that is null beside a good sub', claims({ userId: null, sub: 'ann' }), 'invalid'],
  ['a userId that is an object', claims({ userId: { toString: 'ann' } }), 'invalid'],
  ['a userId of 257 characters', claims({ userId: 'x'.repeat(257) }), 'invalid'],
  ['a userId with a line end', claims({ userId: 'ann\nlevel=fatal' }), 'invalid'],
  // Grants and caps
  ['no deviceIds', claims({ deviceIds: undefined }), 'invalid'],
  ['deviceIds null', claims({ deviceIds: null }), 'invalid'],
  ['deviceIds as text', claims({ deviceIds: '*' }), 'invalid'],
  ['deviceIds as an object', claims({ deviceIds: { 0: '*', length: 1 } }), 'invalid'],
  ['deviceIds with a number', claims({ deviceIds: ['a', 1] }), 'invalid'],
  ['deviceIds with null', claims({ deviceIds: [null] }), 'invalid'],
  ['deviceIds in a list', claims({ deviceIds: [['a']] }), 'invalid'],
  [
    'deviceIds only in __proto__',
    (s) => signToken(`{"__proto__":{"deviceIds":["*"]},"userId":"ann","exp":${String(good['exp'])}}`, s),
    'invalid',
  ],
  ['permissions as text', claims({ permissions: 'read' }), 'invalid'],
  ['permissions null', claims({ permissions: null }), 'invalid'],
  ['permissions as an object', claims({ permissions: { read: true } }), 'invalid'],
  ['maxRateHz as text', claims({ maxRateHz: '10' }), 'invalid'],
  ['maxRateHz 0', claims({ maxRateHz: 0 }), 'invalid'],
  ['maxRateHz 1e400', rawClaims('"maxRateHz":1e400,'), 'invalid'],
  ['maxRooms with a fraction', claims({ maxRooms: 1.5 }), 'invalid'],
  ['maxRooms below 0', claims({ maxRooms: -1 }), 'invalid'],
  ['maxRooms null', claims({ maxRooms: null }), 'invalid'],
  // Payloads
  ['a payload that is a list', (s) => signToken([good], s), 'invalid'],
  ['a payload that is null', (s) => signToken('null', s), 'invalid'],
  ['a payload that is a text', (s) => signToken('"ann"', s), 'invalid'],
  ['a payload that is not JSON', (s) => signToken('{"userId":', s), 'invalid'],
  ['an empty object', (s) => signToken({}, s), 'invalid'],
  ['a payload that is not UTF-8', (s) => signToken(Buffer.from([0xff, 0xfe, 0x7b]), s), 'invalid'],
];

describe.each(sources)('tokens of $name', ({ signer, env }) => {
  const { verifier, count } = authUnderTest(env, clock);

  it('accepts a good one', async () => {
    await expect(verifier.verify(signToken(good, signer))).resolves.toMatchObject({ userId: 'ann' });
  });

  it('keeps every character of users and devices', async () => {
    const deviceIds = ['насос-1', '日本*', '🚀', '__proto__'];
    const token = await verifier.verify(claims({ userId: 'Zoë 🚀', deviceIds })(signer));
    expect(token.userId).toBe('Zoë 🚀');
    expect(token.grants.exactIds).toEqual(['насос-1', '🚀', '__proto__']);
    expect(token.grants.canRead('日本-東京')).toBe(true);
  });

  it('ignores keys that the header brings along', async () => {
    const lure = {
      jwk: { kty: 'oct', k: 'AAAA' },
      jku: 'http://127.0.0.1:9/',
      x5u: 'http://127.0.0.1:9/',
    };
    await expect(verifier.verify(signToken(good, signer, lure))).resolves.toMatchObject({ userId: 'ann' });
    const own = rs256();
    const brought = { jwk: own.publicKey?.export({ format: 'jwk' }) };
    await expect(verifier.verify(signToken(good, own, brought))).rejects.toThrow(AuthError);
  });

  it.each(HOSTILE)('refuses %s', async (_what, make, reason) => {
    const token = make(signer);
    const cached = verifier.cachedTokens;
    const refusal = await verifier.verify(token).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(AuthError);
    const { reason: said, message, stack, cause } = refusal as AuthError;
    expect(said).toBe(reason);
    // A rule refused it, not the net under a library that threw.
    expect(message).not.toBe('The token cannot be verified');
    expect(cause).toBeUndefined();
    for (const part of token.split('.').filter((piece) => piece.length > 8)) {
      expect(`${message}${stack}`).not.toContain(part);
    }
    expect(verifier.cachedTokens).toBe(cached);
  });

  it('counts each refusal by its reason', async () => {
    const refused = async (reason: string) => count('tokens_total', { outcome: reason });
    const before = [await refused('invalid'), await refused('expired'), await refused('missing')];
    await verifier.verify('x.y.z').catch(() => undefined);
    await verifier.verify(claims({ exp: 1 })(signer)).catch(() => undefined);
    await verifier.verify('').catch(() => undefined);
    const after = [await refused('invalid'), await refused('expired'), await refused('missing')];
    expect(after.map((value, i) => value - (before[i] ?? 0))).toEqual([1, 1, 1]);
  });
});

describe('the confusion of algorithms', () => {
  const keys = [rs256(), es256(), edDsa()];

  it.each(keys)('refuses HS256 signed with the public key of $algorithm', async (signer) => {
    const { verifier } = authUnderTest({ JWT_PUBLIC_KEY: pem(signer) }, clock);
    for (const secret of [pem(signer), pem(signer).trim(), pem(signer).replaceAll('\n', '')]) {
      const forged: Signer = { algorithm: 'HS256', sign: hmacWith(secret) };
      await expect(verifier.verify(signToken(good, forged))).rejects.toMatchObject({ reason: 'invalid' });
      // The same signature, under the name of the algorithm that is expected
      const renamed = signToken(good, { ...forged, algorithm: signer.algorithm });
      await expect(verifier.verify(renamed)).rejects.toMatchObject({ reason: 'invalid' });
    }
  });

  it.each(keys)('refuses a good $algorithm token where another kind of key is set', async (signer) => {
    for (const other of [
      { JWT_SECRET: SECRET },
      ...keys.filter((key) => key !== signer).map((key) => ({ JWT_PUBLIC_KEY: pem(key) })),
    ]) {
      const { verifier } = authUnderTest(other, clock);
      await expect(verifier.verify(signToken(good, signer))).rejects.toMatchObject({ reason: 'invalid' });
    }
  });

  it('grants nothing by unknown permissions, without making the token bad', async () => {
    const { verifier } = authUnderTest({ JWT_SECRET: SECRET }, clock);
    const token = signToken({ ...good, permissions: ['admin', 7, null, 'READ'] }, hs256());
    const { grants } = await verifier.verify(token);
    expect([grants.canRead('pump-1'), grants.canCommand('pump-1')]).toEqual([false, false]);
  });
});
