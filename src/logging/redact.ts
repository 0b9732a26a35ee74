/** What stands in a log in place of a secret. */
export const REDACTED = '[redacted]';

/** Paths of log objects whose values are never written, at the top and one level down. */
const SECRET_FIELDS = ['token', 'authorization', 'password', 'secret', 'jwtSecret', 'payload', 'command'];

/** For pino's `redact`: fields that could hold a secret or a payload. */
export const redactPaths: readonly string[] = [
  ...SECRET_FIELDS,
  ...SECRET_FIELDS.map((field) => `*.${field}`),
  '*.headers.authorization',
  '*.headers["sec-websocket-protocol"]',
];

// A JWT in any place, also one without a signature; the value of a token in a query; credentials of a header and of a URL.
const JWT = /\beyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?/g;
const QUERY_TOKEN = /([?&]token=)[^&\s"'\\]+/gi;
const BEARER = /\b(bearer[ .])[\w.~+/=-]{8,}/gi;
const URL_CREDENTIALS = /:\/\/[^\s/"'@]+@/g;

/**
 * Removes what looks like a secret from a finished log line. The second net: a message text or an error of a library
 * may quote a URL or a header that no field name gives away.
 */
export function scrub(line: string): string {
  return line
    .replace(QUERY_TOKEN, `$1${REDACTED}`)
    .replace(BEARER, `$1${REDACTED}`)
    .replace(JWT, REDACTED)
    .replace(URL_CREDENTIALS, `://${REDACTED}@`);
}
