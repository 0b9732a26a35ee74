import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { DashboardClient, type ConnectOptions } from './dashboard-client.js';
import { freePort } from './free-port.js';
import { type ExitStatus, Program } from './program.js';
import { TEST_SECRET } from './tokens.js';

const built = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

/** A loaded two-core machine takes its time to start Node. */
const START_TIMEOUT_MS = 60_000;

export interface SluiceOptions {
  /** Settings of the instance; nothing of the test's own environment is passed on but the PATH. */
  env?: Record<string, string>;
  /** Resolve as soon as it is live, without waiting for readiness. Default false. */
  waitForReady?: boolean;
  /** Another program than dist/main.js. */
  main?: string;
}

/** One instance of the built product in a process of its own. */
export class Sluice {
  private constructor(
    readonly port: number,
    private readonly program: Program,
  ) {}

  static async start({ env = {}, waitForReady = true, main = built }: SluiceOptions = {}): Promise<Sluice> {
    if (!existsSync(built)) {
      throw new Error('dist/main.js is not there: run the tests by npm test, or npm run build first');
    }
    const port = await freePort();
    const program = new Program('sluice', process.execPath, [main], {
      env: {
        PATH: process.env['PATH'],
        HOST: '127.0.0.1',
        PORT: String(port),
        MQTT_EMBEDDED_PORT: '0',
        DEMO_DEVICES: '0',
        JWT_SECRET: TEST_SECRET,
        LOG_FORMAT: 'json',
        ...env,
      },
    });
    const instance = new Sluice(port, program);
    const path = waitForReady ? '/health/ready' : '/health/live';
    const answers = async (): Promise<boolean> => (await instance.fetchQuietly(path))?.status === 200;
    try {
      await program.poll(answers, waitForReady ? 'ready' : 'live', START_TIMEOUT_MS);
    } catch (error) {
      await program.kill();
      throw error;
    }
    return instance;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.program.pid;
  }

  get exited(): Promise<ExitStatus> {
    return this.program.exited;
  }

  /** Everything it has written so far, both streams. */
  get output(): string {
    return this.program.output;
  }

  /** The JSON lines of its log. */
  get logs(): Record<string, unknown>[] {
    return this.program.lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
  }

  /** The first line of output (already there or to come) that matches. */
  line(pattern: RegExp): Promise<RegExpExecArray> {
    return this.program.line(pattern);
  }

  fetch(path: string, init?: RequestInit): Promise<Response> {
    return fetch(this.url + path, init);
  }

  /** Opens a dashboard's connection. */
  connect(options: ConnectOptions = {}): Promise<DashboardClient> {
    return DashboardClient.connect(`ws://127.0.0.1:${this.port}/ws`, options);
  }

  /** Value of a metric, summed over its labels unless some are given; 0 when it is not there. */
  async metric(name: string, labels: Record<string, string> = {}): Promise<number> {
    const text = await (await this.fetch('/metrics')).text();
    return sumOfSamples(text, name, labels);
  }

  send(signal: NodeJS.Signals): void {
    this.program.send(signal);
  }

  /** SIGTERM, and the status with which it ended. */
  stop(): Promise<ExitStatus> {
    return this.program.stop();
  }

  kill(): Promise<ExitStatus> {
    return this.program.kill();
  }

  private async fetchQuietly(path: string): Promise<Response | undefined> {
    try {
      const response = await this.fetch(path, { signal: AbortSignal.timeout(2_000) });
      await response.arrayBuffer();
      return response;
    } catch {
      return undefined;
    }
  }
}

export const startSluice = (options?: SluiceOptions): Promise<Sluice> => Sluice.start(options);

/** Adds up the samples of one metric in Prometheus' text format. */
export function sumOfSamples(text: string, name: string, labels: Record<string, string> = {}): number {
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  let sum = 0;
  // Most lines are of other metrics.
  for (const line of text.split('\n').filter((one) => one.startsWith(name))) {
    const match = /^(\w+)(\{.*\})? (\S+)$/.exec(line);
    if (match?.[1] === name && wanted.every((label) => match[2]?.includes(label))) {
      sum += Number(match[3]);
    }
  }
  return sum;
}
