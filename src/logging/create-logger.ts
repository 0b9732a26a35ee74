import { hostname } from 'node:os';
import type { Writable } from 'node:stream';
import { type DestinationStream, destination as fileDestination, type Logger, pino } from 'pino';
import pretty from 'pino-pretty';
import type { Config } from '../config/config.js';

const STDOUT = 1;
/** Bytes of log that wait for a slow reader; more is dropped, since a full pipe must not stop the service. */
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

/** Asynchronous and bounded; the rest is written at exit. */
function jsonStream(): DestinationStream {
  const destination = fileDestination({ dest: STDOUT, sync: false, maxLength: MAX_WAITING_BYTES });
  // If the log cannot be written (a full disk, for example), lines are lost and the service continues.
  return destination.on('error', () => undefined);
}

/** In this process and not in a worker, so that nothing is lost when the process ends. */
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

/** Replaces a secret in the log. */
const REDACTED = '[redacted]';

/** Fields of log objects that are never written, at the top and one level down. */
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
 * Removes what looks like a secret from a finished log line. The second safeguard: a message or a library's error may quote a URL or a
 * header under a harmless field name.
 */
function scrub(line: string): string {
  return line
    .replace(QUERY_TOKEN, `$1${REDACTED}`)
    .replace(BEARER, `$1${REDACTED}`)
    .replace(JWT, REDACTED)
    .replace(URL_CREDENTIALS, `://${REDACTED}@`);
}

/** Causes that are logged; a longer chain adds nothing and may be a cycle. */
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
 * An error for the log: type, message, code, stack and causes. Other properties are omitted on purpose: libraries attach requests, packets
 * and options to their errors, and with them tokens and payloads.
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
