import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './free-port.js';
import { pathWithDaemons, Program } from './program.js';
import { type RedisServer, startRedis } from './redis.js';

const SENTINELS = 3;
const DOWN_AFTER_MS = 1_000;

/** A real master with a replica, and three sentinels that promote it. */
export class RedisSentinels {
  private readonly programs: Program[] = [];
  private readonly ports: number[] = [];
  private readonly folder = mkdtempSync(join(tmpdir(), 'sluice-sentinel-'));

  private constructor(
    readonly master: RedisServer,
    readonly replica: RedisServer,
  ) {}

  static async start(): Promise<RedisSentinels> {
    const master = await startRedis();
    const replica = await startRedis({ args: ['--replicaof', '127.0.0.1', String(master.port)] });
    const sentinels = new RedisSentinels(master, replica);
    for (let n = 0; n < SENTINELS; n += 1) {
      await sentinels.startSentinel();
    }
    const [first] = sentinels.programs;
    await first!.line(/\+slave /);
    // Each has to know the others before they can agree on a failover.
    await Promise.all(sentinels.programs.map((program) => program.line(/\+sentinel (?:.*\n?.*){1}/)));
    await first!.poll(
      () =>
        Promise.resolve(first!.lines.filter((line) => line.includes('+sentinel ')).length >= SENTINELS - 1),
      'all sentinels known',
    );
    return sentinels;
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
    const port = await freePort();
    const file = join(this.folder, `${port}.conf`);
    writeFileSync(
      file,
      [
        `port ${port}`,
        'bind 127.0.0.1',
        `dir ${this.folder}`,
        `sentinel monitor main 127.0.0.1 ${this.master.port} 2`,
        `sentinel down-after-milliseconds main ${DOWN_AFTER_MS}`,
        'sentinel failover-timeout main 3000',
      ].join('\n'),
    );
    const program = new Program('sentinel', 'redis-server', [file, '--sentinel'], {
      env: pathWithDaemons(),
      stopTimeoutMs: 5_000,
    });
    this.programs.push(program);
    this.ports.push(port);
    await program.line(/\+monitor master/);
  }
}

export const startRedisSentinels = (): Promise<RedisSentinels> => RedisSentinels.start();
