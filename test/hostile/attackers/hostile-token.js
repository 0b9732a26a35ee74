import { createHmac } from 'node:crypto';

let serial = 0;

/**
 * A token as a generated round describes it: good, or with one fault. Every token ends at a second of its own, by which
 * `authenticated` names it.
 * @param {{ user: string, deviceIds: unknown, lifetimeS?: number, fault?: string, claims?: object }} spec
 * @param {string} secret
 * @returns {{ text: string, expiresAt: number, grants: unknown }}
 */
export function hostileToken({ user, deviceIds, lifetimeS, fault, claims = {} }, secret) {
  const now = Math.floor(Date.now() / 1000);
  serial += 1;
  const exp = lifetimeS === undefined ? now + 3_600 + serial : now + lifetimeS;
  const payload = { userId: user, deviceIds, iat: now, exp, ...claims };
  const header = { alg: fault === 'none' ? 'none' : 'HS256', typ: 'JWT' };
  const parts = [header, payload].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'));
  const key = fault === 'signature' ? 'another secret of more than 32 bytes ....' : secret;
  let signature = createHmac('sha256', key).update(parts.join('.')).digest('base64url');
  if (fault === 'none') {
    signature = '';
  }
  const text = fault === 'garbage' ? 'a.b.c' : `${parts.join('.')}.${signature}`;
  const mayRead = claims.permissions === undefined || claims.permissions.includes?.('read') === true;
  return { text, expiresAt: exp * 1000, grants: mayRead && Array.isArray(deviceIds) ? deviceIds : [] };
}

/** Whether a list of grants covers an id: told anew, so that the product's own code does not judge itself. */
export function grantsCover(grants, deviceId) {
  return grants.some((grant) => {
    if (typeof grant !== 'string') {
      return false;
    }
    if (!grant.includes('*')) {
      return grant === deviceId;
    }
    const pieces = grant.split('*').map((piece) => piece.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'));
    return new RegExp(`^${pieces.join('.*')}$`, 'su').test(deviceId);
  });
}
