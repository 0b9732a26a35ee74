import { addressOf } from '../core/route.js';

const KEY = 'sluice.token';

/** What a token says, unverified: used to ask for what it grants and to offer what it allows; the server decides. */
export interface Claims {
  readonly user: string | undefined;
  readonly ids: readonly string[];
  readonly patterns: readonly string[];
  readonly canRead: boolean;
  readonly permitsCommands: boolean;
  /** Unix ms. */
  readonly expiresAt: number | undefined;
}

/** Takes a token out of the address (`#token=…`), so that it is neither in the history nor in a screenshot. */
export function takeTokenFromAddress(): string | undefined {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (token === null) {
    return undefined;
  }
  const deviceId = new URLSearchParams(location.hash.slice(1)).get('device');
  const rest = deviceId === null ? '' : addressOf(deviceId);
  history.replaceState(null, '', location.pathname + location.search + rest);
  return cleanToken(token);
}

/** Kept for this tab only. */
export const storedToken = {
  read(): string | undefined {
    try {
      return sessionStorage.getItem(KEY) ?? undefined;
    } catch {
      return undefined;
    }
  },
  write(token: string): void {
    try {
      sessionStorage.setItem(KEY, token);
    } catch {
      // Without storage the session ends with the page.
    }
  },
  forget(): void {
    try {
      sessionStorage.removeItem(KEY);
    } catch {
      // Nothing was kept.
    }
  },
};

/** What people paste: with the scheme of a header, quotes and line ends around it, or a whole link. */
export function cleanToken(text: string): string {
  return text
    .trim()
    .replace(/^.*#token=/s, '')
    .replace(/^bearer\s+/i, '')
    .replace(/^["']|["']$/g, '');
}

export function claimsOf(token: string): Claims {
  const claims = read(token);
  const granted = (Array.isArray(claims['deviceIds']) ? (claims['deviceIds'] as unknown[]) : []).filter(
    (id): id is string => typeof id === 'string' && id !== '',
  );
  const { permissions, exp } = claims;
  const permits = (name: string): boolean => !Array.isArray(permissions) || permissions.includes(name);
  const user = [claims['userId'], claims['sub']].find((name) => typeof name === 'string' && name !== '');
  return {
    user: user as string | undefined,
    ids: [...new Set(granted.filter((id) => !id.includes('*')))],
    patterns: [...new Set(granted.filter((id) => id.includes('*')))],
    canRead: permits('read'),
    permitsCommands: permits('command'),
    expiresAt: typeof exp === 'number' ? exp * 1_000 : undefined,
  };
}

/** Whether a pattern of the token stands for a device; `*` is any run of characters. */
export function matches(pattern: string, id: string): boolean {
  const parts = pattern.split('*');
  const [first = ''] = parts;
  const last = parts.at(-1) ?? '';
  if (!id.startsWith(first) || !id.endsWith(last) || id.length < first.length + last.length) {
    return false;
  }
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    const found = id.indexOf(part, at);
    if (found === -1) {
      return false;
    }
    at = found + part.length;
  }
  return at <= id.length - last.length;
}

export function grants({ ids, patterns }: Claims, id: string): boolean {
  return ids.includes(id) || patterns.some((pattern) => matches(pattern, id));
}

function read(token: string): Record<string, unknown> {
  try {
    const part = (token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(part), (character) => character.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims === 'object' && claims !== null ? (claims as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
