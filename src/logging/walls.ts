import { types } from 'node:util';
import { Logger } from '@nestjs/common';

/**
 * Where unexpected errors end. Every callback from Node.js, a socket, a timer, a promise, the broker or Redis is inside such a wall: an
 * error ends the one thing it belongs to and never the process. The name is a label of `sluice_contained_errors_total`.
 */
export const WALLS = [
  /** A client's connection: it is closed with 1011. */
  'connection',
  /** An upgrade: its socket is destroyed. */
  'upgrade',
  /** A device message: it counts as `failed`, is acknowledged, and the next one is read. */
  'device',
  /** A delivery group: what it was about to send is dropped, the next publication is handled normally. */
  'delivery',
  /** A room, or one connection's entry into it: other rooms and members of the event are served. */
  'room',
  /** Callbacks from broker connections. */
  'mqtt',
  /** Reading device topics: lease, slots, return to the store. */
  'ingest',
  /** Callbacks from Redis. */
  'redis',
  /** Messages and questions of other instances: the asker finds this one silent. */
  'instances',
  /** A request of the server API: it is answered 500. */
  'api',
  /** Keys and tokens. */
  'auth',
  /** Health, drain, start and stop. */
  'lifecycle',
  /** The embedded broker and fleet of development. */
  'embedded',
] as const;
type Wall = (typeof WALLS)[number];

/** One line per wall in this time: an error that occurs with every message must not fill the log. */
const LOG_EVERY_MS = 10_000;

interface Contained {
  count: number;
  /** Monotonic time of the last line. */
  loggedAt: number;
  /** Errors since then that were not logged. */
  silent: number;
}

const logger = new Logger('Contained');
/** Per process, like the handlers in main.ts: callbacks do not know their application. */
const contained = new Map<Wall, Contained>(
  WALLS.map((wall) => [wall, { count: 0, loggedAt: Number.NEGATIVE_INFINITY, silent: 0 }]),
);

/** Errors that were contained by a wall. */
export function containedErrors(wall: Wall): number {
  return stateOf(wall).count;
}

/** Contains an error: counts and logs it. Never throws. */
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
    logger.error(`An unforeseen error has ended one ${NOUNS[wall]}${since}`, {
      wall,
      silent,
      ...summary(error),
    });
  } catch {
    // An error that cannot be logged is still counted.
  }
}

/**
 * Wraps a callback so that no error leaves it, thrown or (by an async function) rejected. Create it once per listener or timer, not in an
 * inner loop.
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

/** Work that no caller waits for. */
export function background(
  wall: Wall,
  work: PromiseLike<unknown> | undefined,
  ended?: (error: unknown) => void,
): void {
  work?.then(undefined, (error: unknown) => end(wall, error, ended));
}

/** Calls every listener; one that throws does not keep the others from being called. */
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

/** Type and place only: JSON.parse quotes the text it could not parse, and no payload may be logged. */
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
  instances: 'message between instances',
  api: 'request of the server API',
  auth: 'step of authentication',
  lifecycle: 'step of the process',
  embedded: 'step of the embedded broker or fleet',
};

function stateOf(wall: Wall): Contained {
  return contained.get(wall) as Contained;
}
