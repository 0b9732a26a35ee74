import { fileURLToPath } from 'node:url';
import { freePort } from '../../support/free-port.js';
import { type ExitStatus, Program } from '../../support/program.js';
import { sumOfSamples } from '../../support/sluice.js';
import { TEST_SECRET } from '../../support/tokens.js';

/** The build under test; `CHAOS_MAIN` names another one. */
export const BUILD =
  process.env['CHAOS_MAIN'] ?? fileURLToPath(new URL('../../../dist/main.js', import.meta.url));
/** As the image gives them (decision 10). */
const NODE_ARGUMENTS = ['--max-semi-space-size=4', '--v8-pool-size=1'];

export interface LogLine {
  level: string;
  msg: string;
  [field: string]: unknown;
}

/** One instance of the product, as production runs it, on a port that it keeps over restarts. */
export class Instance {
  /** What it runs from its next start on. */
  main = BUILD;
  private programs: Program[] = [];

  private constructor(
    readonly name: string,
    readonly port: number,
    private readonly env: Record<string, string>,
    private readonly nodeArguments: string[],
  ) {}

  /** @param nodeArguments beside those of the image */
  static async create(
    name: string,
    env: Record<string, string>,
    nodeArguments: string[] = [],
  ): Promise<Instance> {
    return new Instance(name, await freePort(), env, nodeArguments);
  }

  /** Its WebSocket, past every load balancer. */
  get url(): string {
    return `ws://127.0.0.1:${this.port}/ws`;
  }

  get pid(): number {
    return this.program.pid;
  }

  get running(): boolean {
    return this.programs.length > 0 && this.program.running;
  }

  /** The JSON lines of its log, over all its lives. */
  get logs(): LogLine[] {
    return this.lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as LogLine);
  }

  /** What it wrote past its logger: a crash. */
  get strayOutput(): string[] {
    return this.lines.filter((line) => line.trim() !== '' && !line.startsWith('{'));
  }

  async start(): Promise<void> {
    this.programs.push(
      new Program(this.name, process.execPath, [...NODE_ARGUMENTS, ...this.nodeArguments, this.main], {
        env: {
          PATH: process.env['PATH'],
          NODE_ENV: 'production',
          HOST: '127.0.0.1',
          PORT: String(this.port),
          WS_ALLOWED_ORIGINS: '*',
          JWT_SECRET: TEST_SECRET,
          ...this.env,
        },
      }),
    );
    const ready = async (): Promise<boolean> => (await this.readiness()) === 200;
    await this.program.poll(ready, 'ready', 30_000);
  }

  /** Status code of `/health/ready`; 0 when nobody answers. */
  async readiness(): Promise<number> {
    return (await this.health()).code;
  }

  /** `/health/ready`: its code and its body. */
  async health(): Promise<{ code: number; status?: string }> {
    try {
      const response = await fetch(`http://127.0.0.1:${this.port}/health/ready`, {
        signal: AbortSignal.timeout(2_000),
      });
      const { status } = (await response.json()) as { status: string };
      return { code: response.status, status };
    } catch {
      return { code: 0 };
    }
  }

  /** Value of a metric, summed over its labels unless some are given. */
  async metric(name: string, labels?: Record<string, string>): Promise<number> {
    const response = await fetch(`http://127.0.0.1:${this.port}/metrics`);
    return sumOfSamples(await response.text(), name, labels);
  }

  /** SIGTERM; the status with which it ended, and after how long. */
  async stop(): Promise<ExitStatus> {
    return this.program.stop();
  }

  /** Halts it (SIGSTOP): its connections stand, and it does nothing. */
  freeze(): void {
    this.program.freeze();
  }

  thaw(): void {
    this.program.thaw();
  }

  kill(): Promise<ExitStatus> {
    return this.program.kill();
  }

  get exited(): Promise<ExitStatus> {
    return this.program.exited;
  }

  private get program(): Program {
    const program = this.programs.at(-1);
    if (program === undefined) {
      throw new Error(`${this.name} was never started`);
    }
    return program;
  }

  private get lines(): string[] {
    return this.programs.flatMap(({ lines }) => lines);
  }
}
