import { startRedisCluster } from '../../support/redis-cluster.js';
import { startRedisSentinels } from '../../support/redis-sentinel.js';
import type { RedisServer } from '../../support/redis.js';
import { form, SIZE, seconds } from '../form.js';
import { Stage } from '../support/stage.js';
import { until } from '../support/until.js';
import { expectConsistent, expectWithin, say, worstGapMs } from '../support/verdict.js';

interface Topology {
  url: string;
  stop(): Promise<void>;
  /** Kills a master; resolves with the time until another server is master in its place, in ms. */
  killMaster(): Promise<number>;
}

export type StartTopology = () => Promise<Topology>;

/** Three masters with a replica each; one master dies. */
export async function cluster(): Promise<Topology> {
  const servers = await startRedisCluster();
  return {
    url: servers.url,
    stop: () => servers.stop(),
    async killMaster() {
      const before = await servers.masters();
      await before[0]!.kill();
      const living = servers.servers.filter((server) => server !== before[0]);
      const replicas = living.filter((server) => !before.includes(server));
      return until('a replica is promoted', 20_000, () => someMaster(replicas));
    },
  };
}

/** A master with a replica, watched by three sentinels; the master dies. */
export async function sentinel(): Promise<Topology> {
  const servers = await startRedisSentinels();
  return {
    url: servers.url,
    stop: () => servers.stop(),
    async killMaster() {
      await servers.master.kill();
      return until('the replica is promoted', 20_000, () => someMaster([servers.replica]));
    },
  };
}

/** A master of the store dies, and Redis itself puts another in its place. */
export async function redisFailover(title: string, start: StartTopology): Promise<void> {
  const topology = await start();
  let stage: Stage | undefined;
  try {
    stage = await Stage.start({ redis: topology });
    const { fleet, instances } = stage;
    await fleet.publish();
    await seconds(SIZE.beforeMs / 1000);
    await fleet.mark();
    const failoverMs = await topology.killMaster();
    const returnedMs = await until('all instances use Redis again', 30_000, async () =>
      (await Promise.all(instances.map((one) => one.health()))).every(({ status }) => status === 'ok'),
    );
    await seconds(form(20, SIZE.afterMs / 1000 + 2));
    const after = await fleet.report();
    await fleet.halt();
    await fleet.settle();
    const report = await fleet.report();
    const gapMs = worstGapMs(after.dashboards);
    say(title, report, {
      'failover ms': failoverMs,
      'gap ms': gapMs,
      'returned after ms': returnedMs,
      'new epochs': after.dashboards.reduce((sum, { resets }) => sum + resets, 0),
    });
    // Rooms were served from the broker meanwhile, and went back by a snapshot that stands for what was not shown.
    expectConsistent(stage, report, { superseded: true });
    expectWithin(gapMs, failoverMs + 2_000);
    expect(after.dashboards.flatMap(({ closes }) => closes)).toEqual([]);
  } finally {
    await stage?.stop();
    await topology.stop();
  }
}

async function someMaster(servers: readonly RedisServer[]): Promise<boolean> {
  const roles = await Promise.all(servers.map((server) => server.command('ROLE').catch(() => '')));
  return roles.some((role) => role.startsWith('master'));
}
