import { Logger } from '@nestjs/common';
import { Redis, type RedisOptions } from 'ioredis';
import DataHandler from 'ioredis/built/DataHandler.js';
import type { Config } from '../../config/config.js';
import { SecretFiles } from '../../files/secret-files.js';
import { background, contain, walled } from '../../logging/walls.js';
import { Backoff } from '../../time/backoff.js';
import { parseRedisUrl, type RedisAddress } from './redis-url.js';
import type { ScriptedRedis } from './scripts.js';

/** Interval of the kernel's keep-alive probes, so that middle boxes keep idle connections. */
const KEEP_ALIVE_MS = 15_000;

/** Opens connections to Redis. Each is one TCP connection to one server process: it never reconnects by itself. */
export type Connect = () => Redis;

/** Connect timeout; the user if the URL has none; with TLS, the trusted CA and the client certificate. */
type ConnectSettings = Pick<Config['redis'], 'timeoutMs' | 'username' | 'password' | 'ca' | 'cert' | 'key'>;

/** How Redis is reached now, asked for each connection: files of secrets may have changed. */
export class RedisAccess {
  private readonly logger = new Logger('Redis');
  private readonly secrets: SecretFiles;
  private url: string;
  private last: RedisAddress;

  /**
   * @param url in place of REDIS_URL
   * @throws when it cannot be parsed
   */
  constructor(
    private readonly config: Pick<Config, 'redis' | 'files'>,
    url?: string,
  ) {
    this.secrets = new SecretFiles(url === undefined ? config.files : {});
    this.url = url ?? config.redis.url ?? '';
    this.last = parseRedisUrl(this.url);
  }

  get address(): RedisAddress {
    const url = this.secrets.current('REDIS_URL', this.url);
    if (url !== this.url) {
      this.url = url;
      try {
        const next = parseRedisUrl(url);
        if (next.kind !== this.last.kind) {
          throw new Error(`REDIS_URL: a ${next.kind} in place of a ${this.last.kind} needs a restart`);
        }
        this.last = next;
      } catch (error) {
        const reason = (error as Error).message;
        this.logger.error(`${reason}; the address before goes on`, { reason });
      }
    }
    return this.last;
  }

  get settings(): ConnectSettings {
    const { redis } = this.config;
    return {
      timeoutMs: redis.timeoutMs,
      username: redis.username,
      password: this.secrets.current('REDIS_PASSWORD', redis.password),
      ca: this.secrets.current('REDIS_CA', redis.ca),
      cert: this.secrets.current('REDIS_CERT', redis.cert),
      key: this.secrets.current('REDIS_KEY', redis.key),
    };
  }
}

/**
 * @param name shown by CLIENT LIST
 * @param at a node of Redis Cluster; absent for the server, or for the master named by the sentinels
 */
export function connectTo(access: RedisAccess, name: string, at?: { host: string; port: number }): Connect {
  return () => new Redis(optionsOf(access.address, access.settings, name, at));
}

function optionsOf(
  address: RedisAddress,
  { timeoutMs, ca, cert, key, ...user }: ConnectSettings,
  name: string,
  at?: { host: string; port: number },
): RedisOptions {
  const { sentinelUsername, sentinelPassword, sentinelTls, tls, db } = address;
  // NODE_TLS_REJECT_UNAUTHORIZED only changes the default of this option: set explicitly, it cannot be turned off.
  const verified = { ca, cert, key, rejectUnauthorized: true };
  const options: RedisOptions = {
    username: user.username ?? address.username,
    password: user.password ?? address.password,
    ...(tls && { tls: verified }),
    db,
    connectionName: name,
    connectTimeout: timeoutMs,
    disconnectTimeout: 0,
    keepAlive: KEEP_ALIVE_MS,
    lazyConnect: true,
    // A connection stands for one server process, and nothing is resent without a check: no reconnect, no resend, no queue.
    retryStrategy: () => null,
    enableOfflineQueue: false,
    autoResubscribe: false,
    autoResendUnfulfilledCommands: false,
    disableClientInfo: true,
  };
  if (address.kind === 'sentinel') {
    Object.assign(options, {
      sentinels: address.hosts.map((host) => ({ ...host })),
      name: address.masterName,
      sentinelUsername,
      sentinelPassword,
      ...(sentinelTls && { sentinelTLS: verified }),
      // Without it ioredis uses no TLS to the servers that the sentinels name.
      enableTLSForSentinelMode: tls,
      sentinelRetryStrategy: () => null,
      sentinelCommandTimeout: timeoutMs,
    } satisfies RedisOptions);
  } else {
    Object.assign(options, at ?? address.hosts[0]);
  }
  return options;
}

/**
 * Where an answer is not what it can be (an answer to nothing, a confirmation of another type), ioredis throws in a turn of its own, past every
 * wall, and the process would end. Here such an error ends the connection that it belongs to: what later answers belong to is not known.
 */
function wallAnswers(): void {
  // `import` of this CommonJS module gives its exports under Node.js, and the class itself in the bundle.
  const handler = ((DataHandler as { default?: unknown }).default ?? DataHandler) as { prototype: object };
  const { prototype } = handler as { prototype: { dispatch(run: () => void): void } };
  prototype.dispatch = function dispatch(this: { redis: Redis }, run) {
    try {
      run();
    } catch (error) {
      contain('redis', error);
      this.redis.stream.destroy(new Error('what came from Redis could not be read'));
    }
  };
}
wallAnswers();

/** Ends a connection at once: nothing waits for a server that may not answer. */
export function destroy(redis: Redis): void {
  redis.disconnect(false);
  // Undefined until the first connect, whatever the type says.
  (redis.stream as Redis['stream'] | undefined)?.destroy();
}

const FIRST_WAIT_MS = 50;
const LONGEST_WAIT_MS = 2_000;
/** After this time a connection was good: the next loss starts with a short wait again. */
const GOOD_AFTER_MS = 5_000;
const UNFORESEEN = 'an unforeseen error';

interface LinkEvents<Connection extends Redis> {
  /** Makes a new connection usable; a rejection counts as a failed attempt. */
  prepare(redis: Redis): Promise<Connection>;
  up(connection: Connection): void;
  /** Called once after each up, and after each failed attempt while down. */
  down(why: string): void;
}

/** Keeps one connection to Redis: opens it, detects its end, and opens the next after a wait that doubles, with jitter. */
export class RedisLink<Connection extends Redis> {
  current: Connection | null = null;
  private opening: Redis | null = null;
  private timer: NodeJS.Timeout | null = null;
  private readonly backoff = new Backoff(FIRST_WAIT_MS, LONGEST_WAIT_MS, Math.random, 0.5);
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

  /** Ends the current connection, whatever its state, and opens another. */
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
    // Its state is unknown: a new connection replaces it.
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
      this.backoff.reset();
    }
    this.opening = null;
    this.current = null;
    destroy(redis);
    if (this.stopped) {
      return;
    }
    this.openIn(this.backoff.nextMs());
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

/** ioredis only reports that the connection was closed; the error event before it says why. */
function lastErrorOf(error: Error, before: string): string {
  return error.message === 'Connection is closed.' ? before : error.message;
}

/** Heartbeats within the time after which a silent server counts as lost. */
export const BEATS_PER_TIMEOUT = 8;

interface HeartbeatActions {
  /** The connection to use; null while there is none. */
  connection(): ScriptedRedis | null;
  /** One small write: what Redis would refuse to write, it refuses here too. @returns its Unix ms; null if there is nothing to ask */
  ask(redis: ScriptedRedis): Promise<number | null>;
  /** It answered: whether everything else is well too. */
  answered(): boolean;
  refused(error: Error): void;
  /** It did not answer in time. */
  silent(why: string): void;
  /** Called at every interval. */
  tick(): void;
}

/** Asks a server again and again, and knows for how long it was not well. */
export class Heartbeat {
  /** Unix ms of the server minus ours. */
  clockOffsetMs = 0;
  private timer: NodeJS.Timeout | null = null;
  /** When the pending heartbeat was sent; 0 for none. */
  private sentAt = 0;
  /** When the last heartbeat was sent that found everything well. */
  private wellAt = Date.now();
  private tickedAt = Date.now();

  /** @param timeoutMs silence after which the server counts as lost */
  constructor(
    private readonly timeoutMs: number,
    private readonly actions: HeartbeatActions,
  ) {}

  /** Time for which the server was not well. */
  get silentMs(): number {
    return Date.now() - this.wellAt;
  }

  start(): void {
    this.wellAt = this.tickedAt = Date.now();
    this.timer = setInterval(
      walled('redis', () => this.tick()),
      this.timeoutMs / BEATS_PER_TIMEOUT,
    );
  }

  stop(): void {
    if (this.timer !== null) {
      clearInterval(this.timer);
      this.timer = null;
    }
  }

  /** The connection has ended: its answer is no longer awaited. */
  forget(): void {
    this.sentAt = 0;
  }

  /** Asks at once, unless an answer is pending: something that was not well may be well now. */
  now(): void {
    this.next(Date.now());
  }

  async beat(redis: ScriptedRedis): Promise<void> {
    const before = Date.now();
    const serverMs = await this.actions.ask(redis);
    if (serverMs === null) {
      return;
    }
    this.clockOffsetMs = serverMs - (before + Date.now()) / 2;
    this.sentAt = 0;
    if (this.actions.answered()) {
      this.wellAt = before;
    }
  }

  private tick(): void {
    // While this process itself was busy, silence says nothing about the server.
    const now = Date.now();
    const lateMs = Math.max(0, now - this.tickedAt - this.timeoutMs / BEATS_PER_TIMEOUT);
    this.tickedAt = now;
    this.wellAt = Math.min(now, this.wellAt + lateMs);
    if (this.sentAt > 0) {
      this.sentAt = Math.min(now, this.sentAt + lateMs);
    }
    this.next(now);
    this.actions.tick();
  }

  private next(now: number): void {
    const redis = this.actions.connection();
    if (redis === null) {
      return;
    }
    if (this.sentAt > 0) {
      if (now - this.sentAt >= this.timeoutMs) {
        this.actions.silent(`no answer for ${now - this.sentAt} ms`);
      }
      return;
    }
    this.sentAt = now;
    const beaten = this.beat(redis).catch((error: Error) => {
      if (this.actions.connection() === redis && error.name === 'ReplyError') {
        this.sentAt = 0;
        this.actions.refused(error);
      }
    });
    background('redis', beaten);
  }
}
