/** Fewer could be guessed. */
export const API_TOKEN_MIN_CHARACTERS = 32;
/** More are a mistake: a token and its successor are enough. */
const MAX_TOKENS = 100;

/** The tokens of API_TOKEN, or of its file: separated by white space. */
export const apiTokensOf = (text: string): string[] => text.split(/\s+/).filter((token) => token !== '');

/** @returns what is wrong with them, without quoting them; undefined when they are good */
export function apiTokensFault(text: string): string | undefined {
  const tokens = apiTokensOf(text);
  if (tokens.length === 0 || tokens.length > MAX_TOKENS) {
    return `must have 1 to ${MAX_TOKENS} tokens`;
  }
  if (tokens.some((token) => token.length < API_TOKEN_MIN_CHARACTERS)) {
    return `every token must have at least ${API_TOKEN_MIN_CHARACTERS} characters`;
  }
  // RFC 6750: what an Authorization header can carry.
  return tokens.every((token) => /^[\w\-.~+/]+=*$/.test(token))
    ? undefined
    : 'a token has letters, digits and - . _ ~ + / alone, and = at its end';
}
