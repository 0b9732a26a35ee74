import type { Redis } from 'ioredis';
import { background, walled } from '../logging/walls.js';
import { type Connect, destroy } from './redis-connections.js';

const FIRST_WAIT_MS = 50;
const LONGEST_WAIT_MS = 2_000;
/** A connection that stood this long was good: the next loss begins with a short wait again. */
const GOOD_AFTER_MS = 5_000;
const UNFORESEEN = 'an unforeseen error';

export interface LinkEvents<Connection extends Redis> {
  /** Makes a fresh connection usable; a rejection counts as a failed attempt. */
  prepare(redis: Redis): Promise<Connection>;
  up(connection: Connection): void;
  /** Called once after each up, and after each failed attempt while down. */
  down(why: string): void;
}

/** Keeps one connection to Redis: opens it, notices its end, opens the next after a wait that doubles, with jitter. */
export class RedisLink<Connection extends Redis> {
  current: Connection | null = null;
  private opening: Redis | null = null;
  private timer: NodeJS.Timeout | null = null;
  private attempts = 0;
  private stopped = true;
  private upSince = 0;

  /** @param timeoutMs time an attempt has until the connection is usable */
  constructor(
    private readonly connect: Connect,
    private readonly timeoutMs: number,
    private readonly events: LinkEvents<Connection>,
  ) {}

  start(): void {
    if (this.stopped) {
      this.stopped = false;
      this.open();
    }
  }

  stop(): void {
    this.stopped = true;
    if (this.timer !== null) {
      clearTimeout(this.timer);
      this.timer = null;
    }
    const { current, opening } = this;
    this.current = null;
    this.opening = null;
    for (const redis of [current, opening]) {
      if (redis !== null) {
        destroy(redis);
      }
    }
  }

  /** Ends the connection that is there, whatever its state, and opens another. */
  replace(why: string): void {
    const redis = this.current ?? this.opening;
    if (redis !== null) {
      this.lose(redis, why);
    }
  }

  private open(): void {
    const redis = this.connect();
    this.opening = redis;
    let lastError = 'the connection was closed';
    redis.on(
      'error',
      walled('redis', (error: Error) => (lastError = error.message)),
    );
    redis.once(
      'end',
      walled('redis', () => this.lose(redis, lastError)),
    );
    const timer = setTimeout(
      walled('redis', () => this.lose(redis, `no answer within ${this.timeoutMs} ms`)),
      this.timeoutMs,
    );
    const opened = redis
      .connect()
      .then(() => this.events.prepare(redis))
      .then(
        (connection) => this.take(redis, connection),
        (error: Error) => this.lose(redis, lastErrorOf(error, lastError)),
      )
      .finally(() => clearTimeout(timer));
    // Nobody knows how far it came: the next connection begins anew.
    background('redis', opened, () => this.lose(redis, UNFORESEEN));
  }

  private take(redis: Redis, connection: Connection): void {
    if (this.opening !== redis) {
      return;
    }
    this.opening = null;
    this.current = connection;
    this.upSince = Date.now();
    this.events.up(connection);
  }

  private lose(redis: Redis, why: string): void {
    if (redis !== this.opening && redis !== this.current) {
      return;
    }
    if (redis === this.current && Date.now() - this.upSince >= GOOD_AFTER_MS) {
      this.attempts = 0;
    }
    this.opening = null;
    this.current = null;
    destroy(redis);
    if (this.stopped) {
      return;
    }
    const wait = Math.min(FIRST_WAIT_MS * 2 ** this.attempts, LONGEST_WAIT_MS);
    this.attempts += 1;
    this.openIn(wait * (0.5 + Math.random() / 2));
    this.events.down(why);
  }

  private openIn(waitMs: number): void {
    this.timer = setTimeout(
      walled(
        'redis',
        () => this.open(),
        () => this.openIn(LONGEST_WAIT_MS),
      ),
      waitMs,
    );
  }
}

/** ioredis says only that the connection was closed; the error event before it says why. */
function lastErrorOf(error: Error, before: string): string {
  return error.message === 'Connection is closed.' ? before : error.message;
}
