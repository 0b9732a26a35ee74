import { AuthError } from './auth-error.js';

/** Checks signatures with the one source of keys that the settings name. */
export abstract class SignatureVerifier {
  /** Grows whenever keys were taken back: tokens verified under a lower number must be verified again. */
  abstract readonly generation: number;

  /**
   * @returns the claims of a token whose signature is good, as a promise where the keys may have to be fetched; times and contents are
   * for the caller to judge
   * @throws {AuthError} `invalid`, or `unavailable` when the keys that would decide cannot be had now
   */
  abstract claims(token: string): object | Promise<unknown>;
}

const COMPACT_JWS = /^[\w-]+\.[\w-]+\.[\w-]+$/;

export interface TokenHeader {
  alg: string;
  kid?: string;
}

/**
 * Reads the header and refuses, before any cryptography, what no good token has: another algorithm than the settings allow,
 * an empty signature, or `crit` (extensions that must be understood; RFC 7515, 4.1.11). `jwk`, `jku`, `x5c` and `x5u`
 * are never looked at: a token does not bring its own key.
 * @throws {AuthError} `invalid`
 */
export function readHeader(token: string, algorithms: readonly string[]): TokenHeader {
  if (!COMPACT_JWS.test(token)) {
    throw new AuthError('invalid', 'The token is no signed JWT');
  }
  const header = decodeHeader(token.slice(0, token.indexOf('.')));
  if (typeof header !== 'object' || header === null) {
    throw new AuthError('invalid', 'The token has no header');
  }
  const { alg, kid, crit } = header as Record<string, unknown>;
  if (typeof alg !== 'string' || !algorithms.includes(alg)) {
    throw new AuthError('invalid', 'The token is not signed with the expected algorithm');
  }
  if (crit !== undefined) {
    throw new AuthError('invalid', 'The token demands extensions that are not supported');
  }
  if (kid !== undefined && typeof kid !== 'string') {
    throw new AuthError('invalid', 'The token has a key id that is no text');
  }
  return { alg, kid };
}

/** The last header text, up to this length: the tokens of one issuer begin alike. */
const REMEMBERED_LENGTH = 1_024;
let remembered = { text: '', header: undefined as unknown };

function decodeHeader(text: string): unknown {
  if (text === remembered.text) {
    return remembered.header;
  }
  const header = parseJson(Buffer.from(text, 'base64url'));
  if (text.length <= REMEMBERED_LENGTH) {
    remembered = { text: Buffer.from(text).toString(), header }; // a copy: a slice would keep the whole token
  }
  return header;
}

/** @returns the value, or undefined when the bytes are not JSON */
export function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
  } catch {
    return undefined;
  }
}

export function badSignature(): AuthError {
  return new AuthError('invalid', 'The signature of the token is wrong');
}
