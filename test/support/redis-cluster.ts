import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { pathWithDaemons } from './program.js';
import { type RedisServer, startRedis } from './redis.js';

const MASTERS = 3;
/** Silence after which the nodes take one of them for dead. */
const NODE_TIMEOUT_MS = 1_500;

/** A real Redis Cluster of three masters with a replica each, on loopback. */
export class RedisCluster {
  private constructor(readonly servers: readonly RedisServer[]) {}

  static async start(): Promise<RedisCluster> {
    const args = [
      ...['--cluster-enabled', 'yes', '--cluster-node-timeout', String(NODE_TIMEOUT_MS)],
      ...['--cluster-replica-validity-factor', '0', '--repl-diskless-sync-delay', '0'],
    ];
    const servers: RedisServer[] = [];
    const cluster = new RedisCluster(servers);
    try {
      for (let n = 0; n < MASTERS * 2; n += 1) {
        servers.push(await startRedis({ args }));
      }
      await cluster.form();
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  /** As REDIS_URL. */
  get url(): string {
    return `redis://${this.servers.map(({ port }) => `127.0.0.1:${port}`).join(',')}`;
  }

  /** Servers that are masters now. */
  async masters(): Promise<RedisServer[]> {
    const masters: RedisServer[] = [];
    for (const server of this.servers) {
      const role = await server.command('ROLE').catch(() => '');
      if (role.startsWith('master')) {
        masters.push(server);
      }
    }
    return masters;
  }

  async stop(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.stop()));
  }

  private async form(): Promise<void> {
    const { servers } = this;
    await promisify(execFile)(
      'redis-cli',
      [
        ...['--cluster', 'create', ...servers.map(({ port }) => `127.0.0.1:${port}`)],
        ...['--cluster-replicas', '1', '--cluster-yes'],
      ],
      { env: pathWithDaemons() },
    );
    await this.poll(async () =>
      (await Promise.all(servers.map((server) => server.command('CLUSTER', 'INFO')))).every(
        (info) => info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${MASTERS * 2}`),
      ),
    );
    // A failover needs replicas that have their data.
    await this.poll(async () => {
      const infos = await Promise.all(servers.map((server) => server.command('INFO', 'replication')));
      return infos.filter((info) => info.includes('master_link_status:up')).length === MASTERS;
    });
  }

  private async poll(holds: () => Promise<boolean>): Promise<void> {
    const deadline = Date.now() + 30_000;
    while (!(await holds())) {
      if (Date.now() > deadline) {
        throw new Error('the Redis Cluster did not come up');
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

export const startRedisCluster = (): Promise<RedisCluster> => RedisCluster.start();
