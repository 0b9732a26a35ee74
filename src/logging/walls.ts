import { types } from 'node:util';
import { Logger } from '@nestjs/common';

/**
 * Where errors that nobody foresaw end. Whatever Node.js, a socket, a timer, a promise, the broker or Redis calls is inside such a wall: an
 * error ends the one thing it belongs to and never the process. A name is a label of `sluice_contained_errors_total`.
 */
export const WALLS = [
  /** A client's connection: it is closed with 1011. */
  'connection',
  /** An upgrade: its socket is destroyed. */
  'upgrade',
  /** A device message: it counts as `failed`, is acknowledged, and the next one is read. */
  'device',
  /** A delivery group: what it was about to send is dropped, the next publication is taken as ever. */
  'delivery',
  /** A room, or a connection's way into it: others of the same event go on. */
  'room',
  /** What the broker's connections call back. */
  'mqtt',
  /** Who reads device topics: leases, slots, the way back to the store. */
  'ingest',
  /** What Redis calls back. */
  'redis',
  /** Keys and tokens. */
  'auth',
  /** Health, drain, start and stop. */
  'lifecycle',
  /** The embedded broker and fleet of development. */
  'embedded',
] as const;
type Wall = (typeof WALLS)[number];

/** One line for each wall in this time: an error that comes with every message must not fill the log. */
const LOG_EVERY_MS = 10_000;

interface Contained {
  count: number;
  /** Monotonic time of the last line. */
  loggedAt: number;
  /** Of those since. */
  silent: number;
}

const logger = new Logger('Contained');
/** Of the process, as the handlers in main.ts are: callbacks know no application. */
const contained = new Map<Wall, Contained>(
  WALLS.map((wall) => [wall, { count: 0, loggedAt: Number.NEGATIVE_INFINITY, silent: 0 }]),
);

/** Errors that have ended at a wall. */
export function containedErrors(wall: Wall): number {
  return stateOf(wall).count;
}

/** An error ends here: it is counted, and said in the log. Never throws. */
export function contain(wall: Wall, error: unknown): void {
  const state = stateOf(wall);
  state.count += 1;
  const now = performance.now();
  if (now - state.loggedAt < LOG_EVERY_MS) {
    state.silent += 1;
    return;
  }
  const { silent } = state;
  state.loggedAt = now;
  state.silent = 0;
  try {
    const since = silent === 0 ? '' : `; ${silent} more since the last such line`;
    logger.error(`An unforeseen error has ended one ${NOUNS[wall]}${since}`, { wall, ...summary(error) });
  } catch {
    // An error that cannot even be written is counted.
  }
}

/**
 * A callback that an error does not leave, whether it is thrown or, by an async function, rejected. Made once for a listener or a timer and
 * not in an inner loop.
 * @param ended undoes or ends what the error belongs to
 */
export function walled<A extends unknown[]>(
  wall: Wall,
  run: (...args: A) => unknown,
  ended?: (error: unknown) => void,
): (...args: A) => void {
  return (...args) => {
    try {
      const result = run(...args);
      if (result instanceof Promise) {
        background(wall, result, ended);
      }
    } catch (error) {
      end(wall, error, ended);
    }
  };
}

/** Work that nobody waits for. */
export function background(
  wall: Wall,
  work: PromiseLike<unknown> | undefined,
  ended?: (error: unknown) => void,
): void {
  work?.then(undefined, (error: unknown) => end(wall, error, ended));
}

/** Listeners of one event: one that throws does not keep it from the others. */
export function tellEach<A extends unknown[]>(
  wall: Wall,
  listeners: Iterable<(...args: A) => unknown>,
  ...args: A
): void {
  for (const listener of listeners) {
    try {
      listener(...args);
    } catch (error) {
      contain(wall, error);
    }
  }
}

function end(wall: Wall, error: unknown, ended: ((error: unknown) => void) | undefined): void {
  contain(wall, error);
  try {
    ended?.(error);
  } catch (again) {
    contain(wall, again);
  }
}

/** Type and place. JSON.parse quotes what it could not read, and no payload may be in a log. */
function summary(error: unknown): { type: string; reason?: string; at?: string } {
  if (!types.isNativeError(error)) {
    return { type: typeof error };
  }
  const stack = typeof error.stack === 'string' ? error.stack : '';
  const at = stack.slice(Math.max(0, stack.indexOf('\n    at '))).slice(0, MAX_STACK_CHARACTERS);
  return {
    type: error.name,
    ...(error.name === 'SyntaxError' ? {} : { reason: error.message.slice(0, MAX_REASON_CHARACTERS) }),
    ...(stack.includes('\n    at ') && { at }),
  };
}

const MAX_REASON_CHARACTERS = 200;
const MAX_STACK_CHARACTERS = 2_000;

const NOUNS: Readonly<Record<Wall, string>> = {
  connection: 'connection',
  upgrade: 'upgrade',
  device: 'device message',
  delivery: 'delivery',
  room: 'step of a room',
  mqtt: 'event of the broker',
  ingest: 'step of ingest',
  redis: 'event of Redis',
  auth: 'step of authentication',
  lifecycle: 'step of the process',
  embedded: 'step of the embedded broker or fleet',
};

function stateOf(wall: Wall): Contained {
  return contained.get(wall) as Contained;
}
