import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './free-port.js';
import { pathWithDaemons, Program } from './program.js';
import { isPortTaken, type RedisServer, START_ATTEMPTS, startRedis } from './redis.js';

const SENTINELS = 3;
/** Silence after which they take the master for dead. */
const DOWN_AFTER_MS = 1_000;

/** A real master with a replica, and three sentinels that promote it. */
export class RedisSentinels {
  private readonly programs: Program[] = [];
  private readonly ports: number[] = [];
  private readonly folder = mkdtempSync(join(tmpdir(), 'sluice-sentinel-'));

  private constructor(
    readonly master: RedisServer,
    readonly replica: RedisServer,
    private readonly downAfterMs: number,
  ) {}

  static async start(downAfterMs = DOWN_AFTER_MS): Promise<RedisSentinels> {
    const master = await startRedis();
    const replica = await startRedis({ args: ['--replicaof', '127.0.0.1', String(master.port)] });
    const sentinels = new RedisSentinels(master, replica, downAfterMs);
    try {
      for (let n = 0; n < SENTINELS; n += 1) {
        await sentinels.startSentinel();
      }
      // Each has to know the replica and the other two before they can agree on a failover.
      await Promise.all(sentinels.programs.map((program) => meetAll(program)));
      return sentinels;
    } catch (error) {
      await sentinels.stop();
      throw error;
    }
  }

  /** As REDIS_URL. */
  get url(): string {
    return `redis+sentinel://${this.ports.map((port) => `127.0.0.1:${port}`).join(',')}/main`;
  }

  async stop(): Promise<void> {
    await Promise.all(this.programs.map((program) => program.stop()));
    await Promise.all([this.master.stop(), this.replica.stop()]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  private async startSentinel(): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.tryToStartSentinel();
      } catch (error) {
        if (attempt === START_ATTEMPTS || !isPortTaken(error)) {
          throw error;
        }
      }
    }
  }

  private async tryToStartSentinel(): Promise<void> {
    const port = await freePort();
    const file = join(this.folder, `${port}.conf`);
    writeFileSync(
      file,
      [
        `port ${port}`,
        'bind 127.0.0.1',
        `dir ${this.folder}`,
        `sentinel monitor main 127.0.0.1 ${this.master.port} 2`,
        `sentinel down-after-milliseconds main ${this.downAfterMs}`,
        'sentinel failover-timeout main 3000',
      ].join('\n'),
    );
    const program = new Program('sentinel', 'redis-server', [file, '--sentinel'], {
      env: pathWithDaemons(),
      stopTimeoutMs: 5_000,
    });
    await program.ready(/\+monitor master/);
    this.programs.push(program);
    this.ports.push(port);
  }
}

async function meetAll(program: Program): Promise<void> {
  await program.line(/\+slave /);
  const met = () => program.lines.filter((line) => line.includes('+sentinel ')).length >= SENTINELS - 1;
  await program.poll(() => Promise.resolve(met()), 'all sentinels known');
}

export const startRedisSentinels = (downAfterMs?: number): Promise<RedisSentinels> =>
  RedisSentinels.start(downAfterMs);
