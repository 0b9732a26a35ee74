import { createHmac, createSecretKey } from 'node:crypto';

const HEADER = Buffer.from('{"alg":"HS256","typ":"JWT"}').toString('base64url');

/**
 * Signs HS256 tokens; the key is made once.
 *
 * @param {string} secret
 * @returns {(claims: object) => string}
 */
export function tokenSigner(secret) {
  const key = createSecretKey(Buffer.from(secret));
  return (claims) => {
    const body = `${HEADER}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
    return `${body}.${createHmac('sha256', key).update(body).digest('base64url')}`;
  };
}
