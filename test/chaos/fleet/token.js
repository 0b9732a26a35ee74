import { createHmac } from 'node:crypto';

/** An HS256 token, as the operator's own service would issue it. */
export function signToken(secret, userId, deviceIds) {
  const now = Math.floor(Date.now() / 1000);
  const parts = [
    { alg: 'HS256', typ: 'JWT' },
    { userId, deviceIds, iat: now, exp: now + 7_200 },
  ].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'));
  const signature = createHmac('sha256', secret).update(parts.join('.')).digest('base64url');
  return `${parts.join('.')}.${signature}`;
}
