import { type KeyObject, generateKeyPairSync } from 'node:crypto';
import { checkPublicKey, readPublicKey } from './public-key.js';
import { ConfigError, loadConfig } from './load-config.js';

const spki = { type: 'spki', format: 'pem' } as const;
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ed25519 = generateKeyPairSync('ed25519');
const pem = (pair: { publicKey: KeyObject }): string => String(pair.publicKey.export(spki));

describe(readPublicKey.name, () => {
  it.each([
    ['RSA', pem(rsa), 'RS256'],
    ['P-256', pem(p256), 'ES256'],
    ['Ed25519', pem(ed25519), 'EdDSA'],
  ])('ties a %s key to its one algorithm', (_kind, text, algorithm) => {
    expect(readPublicKey(text).algorithm).toBe(algorithm);
  });

  it('takes line ends that were written as two characters', () => {
    expect(readPublicKey(pem(p256).replaceAll('\n', '\\n')).algorithm).toBe('ES256');
  });
});

describe(checkPublicKey.name, () => {
  it.each([
    ['a short RSA key', pem(generateKeyPairSync('rsa', { modulusLength: 1024 })), /1024 bits.*at least 2048/],
    [
      'an RSA-PSS key',
      pem(generateKeyPairSync('rsa-pss', { modulusLength: 2048 })),
      /rsa-pss.*RSA, P-256 or Ed25519/,
    ],
    ['P-384', pem(generateKeyPairSync('ec', { namedCurve: 'P-384' })), /secp384r1.*only P-256/],
    ['secp256k1', pem(generateKeyPairSync('ec', { namedCurve: 'secp256k1' })), /only P-256/],
    ['Ed448', pem(generateKeyPairSync('ed448')), /ed448/],
    ['X25519', pem(generateKeyPairSync('x25519')), /x25519/],
    ['a private key', String(ed25519.privateKey.export({ type: 'pkcs8', format: 'pem' })), /private key/],
    ['PKCS #1', String(rsa.publicKey.export({ type: 'pkcs1', format: 'pem' })), /BEGIN PUBLIC KEY/],
    ['two keys', pem(p256) + pem(ed25519), /one public key/],
    ['a damaged PEM', pem(p256).replace('MFk', 'AAA'), /damaged/],
    ['something else', 'secret', /BEGIN PUBLIC KEY/],
  ])('refuses %s with advice', (_what, text, advice) => {
    expect(checkPublicKey(text)).toMatch(advice);
  });

  it('never repeats what it was given', () => {
    const secret = String(ed25519.privateKey.export({ type: 'pkcs8', format: 'pem' }));
    expect(checkPublicKey(secret)).not.toContain(secret.split('\n')[1]);
  });
});

describe('the start with a public key', () => {
  const start = (env: Record<string, string>): string => {
    try {
      loadConfig(env);
      return 'started';
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigError);
      return (error as Error).message;
    }
  };

  it('names the variable of a key that cannot be used', () => {
    const short = pem(generateKeyPairSync('rsa', { modulusLength: 1024 }));
    expect(start({ JWT_PUBLIC_KEY: short })).toMatch(/JWT_PUBLIC_KEY: is an RSA key of 1024 bits/);
  });

  it('refuses a JWKS address with a password, which fetch would refuse at every attempt', () => {
    expect(start({ JWT_JWKS_URL: 'https://user:pass@keys.example/jwks' })).toMatch(
      /JWT_JWKS_URL: .*password/,
    );
  });

  it('accepts one good key', () => {
    expect(start({ JWT_PUBLIC_KEY: pem(ed25519) })).toBe('started');
  });
});
