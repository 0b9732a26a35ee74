import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Instance } from '../chaos/support/instance.js';
import { freePort } from '../support/free-port.js';
import { type Mosquitto, startMosquitto } from '../support/mosquitto.js';
import { RedisServer } from '../support/redis.js';
import { SLACK } from '../support/slack.js';
import { TEST_SECRET } from '../support/tokens.js';
import type { Round } from './generator.js';
import { LAYOUTS } from './layout-fleets.js';
import { liveBytes } from './memory-probe.js';
import { type Finding, Witness } from './witness.js';
import { BUILT_IN, LAYOUT_SECRETS, layoutDevices, SECRETS } from './witness-devices.js';

/** `layouts`: two instances with Redis, whose devices speak layouts, Sluice's own among them. */
export type Mode = 'memory' | 'redis' | 'redis2' | 'layouts';

const attackersMain = fileURLToPath(new URL('attackers/main.js', import.meta.url));
/** As the chart gives it: 60 % of the limit of 1 GiB. */
const HEAP_MIB = 614;
/** What the pod of the chart may use, less what the kernel counts beside the process. */
const MAX_RSS_MIB = 950;
/** CPU time of the event loop between a ping and its pong. Quiet it is some ms; what a person would notice is a second. */
const MAX_BUSY_MS = Number(process.env['HOSTILE_MAX_BUSY_MS'] ?? 1_000);
const CATCH_UP_MS = 20_000 * SLACK;
const RETURN_MS = 40_000;
const POLL_MS = 250;
const MIB = 1024 * 1024;
/** Live memory that may stay: compiled code, caches with a bound, histories of the witness. */
const MAX_STAYING_BYTES = 60 * MIB;
/** Redis keys that may stay beside those of before. */
const MAX_STAYING_KEYS = 100;

/** Times and sizes small enough that they are reached, and what they bound goes away again, within a minute. */
const ENV = {
  LOG_LEVEL: 'info',
  DEVICE_EXPIRY_S: '10',
  HISTORY_MAX_AGE_MS: '20000',
  HISTORY_TOTAL_MAX_BYTES: String(64 * MIB),
  MAX_DEVICES: '20000',
  WS_MAX_CONNECTIONS_PER_SECOND: '200',
  WS_HEARTBEAT_MS: '5000',
  // A shared machine halts a Redis for longer than a second now and then.
  REDIS_TIMEOUT_MS: '10000',
  REDIS_LEASE_MS: '15000',
  COMMAND_TIMEOUT_MS: '30000',
  COMMAND_KEY_TTL_MS: '2000',
};
/** So that the broker loses nothing of the witness, whatever else waits there. */
const BROKER_CONFIG = 'max_queued_messages 1000000\nmax_inflight_messages 0\nlog_type none';
/** What Node says of its inspector. */
const INSPECTOR_LINE = /^(Debugger |For help, see)/;
/** Counters that say why a witness missed something, where they are not 0. */
const TELLING =
  /^sluice_(redis_(gaps|connections_lost|mode_changes|fenced|unreadable)|mqtt_reconnects|connections_total|sockets_refused).* [1-9]/;
/** As docs/operations.md asks of a Redis: the default cuts off subscribers that are behind for a moment. */
const REDIS_ARGUMENTS = [
  '--client-output-buffer-limit',
  'pubsub 256mb 128mb 60',
  '--maxmemory-policy',
  'noeviction',
];
/** How far a gauge may be above its quiet value when the attackers are gone; 0 where it is not named. */
const TOLERANCE: Record<string, number> = {
  sluice_history_bytes: MIB,
  sluice_devices_known: 6,
  sluice_ingest_lag_seconds: 1,
  sluice_ingest_backlog_seconds: 1,
  sluice_ingest_shard_backlog_seconds: 1,
  sluice_ingest_unacknowledged_messages: 5,
  sluice_redis_pending_operations: 5,
};

/** What attackers did in one round. */
export interface RoundReport {
  sessions: number;
  frames: number;
  messages: number;
  received: number;
  publications: number;
  leaks: string[];
  answers: Record<string, number>;
}

/** Product, broker, Redis, witness and attackers; all new, so that a round that is run again meets what it met first. */
export class Arena {
  readonly total: Omit<RoundReport, 'leaks'> = {
    sessions: 0,
    frames: 0,
    messages: 0,
    received: 0,
    publications: 0,
    answers: {},
  };
  worstBusyMs = 0;
  worstWallMs = 0;
  peakRssMib = 0;
  /** What the newest round did, for people. */
  lastRound = '';
  private broker!: Mosquitto;
  private redis: RedisServer | undefined;
  private instances: Instance[] = [];
  private readonly inspectorPorts: number[] = [];
  private witness!: Witness;
  private attackers: ChildProcess | undefined;
  private rssTimer: NodeJS.Timeout | undefined;
  private quietGauges: Map<string, number>[] = [];
  private quietBytes: number[] = [];
  private quietKeys = 0;
  /** Of LAYOUT_FILE. */
  private folder: string | undefined;

  private constructor(private readonly mode: Mode) {}

  static async start(mode: Mode): Promise<Arena> {
    const arena = new Arena(mode);
    try {
      await arena.build();
      return arena;
    } catch (error) {
      await arena.stop();
      throw error;
    }
  }

  /** Runs one round. @returns what did not hold */
  async play(round: Round): Promise<Finding[]> {
    this.witness.mark();
    const started = Date.now();
    const report = await this.attack(round);
    const attacked = Date.now();
    if (this.alive()) {
      await this.witness.caughtUp(CATCH_UP_MS);
    }
    const findings = this.faults();
    const { roundTrip } = this.witness.report();
    this.worstBusyMs = Math.max(this.worstBusyMs, roundTrip.busyMs);
    this.worstWallMs = Math.max(this.worstWallMs, roundTrip.wallMs);
    this.lastRound = [
      `${attacked - started} ms, caught up after ${Date.now() - attacked} ms, ${report.sessions} sessions`,
      `${report.frames} frames, ${report.publications} publications, ping ${roundTrip.wallMs} ms (busy ${roundTrip.busyMs})`,
      `peak ${this.peakRssMib} MiB, ${JSON.stringify(report.answers)}`,
    ].join(', ');
    if (roundTrip.busyMs > MAX_BUSY_MS) {
      findings.push({
        kind: 'slow',
        detail: `a ping waited for ${roundTrip.busyMs} ms of the event loop's work (${roundTrip.wallMs} ms in all)`,
      });
    }
    findings.push(...report.leaks.map((detail) => ({ kind: 'leak', detail })));
    if (findings.length > 0 && this.alive()) {
      findings.push({ kind: 'counters', detail: (await this.counters()).join(' ') });
    }
    return findings;
  }

  /** Ends the attackers and waits until nothing is left of them. @returns what stays */
  async returned(): Promise<Finding[]> {
    this.attackers?.disconnect();
    this.attackers = undefined;
    const deadline = Date.now() + RETURN_MS;
    for (;;) {
      const left = this.alive() ? await this.left() : [];
      const faults = this.faults();
      if (faults.length > 0 || left.length === 0) {
        return faults;
      }
      if (Date.now() > deadline) {
        return [
          {
            kind: `stays ${left.map(({ what }) => what).join(' ')}`,
            detail: left.map(({ seen }) => seen).join(', '),
          },
        ];
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  async stop(): Promise<void> {
    clearInterval(this.rssTimer);
    this.attackers?.kill('SIGKILL');
    await this.witness?.stop().catch(() => undefined);
    await Promise.all(this.instances.filter(({ running }) => running).map((instance) => instance.kill()));
    await this.redis?.stop();
    await this.broker?.stop();
    if (this.folder !== undefined) {
      rmSync(this.folder, { recursive: true, force: true });
    }
  }

  private async build(): Promise<void> {
    this.broker = await startMosquitto({ config: BROKER_CONFIG });
    if (this.mode !== 'memory') {
      this.redis = await RedisServer.start({ args: REDIS_ARGUMENTS });
    }
    const isTwo = this.mode === 'redis2' || this.mode === 'layouts';
    for (let index = 0; index < (isTwo ? 2 : 1); index += 1) {
      const inspectorPort = await freePort();
      this.inspectorPorts.push(inspectorPort);
      this.instances.push(
        await Instance.create(
          `sluice-${index + 1}`,
          {
            ...ENV,
            MQTT_URL: this.broker.url,
            ...(this.mode === 'layouts' && { LAYOUT_FILE: this.layoutFile() }),
            ...(this.redis !== undefined && { REDIS_URL: this.redis.url }),
          },
          ['--trace-warnings', `--max-old-space-size=${HEAP_MIB}`, `--inspect=127.0.0.1:${inspectorPort}`],
        ),
      );
    }
    await Promise.all(this.instances.map((instance) => instance.start()));
    this.witness =
      this.mode === 'layouts'
        ? new Witness(this.instances, this.broker.port, layoutDevices(), LAYOUT_SECRETS)
        : new Witness(this.instances, this.broker.port, BUILT_IN, SECRETS);
    await this.witness.start();
    await this.witness.caughtUp(CATCH_UP_MS);
    await this.acquainted();
    // The quiet values, with the witness alone.
    await new Promise((resolve) => setTimeout(resolve, 500));
    this.quietGauges = await Promise.all(this.instances.map((instance) => gauges(instance)));
    this.quietBytes = await Promise.all(this.inspectorPorts.map((port) => liveBytes(port)));
    this.quietKeys = await this.keys();
    this.rssTimer = setInterval(() => this.lookAtRss(), POLL_MS);
  }

  private layoutFile(): string {
    this.folder ??= mkdtempSync(join(tmpdir(), 'sluice-hostile-'));
    const file = join(this.folder, 'layouts.yaml');
    writeFileSync(file, LAYOUTS);
    return file;
  }

  /** Until every instance knows of all of them, which each tells the others every few seconds. */
  private async acquainted(): Promise<void> {
    for (const until = Date.now() + CATCH_UP_MS; Date.now() < until;) {
      const known = await Promise.all(this.instances.map((instance) => instance.metric('sluice_instances')));
      if (known.every((count) => count >= this.instances.length)) {
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    throw new Error('the instances do not know of each other');
  }

  private async attack(round: Round): Promise<RoundReport> {
    this.attackers ??= fork(attackersMain, { execArgv: [], serialization: 'advanced' });
    const { attackers } = this;
    const answer = await new Promise<{ result?: RoundReport; error?: string }>((resolve) => {
      attackers.once('message', (message) => resolve(message as { result?: RoundReport }));
      attackers.once('exit', (code) => resolve({ error: `the attackers ended with ${code}` }));
      attackers.send({
        round,
        ports: this.instances.map(({ port }) => port),
        brokerPort: this.broker.port,
        secret: TEST_SECRET,
      });
    });
    attackers.removeAllListeners();
    if (answer.result === undefined) {
      throw new Error(answer.error);
    }
    const { leaks: _, answers, ...counts } = answer.result;
    for (const [name, count] of Object.entries(counts) as [keyof typeof counts, number][]) {
      this.total[name] += count;
    }
    for (const [name, count] of Object.entries(answers)) {
      this.total.answers[name] = (this.total.answers[name] ?? 0) + count;
    }
    return answer.result;
  }

  private alive(): boolean {
    return this.instances.every(({ running }) => running);
  }

  /** What is wrong at any time. */
  private faults(): Finding[] {
    const findings: Finding[] = [];
    for (const { name, running, logs, strayOutput } of this.instances) {
      const stray = strayOutput.filter((line) => !INSPECTOR_LINE.test(line));
      const errors = logs.filter(({ level }) => level === 'error' || level === 'fatal');
      const said = [...errors.map((line) => JSON.stringify(line)), ...stray]
        .slice(0, 20)
        .join('\n')
        .slice(0, 2_000);
      if (!running) {
        findings.push({ kind: 'ended', detail: `${name} ended\n${said}` });
      } else if (said !== '') {
        findings.push({ kind: 'logged', detail: `${name} logged\n${said}` });
      }
    }
    if (this.peakRssMib > MAX_RSS_MIB) {
      findings.push({ kind: 'rss', detail: `${this.peakRssMib} MiB` });
    }
    if (findings.some(({ kind }) => kind === 'ended') || this.witness.findings.length === 0) {
      return findings; // what the witness noticed of an instance that is gone says nothing more
    }
    const [first, ...others] = this.witness.findings;
    return [...findings, { ...first!, detail: `${first!.detail}${this.warnings()}` }, ...others];
  }

  /** The newest lines of the logs that may say why. */
  private warnings(): string {
    const lines = this.instances.flatMap(({ name, logs }) =>
      logs
        .filter(({ level }) => level !== 'info')
        .map(({ context, msg }) => `${name} ${String(context)}: ${msg}`),
    );
    return lines.length === 0 ? '' : ` (logged: ${lines.slice(-5).join('; ')})`;
  }

  /** What the product counted of the things that can be behind a finding. */
  private async counters(): Promise<string[]> {
    const texts = await Promise.all(
      this.instances.map(async ({ name, port }) => {
        const response = await fetch(`http://127.0.0.1:${port}/metrics`).catch(() => undefined);
        const lines = (await response?.text())?.split('\n').filter((line) => TELLING.test(line)) ?? [];
        return lines.map((line) => `${name} ${line.slice('sluice_'.length)}`);
      }),
    );
    return texts.flat();
  }

  private async left(): Promise<{ what: string; seen: string }[]> {
    const left: { what: string; seen: string }[] = [];
    for (const [index, instance] of this.instances.entries()) {
      const quiet = this.quietGauges[index]!;
      for (const [name, value] of await gauges(instance)) {
        const most = (quiet.get(name) ?? 0) + (TOLERANCE[name] ?? 0);
        if (value > most) {
          left.push({ what: name, seen: `${instance.name} ${name} ${value} over ${most}` });
        }
      }
      const contained = await instance.metric('sluice_contained_errors_total');
      if (contained > 0) {
        left.push({ what: 'contained', seen: `${instance.name} sluice_contained_errors_total ${contained}` });
      }
    }
    const keys = await this.keys();
    if (keys > this.quietKeys + MAX_STAYING_KEYS) {
      left.push({ what: 'keys', seen: `${keys} Redis keys, quiet ${this.quietKeys}` });
    }
    if (left.length === 0) {
      for (const [index, port] of this.inspectorPorts.entries()) {
        const bytes = await liveBytes(port);
        const quiet = this.quietBytes[index]!;
        if (bytes > quiet + MAX_STAYING_BYTES) {
          left.push({
            what: 'memory',
            seen: `${this.instances[index]!.name} ${Math.round(bytes / MIB)} MiB live, quiet ${Math.round(quiet / MIB)}`,
          });
        }
      }
    }
    return left;
  }

  private async keys(): Promise<number> {
    return this.redis === undefined ? 0 : Number(await this.redis.command('DBSIZE'));
  }

  private lookAtRss(): void {
    for (const { pid, running } of this.instances) {
      if (running) {
        this.peakRssMib = Math.max(this.peakRssMib, rssMib(pid));
      }
    }
  }
}

/** Remembered up to their bounds, and not given back. */
const CACHED = /^sluice_kept\{what="(tokens|topics|room_heads|top)"\}/;

/** Values of all gauges of Sluice's own but caches, summed over labels. */
async function gauges(instance: Instance): Promise<Map<string, number>> {
  const response = await fetch(`http://127.0.0.1:${instance.port}/metrics`, {
    signal: AbortSignal.timeout(30_000),
  });
  const values = new Map<string, number>();
  let name = '';
  for (const line of (await response.text()).split('\n')) {
    const type = /^# TYPE (\S+) (\S+)/.exec(line);
    if (type !== null) {
      name = type[2] === 'gauge' && type[1]!.startsWith('sluice_') ? type[1]! : '';
    } else if (name !== '' && line.startsWith(name) && !CACHED.test(line)) {
      values.set(name, (values.get(name) ?? 0) + Number(line.slice(line.lastIndexOf(' '))));
    }
  }
  return values;
}

function rssMib(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
  } catch {
    return 0; // it has just ended
  }
}
