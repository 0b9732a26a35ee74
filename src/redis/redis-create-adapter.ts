import { Logger } from '@nestjs/common';
import { background } from '../logging/walls.js';
import type { Config } from '../config/config.js';
import type { Metrics } from '../metrics/metrics.js';
import { ClusterNodes, type HostPort } from './cluster.js';
import type { AdapterLog } from './away.js';
import type { StoreNodesEvents } from './node-events.js';
import type { Partition } from './partitions.js';
import { connectTo } from './redis-connections.js';
import { RedisNode } from './redis-node.js';
import { parseRedisUrl } from './redis-url.js';
import { scriptTexts } from './scripts.js';
import { checkServer } from './start-checks.js';
import { SingleNode, type StoreNodes } from './store-nodes.js';
import { RedisBroadcastAdapter } from './redis-adapter.js';

/**
 * The adapter for REDIS_URL: one server, Sentinel or Cluster. Nothing is connected before it is started.
 * @param subscriberUrl another way for subscriptions than REDIS_URL; for tests that break them alone
 * @throws when REDIS_URL cannot be read
 */
export function createRedisAdapter(
  config: Config,
  metrics: Metrics,
  logger: AdapterLog = new Logger('Redis'),
  subscriberUrl = config.redis.url,
): RedisBroadcastAdapter {
  const address = parseRedisUrl(config.redis.url ?? '');
  const subscriberAddress = parseRedisUrl(subscriberUrl ?? '');
  const { timeoutMs, probeMs, namespace, partitions } = config.redis;
  const sharded = address.kind === 'cluster';
  const scripts = scriptTexts(config, sharded);

  return new RedisBroadcastAdapter(config, metrics, logger, (store, outer): StoreNodes => {
    const events: StoreNodesEvents = {
      ...outer,
      commandsUp: (node, redis) => {
        outer.commandsUp(node, redis);
        background(
          'redis',
          checkServer(redis, config, (warning) => logger.warn(warning)),
        );
      },
    };
    const { all, common, agreementKey } = store.partitions;
    const places = [...all, common];
    const slotByPrefix = new Map(all.map(({ prefix, slot }) => [prefix, slot]));
    const shared = { scripts, sharded, timeoutMs, probeMs, partitionCount: partitions };
    const create = (serves: (place: Partition) => boolean, at?: HostPort): RedisNode =>
      new RedisNode(
        {
          ...shared,
          instanceId: store.instanceId,
          connect: connectTo(address, config.redis, `${namespace}-commands`, at),
          connectSubscriber: connectTo(subscriberAddress, config.redis, `${namespace}-subscriber`, at),
          home: () => places.find(serves),
          agreementKey: () => (serves(common) ? agreementKey : undefined),
          slotOf: sharded
            ? (channel) => slotByPrefix.get(channel.slice(0, channel.indexOf('}') + 2)) ?? 0
            : () => 0,
        },
        events,
      );
    if (!sharded) {
      return new SingleNode(create(() => true));
    }
    return new ClusterNodes({
      partitions: places,
      seeds: address.hosts,
      timeoutMs,
      createNode: (at, serves) => create(serves, at),
      connect: (at) => connectTo(address, config.redis, `${namespace}-topology`, at)(),
      moved: (moved) => outer.partitionsMoved(new Set(moved)),
      taken: () => outer.serverChanged(),
      retired: () => undefined,
    });
  });
}
