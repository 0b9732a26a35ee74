import type { Redis } from 'ioredis';
import type { Config } from '../../config/config.js';

/** Output bytes by which a subscriber may lag, so that the largest publications pass. */
const MIN_PUBSUB_LIMIT_BYTES = 8 * 1024 * 1024;

/** The commands in use, each with arguments that pass the server's check of their number. */
const NEEDED = [
  ...[
    'info',
    'time',
    'pubsub channels',
    'subscribe c',
    'unsubscribe',
    'publish c m',
    'eval s 0',
    'evalsha s 0',
  ],
  ...[
    'get k',
    'set k v',
    'getrange k 0 1',
    'setrange k 0 v',
    'del k',
    'exists k',
    'pexpire k 1',
    'rename k k',
    'pttl k',
  ],
  ...['rpush k v', 'lrange k 0 1', 'lindex k 0', 'llen k', 'ltrim k 0 1'],
  ...['hset k f v', 'hget k f', 'hmget k f', 'hincrby k f 1', 'hdel k f', 'hkeys k', 'hlen k', 'hstrlen k f'],
  ...[
    'zadd k 0 m',
    'zcard k',
    'zrange k 0 1',
    'zrem k m',
    'zscore k m',
    'zrangebyscore k 0 1',
    'zscan k 0',
    'zremrangebyscore k 0 1',
  ],
].map((line) => line.split(' '));

/**
 * Finds settings of the server that would lose data silently, once per connection; each finding names the setting. Settings that the server
 * does not show are skipped.
 */
export async function checkServer(
  redis: Redis,
  { redis: { namespace } }: Pick<Config, 'redis'>,
  warn: (warning: string) => void,
): Promise<void> {
  const config = await redis
    .config('GET', 'maxmemory-policy', 'client-output-buffer-limit')
    .then((answer) => new Map(pairs(answer)))
    .catch(() => new Map<string, string>());
  const policy = config.get('maxmemory-policy');
  if (policy !== undefined && policy !== 'noeviction') {
    warn(
      `Redis evicts keys when it is full (maxmemory-policy ${policy}): rooms would lose state and history; set maxmemory-policy noeviction`,
    );
  }
  const limit = pubsubLimit(config.get('client-output-buffer-limit'));
  if (limit !== undefined && limit !== 0 && limit < MIN_PUBSUB_LIMIT_BYTES) {
    warn(
      `Redis cuts subscribers that are ${limit} bytes behind (client-output-buffer-limit pubsub): set its hard limit to at least ${MIN_PUBSUB_LIMIT_BYTES}, its default is 32mb`,
    );
  }
  const missing = await missingRights(redis);
  if (missing.length > 0) {
    warn(
      `Redis does not let this user call ${missing.join(', ')} (ACL): allow ~${namespace}:* &${namespace}:* and +@read +@write +@pubsub +@scripting +info +time`,
    );
  }
}

function pubsubLimit(value: string | undefined): number | undefined {
  const match = value === undefined ? null : /pubsub (\d+)/.exec(value);
  return match === null ? undefined : Number(match[1]);
}

async function missingRights(redis: Redis): Promise<string[]> {
  try {
    const user = await redis.acl('WHOAMI');
    const answers = await Promise.all(
      NEEDED.map(([command, ...args]) => redis.acl('DRYRUN', user, command as string, ...args)),
    );
    return NEEDED.map(([command]) => command as string).filter((_command, at) =>
      String(answers[at]).includes('no permissions to run'),
    );
  } catch {
    return []; // no permission to ask, or a server older than 7
  }
}

function pairs(flat: string[]): [string, string][] {
  const result: [string, string][] = [];
  for (let at = 0; at + 1 < flat.length; at += 2) {
    result.push([flat[at] as string, flat[at + 1] as string]);
  }
  return result;
}
