import type { IncomingHttpHeaders } from 'node:http';

/** The subprotocol of the contract. */
export const SUBPROTOCOL = 'sluice.v1';
const TOKEN_SUBPROTOCOL_PREFIX = 'bearer.';
const BEARER = /^bearer(?: +|$)/i;

/**
 * Finds the token of an upgrade request. If several carriers have one, the first in this order counts and the others are ignored:
 * `Authorization: Bearer <jwt>`, the subprotocol `bearer.<jwt>`, the query `?token=<jwt>`. The header comes first because neither a page
 * nor a link can set it. Within a carrier the first one counts.
 *
 * An empty carrier and an `Authorization` of another scheme (a proxy's Basic, for example) count as absent. Anything else is passed to the
 * verifier unchanged: a malformed token is a bad token, not a missing one. Never throws.
 */
export function tokenFromUpgrade(
  headers: IncomingHttpHeaders,
  query: URLSearchParams | null,
): string | undefined {
  return (
    fromAuthorization(headers.authorization) ||
    fromSubprotocols(headers['sec-websocket-protocol']) ||
    query?.get('token') ||
    undefined
  );
}

function fromAuthorization(header: string | undefined): string | undefined {
  const value = header?.trim() ?? '';
  return BEARER.test(value) ? value.replace(BEARER, '').trim() : undefined;
}

function fromSubprotocols(header: string | undefined): string | undefined {
  return header
    ?.split(',')
    .map((entry) => entry.trim())
    .find((entry) => entry.startsWith(TOKEN_SUBPROTOCOL_PREFIX))
    ?.slice(TOKEN_SUBPROTOCOL_PREFIX.length);
}
