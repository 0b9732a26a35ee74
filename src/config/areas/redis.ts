import { z } from 'zod';
import { constant, int, matching, oneOf, optionalText, secret, type ValuesOf } from '../setting.js';

/** What the instances share through Redis. */
export const redisSettings = {
  url: secret(
    'REDIS_URL',
    'Redis that joins several instances: redis://, rediss://, a comma list of nodes for Redis Cluster, redis+sentinel:// for Sentinel',
    { defaultText: 'none: rooms in memory, one instance' },
  ),
  username: optionalText('REDIS_USERNAME', 'User at Redis, in place of the one in REDIS_URL'),
  password: secret(
    'REDIS_PASSWORD',
    'Password at Redis, in place of the one in REDIS_URL, as it is: nothing is percent-encoded',
  ),
  ca: secret(
    'REDIS_CA',
    'Certificate authority of Redis (PEM), with rediss:// or TLS behind Sentinel; the system ones are used when unset',
  ),
  cert: secret('REDIS_CERT', 'Client certificate for mutual TLS with Redis (PEM)'),
  key: secret('REDIS_KEY', 'Private key of the client certificate for Redis (PEM)'),
  namespace: matching(
    'NAMESPACE',
    'sluice',
    z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, 'must be 1 to 64 of A-Z a-z 0-9 . _ -'),
    'Prefix of Redis keys, MQTT client ids and the lease, so that two deployments can share a broker and a Redis',
  ),
  role: oneOf(
    'ROLE',
    ['all', 'ingest', 'edge'],
    'all',
    'What this instance does of the work that a Redis joins: all = reads device topics when it is its turn, and serves dashboards; ingest = reads them, and serves no dashboards; edge = serves dashboards, and never reads',
  ),
  partitions: int(
    'REDIS_PARTITIONS',
    ({ redisCluster }) => (redisCluster ? 16 : 4),
    [1, 1_024],
    'Partitions of the rooms, each one hash slot on Redis Cluster; the same on all instances. On one server a few keep it busy, and what belongs to one connection comes back together; a Cluster needs 4 to 8 a master',
    { defaultText: '4; 16 with Redis Cluster' },
  ),
  timeoutMs: int(
    'REDIS_TIMEOUT_MS',
    1_000,
    [100, 60_000],
    'Silence of Redis after which an instance serves its rooms from the broker',
  ),
  leaseMs: int(
    'REDIS_LEASE_MS',
    1_500,
    [300, 60_000],
    'Life of the ingest lease without renewal: the longest takeover when the will does not tell',
  ),
};

export const redisConstants = {
  /** Interval of the probe through the subscriber connection that finds half-open ones. */
  probeMs: constant('REDIS_PROBE_MS', 2_000),
  /** Publications in one script call; measured best between 20 and 128. */
  batchMaxPublications: constant('REDIS_BATCH_MAX_PUBLICATIONS', 128),
  /** Publications under way to Redis before ingest waits: 64 calls of a full batch. */
  maxPendingPublications: constant('REDIS_MAX_PENDING_PUBLICATIONS', 8_192),
  /** Time after which the entries of a killed instance are gone. An instance writes them three times in that time, less often than its lease. */
  presenceExpiryMs: constant('REDIS_PRESENCE_EXPIRY_MS', ({ leaseMs }: ValuesOf<typeof redisSettings>) =>
    Math.min(15_000, 10 * leaseMs),
  ),
};
