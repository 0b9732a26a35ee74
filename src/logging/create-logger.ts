import { hostname } from 'node:os';
import type { Writable } from 'node:stream';
import { type DestinationStream, destination as fileDestination, type Logger, pino } from 'pino';
import pretty from 'pino-pretty';
import type { Config } from '../config/config.js';

const STDOUT = 1;
/** Bytes of log that wait for a reader that does not read; more is dropped, since a full pipe must not stop the service. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;

/**
 * The logger of one application: JSON lines for machines, or a readable form for people.
 * @param to where it writes; standard output unless a test wants the lines
 */
export function createLogger(log: Config['log'], to?: Writable): Logger {
  const target = log.format === 'pretty' ? prettyStream(to) : (to ?? jsonStream());
  return pino(
    {
      level: log.level,
      base: { service: 'sluice', pid: process.pid, hostname: hostname() },
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: serializeError, error: serializeError },
      redact: { paths: [...redactPaths], censor: REDACTED },
    },
    { write: (line: string) => void target.write(scrub(line)) },
  );
}

/** Asynchronous and bounded; what waits is written at exit. */
function jsonStream(): DestinationStream {
  const destination = fileDestination({ dest: STDOUT, sync: false, maxLength: MAX_WAITING_BYTES });
  // A disk that is full, say: what cannot be written is lost, and no reason to stop the service.
  return destination.on('error', () => undefined);
}

/** In this process rather than in a worker, so that nothing is lost when the process ends. */
function prettyStream(to: Writable | undefined): DestinationStream {
  return pretty({
    colorize: to === undefined && process.stdout.isTTY === true,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'pid,hostname,service,context',
    messageFormat: '{if context}{context}: {end}{msg}',
    destination: to ?? STDOUT,
    sync: true,
  });
}

/** What stands in a log in place of a secret. */
const REDACTED = '[redacted]';

/** Paths of log objects whose values are never written, at the top and one level down. */
const SECRET_FIELDS = ['token', 'authorization', 'password', 'secret', 'jwtSecret', 'payload', 'command'];

/** For pino's `redact`: fields that could hold a secret or a payload. */
const redactPaths: readonly string[] = [
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
function scrub(line: string): string {
  return line
    .replace(QUERY_TOKEN, `$1${REDACTED}`)
    .replace(BEARER, `$1${REDACTED}`)
    .replace(JWT, REDACTED)
    .replace(URL_CREDENTIALS, `://${REDACTED}@`);
}

/** Causes followed; a longer chain says nothing more and could be a cycle. */
const MAX_CAUSES = 4;

/** An error as it is logged. */
interface SerializedError {
  type: string;
  message: string;
  code?: string;
  stack?: string;
  cause?: SerializedError;
}

/**
 * An error for the log: type, message, code, stack and causes. Other properties are left out on purpose, since libraries
 * hang requests, packets and options on their errors, and with them tokens and payloads.
 */
function serializeError(error: unknown, depth = 0): SerializedError {
  if (!(error instanceof Error)) {
    return { type: typeof error, message: String(error) };
  }
  const code = (error as NodeJS.ErrnoException).code;
  return {
    type: error.name,
    message: error.message,
    ...(code !== undefined && { code: String(code) }),
    ...(error.stack !== undefined && { stack: error.stack }),
    ...(error.cause !== undefined && depth < MAX_CAUSES && { cause: serializeError(error.cause, depth + 1) }),
  };
}
