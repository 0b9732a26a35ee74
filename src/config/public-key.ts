import { type KeyObject, createPublicKey } from 'node:crypto';

/** The only algorithms of asymmetric tokens; each belongs to exactly one kind of key. */
type PublicKeyAlgorithm = 'RS256' | 'ES256' | 'EdDSA';

/** Smallest RSA key that RFC 7518 (3.3) permits for RS256. */
const MIN_RSA_BITS = 2048;

/**
 * The one algorithm a public key may verify, so that a token cannot choose.
 * @throws Error with advice when the key is of no supported kind
 */
export function algorithmOf(key: KeyObject): PublicKeyAlgorithm {
  const details = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case 'rsa':
      if ((details.modulusLength ?? 0) < MIN_RSA_BITS) {
        throw new Error(
          `is an RSA key of ${details.modulusLength} bits; it must have at least ${MIN_RSA_BITS}`,
        );
      }
      return 'RS256';
    case 'ec':
      if (details.namedCurve !== 'prime256v1') {
        throw new Error(
          `is a key on the curve ${details.namedCurve}; of the EC keys only P-256 is supported`,
        );
      }
      return 'ES256';
    case 'ed25519':
      return 'EdDSA';
    default:
      throw new Error(`is a key of type ${key.asymmetricKeyType}; it must be RSA, P-256 or Ed25519`);
  }
}

/**
 * Reads a public key in PEM (SPKI). `\n` written as two characters, as environment files often have it, counts as a line end.
 * @throws Error with advice; never with a part of the key
 */
export function readPublicKey(pem: string): { key: KeyObject; algorithm: PublicKeyAlgorithm } {
  const text = pem.replaceAll('\\n', '\n');
  if (text.includes('PRIVATE KEY-----')) {
    throw new Error('is a private key; give only its public half (openssl pkey -pubout)');
  }
  // createPublicKey would take certificates and PKCS #1 too; one documented form leaves no doubt about which key counts.
  if (text.split('-----BEGIN ').length !== 2 || !text.includes('-----BEGIN PUBLIC KEY-----')) {
    throw new Error('must be one public key in PEM (-----BEGIN PUBLIC KEY-----)');
  }
  let key: KeyObject;
  try {
    key = createPublicKey(text);
  } catch {
    throw new Error('is not a readable public key: its PEM is damaged or of an unknown kind');
  }
  return { key, algorithm: algorithmOf(key) };
}

/** @returns what is wrong with the PEM as advice for its owner, or undefined when it can verify tokens */
export function checkPublicKey(pem: string): string | undefined {
  try {
    readPublicKey(pem);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
