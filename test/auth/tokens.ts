import {
  type KeyObject,
  createHmac,
  createSecretKey,
  generateKeyPairSync,
  sign as signBytes,
} from 'node:crypto';
import type { Config } from '../../src/config/config.js';
import { testConfig } from '../support/test-config.js';
import { secretKey, signatureVerifier } from '../../src/auth/auth.module.js';
import type { SignatureVerifier } from '../../src/auth/signature-verifier.js';
import { Reloads } from '../../src/files/reloads.js';
import { RevocationsService } from '../../src/auth/revocations.js';
import { TokenVerifier } from '../../src/auth/token-verifier.js';
import { Metrics } from '../../src/metrics/metrics.js';
import type { ManualClock } from './manual-clock.js';

export const SECRET = 'a secret of more than thirty-two bytes';

export type Algorithm = 'HS256' | 'RS256' | 'ES256' | 'EdDSA';

/** A key and how it signs: no library, so that tests can make what no library would. */
export interface Signer {
  algorithm: Algorithm;
  publicKey?: KeyObject;
  sign(input: string): Buffer;
}

export const hs256 = (secret: string | KeyObject = SECRET): Signer => ({
  algorithm: 'HS256',
  sign: (input) =>
    createHmac('sha256', typeof secret === 'string' ? createSecretKey(Buffer.from(secret)) : secret)
      .update(input)
      .digest(),
});

export function rs256(modulusLength = 2048): Signer {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength });
  return {
    algorithm: 'RS256',
    publicKey,
    sign: (input) => signBytes('sha256', Buffer.from(input), privateKey),
  };
}

export function es256(namedCurve = 'P-256'): Signer {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve });
  const key = { key: privateKey, dsaEncoding: 'ieee-p1363' as const };
  return { algorithm: 'ES256', publicKey, sign: (input) => signBytes('sha256', Buffer.from(input), key) };
}

export function edDsa(): Signer {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  return { algorithm: 'EdDSA', publicKey, sign: (input) => signBytes(null, Buffer.from(input), privateKey) };
}

export const base64url = (value: unknown): string => {
  const bytes = Buffer.isBuffer(value)
    ? value
    : Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
  return bytes.toString('base64url');
};

/** @param claims an object; text and bytes become the payload as they are */
export function signToken(claims: unknown, signer: Signer, header: object = {}): string {
  const input = `${base64url({ alg: signer.algorithm, typ: 'JWT', ...header })}.${base64url(claims)}`;
  return `${input}.${signer.sign(input).toString('base64url')}`;
}

export const pem = (signer: Signer): string =>
  signer.publicKey?.export({ type: 'spki', format: 'pem' }) as string;

/** Claims of a good token that lives for an hour. */
export const goodClaims = (clock: ManualClock): Record<string, unknown> => ({
  userId: 'ann',
  deviceIds: ['pump-1', 'plant-7.*'],
  exp: clock.seconds + 3600,
});

export interface AuthUnderTest {
  signatures: SignatureVerifier;
  reloads: Reloads;
  verifier: TokenVerifier;
  config: Config;
  metrics: Metrics;
  /** The value of a counter or gauge for these labels. */
  count(name: string, labels?: Record<string, string>): Promise<number>;
}

/** The verifier as the module builds it, on a clock of the test. */
export function authUnderTest(env: Record<string, string>, clock: ManualClock): AuthUnderTest {
  const config = testConfig(env);
  const metrics = new Metrics();
  const revocations = new RevocationsService(config, clock, metrics);
  const reloads = new Reloads(metrics);
  const signatures = signatureVerifier(config, secretKey(config), clock, metrics, reloads, revocations);
  return {
    signatures,
    reloads,
    verifier: new TokenVerifier(signatures, metrics, config, clock, revocations),
    config,
    metrics,
    count: async (name, labels = {}) => {
      const metric = await metrics.registry.getSingleMetric(`sluice_auth_${name}`)?.get();
      const wanted = Object.entries(labels);
      const found = metric?.values.find(({ labels: has }) =>
        wanted.every(([label, value]) => (has as Record<string, unknown>)[label] === value),
      );
      return found?.value ?? 0;
    },
  };
}
