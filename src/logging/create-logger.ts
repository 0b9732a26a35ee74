import { hostname } from 'node:os';
import type { Writable } from 'node:stream';
import { type DestinationStream, type Logger, destination as fileDestination, pino } from 'pino';
import pretty from 'pino-pretty';
import type { Config } from '../config/config.js';
import { REDACTED, redactPaths, scrub } from './redact.js';
import { serializeError } from './serialize-error.js';

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
