import { isRedisCluster } from '../../config/setting.js';

/** How Redis is reached, according to REDIS_URL. */
export interface RedisAddress {
  readonly kind: 'single' | 'cluster' | 'sentinel';
  /** The server, the first nodes of the cluster, or the sentinels. */
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  /** Sentinel's name of the master. */
  readonly masterName?: string;
  readonly tls: boolean;
  /** The sentinels use TLS too. */
  readonly sentinelTls: boolean;
  readonly db: number;
  readonly username?: string;
  readonly password?: string;
  readonly sentinelUsername?: string;
  readonly sentinelPassword?: string;
}

const FORMS =
  'redis://host:port, rediss://host:port, a comma list of nodes (redis://host:port,host:port) for Redis Cluster, or redis+sentinel://host:port,host:port/master-name';

/**
 * Reads REDIS_URL. A comma list means Redis Cluster; each further node may repeat the scheme. User, password and database are
 * those of Redis; `?sentinelUsername=` and `?sentinelPassword=` are the sentinels' own.
 * @throws naming the setting, never its value: it may hold a password
 */
export function parseRedisUrl(text: string): RedisAddress {
  const match = /^(rediss?|redis\+sentinel):\/\/(?:([^@/?]*)@)?([^/?]+)(?:\/([^?]*))?(?:\?(.*))?$/.exec(
    text.replace(/,rediss?:\/\/(?:[^@/?,]*@)?/g, ','),
  );
  if (match === null) {
    throw new Error(`REDIS_URL: must be ${FORMS}`);
  }
  const [, scheme, credentials, hostList, path = '', query] = match;
  const sentinel = scheme === 'redis+sentinel';
  const list = (hostList as string).split(',').filter((part) => part !== '');
  const hosts = list.map((part) => hostOf(part, sentinel ? 26_379 : 6_379));
  const [first = '', second = ''] = path.split('/');
  const masterName = sentinel ? decodeURIComponent(first) : undefined;
  if (sentinel && masterName === '') {
    throw new Error('REDIS_URL: redis+sentinel:// must end in /<name of the master>');
  }
  const cluster = isRedisCluster(text);
  const db = Number((sentinel ? second : first) || 0);
  if (!Number.isInteger(db) || db < 0 || (cluster && db !== 0)) {
    throw new Error('REDIS_URL: the database must be a number, and Redis Cluster has only 0');
  }
  const parameters = new URLSearchParams(query);
  const [username, password] = splitCredentials(credentials);
  return {
    kind: sentinel ? 'sentinel' : cluster ? 'cluster' : 'single',
    hosts,
    masterName,
    tls: scheme === 'rediss' || parameters.get('tls') === 'true',
    db,
    username,
    password,
    sentinelTls: parameters.get('sentinelTls') === 'true',
    sentinelUsername: parameters.get('sentinelUsername') ?? undefined,
    sentinelPassword: parameters.get('sentinelPassword') ?? undefined,
  };
}

function hostOf(text: string, defaultPort: number): { host: string; port: number } {
  const match = /^(\[[^\]]+\]|[^:]+)(?::(\d+))?$/.exec(text);
  const port = Number(match?.[2] ?? defaultPort);
  if (match === null || port < 1 || port > 65_535) {
    throw new Error(`REDIS_URL: must be ${FORMS}`);
  }
  return { host: (match[1] as string).replace(/^\[|\]$/g, ''), port };
}

function splitCredentials(text: string | undefined): [string | undefined, string | undefined] {
  if (text === undefined || text === '') {
    return [undefined, undefined];
  }
  const colon = text.indexOf(':');
  const user = decodeURIComponent(colon < 0 ? text : text.slice(0, colon));
  const password = colon < 0 ? undefined : decodeURIComponent(text.slice(colon + 1));
  return [user === '' ? undefined : user, password];
}
