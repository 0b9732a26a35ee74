import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { constants, setPriority } from 'node:os';
import { fileURLToPath } from 'node:url';
import { TEST_SECRET } from '../../support/tokens.js';

const main = fileURLToPath(new URL('../fleet/main.js', import.meta.url));

export interface FleetOptions {
  /** It gets what other processes leave of the machine: for a crowd, which has machines of its own elsewhere. Default false. */
  background?: boolean;
  /** Addresses (`ws://…/ws`), of which each connection takes one at random: the load balancer's, or the instances' own. */
  urls: string[];
  brokerPort: number;
  deviceCount: number;
  dashboardCount: number;
  devicesPerDashboard: number;
  /** Publications a second of all devices; 0 for dashboards alone. */
  perSecond: number;
  /** Prefix of device ids and users. */
  name: string;
  /** Half of the devices have a topic for each value, the others are edge nodes of Sparkplug (fleet/layouts.yaml). Default false. */
  speaksLayouts?: boolean;
}

/** What one dashboard met since the last mark. */
export interface DashboardReport {
  /** Its local port: the balancer knows the instance. */
  port: number;
  closes: number[];
  /** Attempts that ended before `connected`. */
  refusals: number;
  retryAfterMs: number[];
  upstream: ('up' | 'down')[];
  /** Longest time between two publications of one of its devices, in ms. */
  gapMs: number;
  /** Rooms whose numbering started anew. */
  resets: number;
}

export interface FleetReport {
  sent: number;
  /** Acknowledged by the broker. */
  published: number;
  /** Published, times the dashboards that watch. */
  expected: number;
  delivered: number;
  duplicated: number;
  /** Missing, and nothing said so. */
  lost: number;
  /** Missing, with a reset of the room in their place. */
  superseded: number;
  outOfOrder: number;
  offsetGaps: number;
  unannouncedEpochs: number;
  staleSnapshots: number;
  conflicts: number;
  latency: { count: number; p50: number; p99: number; max: number };
  subscribed: number;
  /** Quarters of a second (Unix ms) in which rooms began anew. */
  resetTimes: number[];
  examples: string[];
  errors: string[];
  dashboards: DashboardReport[];
}

interface Call {
  resolve: (value: unknown) => void;
  reject: (error: Error) => void;
}

interface Answer {
  id: number;
  result?: unknown;
  error?: string;
}

/** Devices and dashboards, in a process of their own so that they do not measure the test. */
export class Fleet {
  private readonly calls = new Map<number, Call>();
  private nextId = 1;

  private constructor(private readonly child: ChildProcess) {
    child.on('message', ({ id, result, error }: Answer) => {
      const call = this.calls.get(id);
      this.calls.delete(id);
      if (error === undefined) {
        call?.resolve(result);
      } else {
        call?.reject(new Error(error));
      }
    });
    child.once('exit', (code, signal) => {
      for (const { reject } of this.calls.values()) {
        reject(new Error(`the fleet ended with ${code ?? signal}`));
      }
      this.calls.clear();
    });
  }

  static async start(options: FleetOptions): Promise<Fleet> {
    const { background = false, ...rest } = options;
    const child = fork(main, { execArgv: [], serialization: 'advanced' });
    if (background && child.pid !== undefined) {
      setPriority(child.pid, constants.priority.PRIORITY_LOW);
    }
    const fleet = new Fleet(child);
    await fleet.call('create', { ...rest, secret: TEST_SECRET });
    return fleet;
  }

  /** All dashboards and devices; rejects when they are not there in time. */
  connect = (timeoutMs = 60_000): Promise<void> => this.call('connect', { timeoutMs });
  /** Begins to publish: evenly, or all that is due at once each second. */
  publish = (bursts = false): Promise<void> => this.call('publish', { bursts });
  halt = (timeoutMs = 10_000): Promise<void> => this.call('halt', { timeoutMs });
  mark = (): Promise<void> => this.call('mark');
  /** The broker was just killed: what it acknowledged in its last moment counts as not acknowledged. */
  doubt = (withinMs: number): Promise<void> => this.call('doubt', { withinMs });
  /** Cuts off all dashboards at once, without a close frame; they come back as they would after an outage. */
  cut = (): Promise<void> => this.call('cut');
  settle = (quietMs = 5_000, timeoutMs = 60_000): Promise<void> =>
    this.call('settle', { quietMs, timeoutMs });
  allBack = (timeoutMs: number): Promise<number> => this.call('allBack', { timeoutMs });
  report = (): Promise<FleetReport> => this.call('report');

  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const exit = once(this.child, 'exit');
      this.child.kill('SIGKILL');
      await exit;
    }
  }

  private call<T>(call: string, options: object = {}): Promise<T> {
    const id = this.nextId++;
    const answer = new Promise<unknown>((resolve, reject) => {
      this.calls.set(id, { resolve, reject });
      this.child.send({ ...options, call, id }, (error) => error && reject(error));
    });
    return answer as Promise<T>;
  }
}
