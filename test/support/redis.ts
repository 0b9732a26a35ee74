import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort } from './free-port.js';
import { type ExitStatus, pathWithDaemons, Program } from './program.js';

export interface RedisOptions {
  /** Further arguments, such as `['--maxmemory', '10mb']`. */
  args?: string[];
}

/** Tests that run side by side in other processes may take a port between the look at it and its use. */
export const START_ATTEMPTS = 5;

/** @returns whether a server could not start for its port */
export const isPortTaken = (error: unknown): boolean => String(error).includes('Failed listening on port');

/** A real Redis on a loopback port of its own, without persistence: a restart comes back empty. */
export class RedisServer {
  private program: Program | undefined;
  private readonly folder = mkdtempSync(join(tmpdir(), 'sluice-redis-'));

  private constructor(
    readonly port: number,
    private readonly options: RedisOptions,
  ) {}

  static async start(options: RedisOptions = {}): Promise<RedisServer> {
    for (let attempt = 1; ; attempt += 1) {
      const server = new RedisServer(await freePort(), options);
      try {
        await server.start();
        return server;
      } catch (error) {
        await server.stop();
        if (attempt === START_ATTEMPTS || !isPortTaken(error)) {
          throw error;
        }
      }
    }
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  get output(): string {
    return this.program?.output ?? '';
  }

  /** Starts it again on the same port, after {@link kill} or {@link end}. */
  async start(): Promise<void> {
    this.program = new Program(
      'redis-server',
      'redis-server',
      [
        ...['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.folder],
        ...['--save', '', '--appendonly', 'no', ...(this.options.args ?? [])],
      ],
      { env: pathWithDaemons(), stopTimeoutMs: 5_000 },
    );
    await this.program.ready(/Ready to accept connections/);
  }

  /** One command through redis-cli, as an operator would. */
  async command(...words: string[]): Promise<string> {
    const { stdout } = await promisify(execFile)('redis-cli', ['-p', String(this.port), ...words], {
      env: pathWithDaemons(),
    });
    return stdout.trim();
  }

  async kill(): Promise<void> {
    await this.program?.kill();
  }

  freeze(): void {
    this.program?.freeze();
  }

  thaw(): void {
    this.program?.thaw();
  }

  /** Ends it, for a later {@link start}. */
  async end(): Promise<ExitStatus | undefined> {
    return this.program?.stop();
  }

  async stop(): Promise<void> {
    await this.end();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export const startRedis = (options?: RedisOptions): Promise<RedisServer> => RedisServer.start(options);
