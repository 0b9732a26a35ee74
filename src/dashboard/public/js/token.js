const KEY = 'sluice.token';

/** Takes a token out of the address (`#token=…`), so that it is neither in the history nor in a screenshot. */
export function takeTokenFromAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (token === null) {
    return undefined;
  }
  history.replaceState(null, '', location.pathname + location.search);
  return cleanToken(token);
}

/** Kept for this tab only. */
export const storedToken = () => sessionStorage.getItem(KEY) ?? undefined;
export const storeToken = (token) => sessionStorage.setItem(KEY, token);
export const forgetToken = () => sessionStorage.removeItem(KEY);

/** What people paste: with the scheme of a header, quotes and line ends around it. */
export function cleanToken(text) {
  return text
    .trim()
    .replace(/^bearer\s+/i, '')
    .replace(/^["']|["']$/g, '');
}

/** The devices a token names by id. Unverified, and only used to ask for them: the server decides. */
export function exactIdsOf(token) {
  const { deviceIds } = claimsOf(token);
  return Array.isArray(deviceIds)
    ? deviceIds.filter((id) => typeof id === 'string' && id !== '' && !id.includes('*'))
    : [];
}

/** Whom a token names, to show it: unverified. Undefined where it names nobody. */
export function userOf(token) {
  const { userId, sub } = claimsOf(token);
  return [userId, sub].find((name) => typeof name === 'string' && name !== '');
}

function claimsOf(token) {
  try {
    const part = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(part), (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) ?? {};
  } catch {
    return {};
  }
}
