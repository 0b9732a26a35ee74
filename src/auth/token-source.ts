import type { IncomingMessage } from 'node:http';

/** The subprotocol of the contract. */
export const SUBPROTOCOL = 'sluice.v1';
const TOKEN_SUBPROTOCOL_PREFIX = 'bearer.';
const BEARER = /^bearer(?: +|$)/i;

export interface UpgradeToken {
  /** The token of the request, unverified; undefined when it is to come as the first message. */
  token?: string;
  /** What to answer in `Sec-WebSocket-Protocol`, when the client offered it; never the entry with the token. */
  subprotocol?: typeof SUBPROTOCOL;
}

/**
 * Finds the token of an upgrade request. Where several carriers have one, the first in this order counts and the others are
 * not looked at: `Authorization: Bearer <jwt>`, the subprotocol `bearer.<jwt>`, the query `?token=<jwt>`. The header
 * comes first because a page cannot set it and a link cannot carry it. Within a carrier the first one counts.
 *
 * An empty carrier and an `Authorization` of another scheme (a proxy's Basic, say) count as absent. Anything else is
 * given to the verifier as it is: a malformed token is a bad token, not a missing one. Never throws.
 */
export function tokenFromUpgrade(request: Pick<IncomingMessage, 'headers' | 'url'>): UpgradeToken {
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',').map((entry) => entry.trim());
  const token =
    fromAuthorization(request.headers.authorization) || fromSubprotocols(offered) || fromQuery(request.url);
  return {
    ...(token ? { token } : {}),
    ...(offered.includes(SUBPROTOCOL) ? { subprotocol: SUBPROTOCOL } : {}),
  };
}

function fromAuthorization(header: string | undefined): string | undefined {
  const value = header?.trim() ?? '';
  return BEARER.test(value) ? value.replace(BEARER, '').trim() : undefined;
}

function fromSubprotocols(offered: readonly string[]): string | undefined {
  return offered
    .find((entry) => entry.startsWith(TOKEN_SUBPROTOCOL_PREFIX))
    ?.slice(TOKEN_SUBPROTOCOL_PREFIX.length);
}

function fromQuery(url = ''): string | undefined {
  const start = url.indexOf('?');
  return start < 0 ? undefined : (new URLSearchParams(url.slice(start + 1)).get('token') ?? undefined);
}
