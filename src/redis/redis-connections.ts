import { Redis, type RedisOptions } from 'ioredis';
import type { Config } from '../config/config.js';
import type { RedisAddress } from './redis-url.js';

/** Time between keep-alive probes of the kernel, so that middle boxes keep idle connections. */
const KEEP_ALIVE_MS = 15_000;

/** Makes connections to Redis. Each is one TCP connection to one server process: it never reconnects by itself. */
export type Connect = () => Redis;

/** Time to connect, who connects where the address does not say, and with TLS: who is believed, and the certificate to show. */
export type ConnectSettings = Pick<
  Config['redis'],
  'timeoutMs' | 'username' | 'password' | 'ca' | 'cert' | 'key'
>;

/**
 * @param name shown by CLIENT LIST
 * @param at a node of Redis Cluster; absent for the server, or for the master that the sentinels name
 */
export function connectTo(
  address: RedisAddress,
  { timeoutMs, ca, cert, key, ...user }: ConnectSettings,
  name: string,
  at?: { host: string; port: number },
): Connect {
  const { sentinelUsername, sentinelPassword, sentinelTls, tls, db } = address;
  // Node.js takes NODE_TLS_REJECT_UNAUTHORIZED for the default; a default that is written out nothing turns off.
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
    // A connection stands for one server process, and nothing is ever sent twice without looking: no reconnect, no resend, no queue.
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
      // Without it, ioredis speaks no TLS to what the sentinels name.
      enableTLSForSentinelMode: tls,
      sentinelRetryStrategy: () => null,
      sentinelCommandTimeout: timeoutMs,
    } satisfies RedisOptions);
  } else {
    Object.assign(options, at ?? address.hosts[0]);
  }
  return () => new Redis(options);
}

/** Ends a connection at once: nothing waits for a server that may not answer. */
export function destroy(redis: Redis): void {
  redis.disconnect(false);
  // Absent until the first connect, whatever the type says.
  (redis.stream as Redis['stream'] | undefined)?.destroy();
}
