import type { Redis } from 'ioredis';
import type { Config } from '../../config/config.js';

/** Bytes of output that a subscriber may fall behind by for the largest publications to pass. */
const MIN_PUBSUB_LIMIT_BYTES = 8 * 1024 * 1024;

/** Commands the scripts and connections use; asked of ACL where the server lets us. */
const NEEDED = [
  'evalsha',
  'eval',
  'info',
  'subscribe',
  'unsubscribe',
  'publish',
  'getrange',
  'setrange',
  'get',
  'set',
  'xadd',
  'xrange',
  'xrevrange',
  'xtrim',
  'hset',
  'hget',
  'hmget',
  'hincrby',
  'hdel',
  'hkeys',
  'hlen',
  'hstrlen',
  'zadd',
  'zcard',
  'zrangebyscore',
  'zremrangebyscore',
  'pexpire',
  'rename',
  'exists',
  'del',
  'time',
  'pubsub',
];

/**
 * Looks at what would lose data silently, once per connection; each finding names the setting. What the server does not let us see is
 * passed over.
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
    const missing: string[] = [];
    for (const command of NEEDED) {
      const answer = await redis.acl('DRYRUN', user, command, ...argumentsOf(command));
      if (String(answer).includes('no permissions to run')) {
        missing.push(command);
      }
    }
    return missing;
  } catch {
    return []; // no ACL rights, or a server older than 7
  }
}

/** DRYRUN checks the number of arguments first. */
function argumentsOf(command: string): string[] {
  const counts: Record<string, number> = {
    info: 0,
    time: 0,
    subscribe: 1,
    unsubscribe: 0,
    get: 1,
    hkeys: 1,
    hlen: 1,
    zcard: 1,
    del: 1,
    exists: 1,
    evalsha: 2,
    eval: 2,
    publish: 2,
    set: 2,
    hget: 2,
    hmget: 2,
    hdel: 2,
    hstrlen: 2,
    pexpire: 2,
    rename: 2,
    pubsub: 1,
    xadd: 4,
    hincrby: 3,
  };
  const count = counts[command] ?? 3;
  if (command === 'pubsub') {
    return ['CHANNELS'];
  }
  if (command === 'xadd') {
    return ['k', '*', 'f', 'v'];
  }
  return Array.from({ length: count }, (_, index) => (index === 1 ? '0' : 'k'));
}

function pairs(flat: string[]): [string, string][] {
  const result: [string, string][] = [];
  for (let at = 0; at + 1 < flat.length; at += 2) {
    result.push([flat[at] as string, flat[at + 1] as string]);
  }
  return result;
}
