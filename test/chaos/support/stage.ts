import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startMosquitto, type Mosquitto } from '../../support/mosquitto.js';
import { RedisServer } from '../../support/redis.js';
import { FULL, redisIsWell, SIZE, TIME_FACTOR } from '../form.js';
import { Balancer } from './balancer.js';
import { FaultProxy } from './fault-proxy.js';
import { Fleet, type FleetOptions } from './fleet.js';
import { BUILD, Instance } from './instance.js';

/** What docs/operations.md asks of Mosquitto, so that its queue outlasts a takeover. */
const BROKER_CONFIG = 'max_queued_messages 1000000\nmax_inflight_messages 0';
/** A connection whose client has sent SUBSCRIBE or SSUBSCRIBE (as a command, not as the argument of an ACL check). */
const SUBSCRIBER = /\*\d+\r\n\$\d+\r\ns?subscribe\r\n/i;

/** For {@link FleetOptions.speaksLayouts}. */
const LAYOUT_FILE = fileURLToPath(new URL('../fleet/layouts.yaml', import.meta.url));

/** Instances of a stage that does not say otherwise. */
const INSTANCES = 3;

export interface StageOptions {
  /** Default 3. */
  instances?: number;
  ingest?: 'leased' | 'shared';
  /** `own` starts a Redis, `none` runs on rooms in memory, a URL is used as it stands (Cluster, Sentinel). Default `own`. */
  redis?: 'own' | 'none' | { url: string };
  /** Broker sessions survive a kill. */
  brokerPersistence?: boolean;
  /** What instances reach through a proxy that can fail: {@link Stage.redisLinks}, {@link Stage.brokerLink}. Default nothing. */
  through?: 'redis' | 'broker';
  /** Another program than the build under test. */
  main?: string;
  env?: Record<string, string>;
  fleet?: Partial<FleetOptions>;
}

/** The options of a row in which Redis is well. */
export const wellStage = (options: StageOptions = {}): StageOptions => ({
  ...options,
  env: { ...redisIsWell(options.instances ?? INSTANCES), ...options.env },
});

/** A stage that the last row left whole, and the options it was made with. */
let kept: { readonly key: string; readonly stage: Stage } | undefined;

/** Everything a fault needs: broker, Redis, instances, the ways between them, a load balancer, devices and dashboards. */
export class Stage {
  broker!: Mosquitto;
  redis!: RedisServer;
  /** The way of the instance of the same index to Redis, when it goes `through: 'redis'`. */
  redisLinks: FaultProxy[] = [];
  /** The way of all instances to the broker, when it goes `through: 'broker'`; the devices have their own. */
  brokerLink!: FaultProxy;
  instances: Instance[] = [];
  balancer!: Balancer;
  fleet!: Fleet;
  private readonly stoppables: { stop(): unknown }[] = [];
  private readonly fleets: Fleet[] = [];
  private rows = 0;

  private constructor(private readonly options: StageOptions) {}

  /**
   * In the short form a row takes the stage that the row before it has left, if it asks for the same: devices and dashboards are its own
   * all the same.
   */
  static async start(options: StageOptions = {}): Promise<Stage> {
    const reused = kept?.key === JSON.stringify(options) ? kept.stage : undefined;
    if (reused === undefined) {
      await Stage.endKept();
    }
    kept = undefined;
    const stage = reused ?? new Stage(options);
    try {
      if (reused === undefined) {
        await stage.build(options);
      }
      await stage.connectFleet();
      return stage;
    } catch (error) {
      const logs = stage.instances.flatMap(({ logs }) => logs.slice(-15)).map((line) => JSON.stringify(line));
      await stage.end();
      throw new Error(`${String(error)}\n${logs.join('\n')}`, { cause: error });
    }
  }

  /** Ends the stage that a row has left for the next one, which does not come or found it damaged. */
  static async endKept(): Promise<void> {
    const stage = kept?.stage;
    kept = undefined;
    await stage?.end();
  }

  /** Adds what is to be stopped with the stage, the newest first. */
  own<T extends { stop(): unknown }>(part: T): T {
    this.stoppables.push(part);
    return part;
  }

  async startFleet(options: Partial<FleetOptions> = {}): Promise<Fleet> {
    const fleet = await Fleet.start({
      urls: [this.balancer.url],
      brokerPort: this.broker.port,
      deviceCount: SIZE.devices,
      dashboardCount: SIZE.dashboards,
      devicesPerDashboard: SIZE.devicesPerDashboard,
      perSecond: SIZE.perSecond,
      ...options,
      name: `${options.name ?? 'd'}${this.rows}`,
    });
    this.fleets.push(fleet);
    return fleet;
  }

  /** The instance that reads the device topics (leased). */
  async holder(): Promise<Instance> {
    const deadline = Date.now() + 5_000 * TIME_FACTOR;
    while (Date.now() < deadline) {
      for (const instance of this.instances) {
        if (instance.running && (await instance.metric('sluice_ingest_lease_held')) === 1) {
          return instance;
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error('nobody holds the ingest lease');
  }

  /** Error lines that no fault explains, and what was written past the logger. */
  unexpectedErrors(expected: RegExp[] = []): string[] {
    return this.instances.flatMap(({ name, logs, strayOutput }) => [
      ...logs
        .filter(({ level }) => level === 'error' || level === 'fatal')
        .map((line) => JSON.stringify(line))
        .filter((line) => !expected.some((pattern) => pattern.test(line)))
        .map((line) => `${name}: ${line}`),
      ...strayOutput.map((line) => `${name}: ${line}`),
    ]);
  }

  /** The row is over. With CHAOS_LOG_DIR set, the logs of the instances are written there. */
  async stop(): Promise<void> {
    const directory = process.env['CHAOS_LOG_DIR'];
    if (directory !== undefined) {
      this.writeLogs(directory);
    }
    await Promise.all(this.fleets.splice(0).map((fleet) => fleet.stop()));
    if (FULL || typeof this.options.redis === 'object') {
      await this.end();
    } else {
      kept = { key: JSON.stringify(this.options), stage: this };
    }
  }

  private async end(): Promise<void> {
    await Promise.all(this.fleets.splice(0).map((fleet) => fleet.stop()));
    for (let part = this.stoppables.pop(); part; part = this.stoppables.pop()) {
      await part.stop();
    }
  }

  private writeLogs(directory: string): void {
    mkdirSync(directory, { recursive: true });
    const lines = this.instances.flatMap(({ name, logs, strayOutput }) => [
      ...logs.map(({ time, pid, hostname, service, ...line }) => ({ time, name, ...line })),
      ...strayOutput.map((text) => ({ time: 0, name, text })),
    ]);
    const sorted = lines.sort((a, b) => Number(a.time) - Number(b.time));
    const file = join(
      directory,
      `${(expect.getState().currentTestName ?? 'stage').replace(/\W+/g, '-')}.log`,
    );
    writeFileSync(file, sorted.map((line) => `${JSON.stringify(line)}\n`).join(''));
    writeFileSync(`${file}.broker`, this.broker.log);
  }

  private async connectFleet(): Promise<void> {
    this.rows += 1;
    this.fleet = await this.startFleet(this.options.fleet);
    await this.fleet.connect(60_000 * TIME_FACTOR);
  }

  private async build({
    instances = INSTANCES,
    ingest = 'leased',
    redis = 'own',
    brokerPersistence = false,
    through,
    main = BUILD,
    env = {},
    fleet = {},
  }: StageOptions): Promise<void> {
    this.broker = this.own(await startMosquitto({ config: BROKER_CONFIG, persistence: brokerPersistence }));
    if (through === 'broker') {
      this.brokerLink = this.own(await FaultProxy.to(this.broker.port));
    }
    if (redis === 'own') {
      this.redis = this.own(await RedisServer.start());
    }
    for (let index = 0; index < instances; index += 1) {
      let redisUrl = typeof redis === 'object' ? redis.url : undefined;
      if (redis === 'own') {
        let { port } = this.redis;
        if (through === 'redis') {
          const link = this.own(await FaultProxy.to(port, SUBSCRIBER));
          this.redisLinks.push(link);
          port = link.port;
        }
        redisUrl = `redis://127.0.0.1:${port}`;
      }
      this.instances.push(
        await Instance.create(`sluice-${index + 1}`, {
          MQTT_URL: `mqtt://127.0.0.1:${(this.brokerLink ?? this.broker).port}`,
          MQTT_INGEST: ingest,
          ...(redisUrl !== undefined && { REDIS_URL: redisUrl }),
          ...(fleet.speaksLayouts === true && { LAYOUT_FILE }),
          ...env,
        }),
      );
    }
    this.own({
      stop: () => Promise.all(this.instances.filter(({ running }) => running).map((one) => one.kill())),
    });
    for (const instance of this.instances) {
      instance.main = main;
    }
    await Promise.all(this.instances.map((one) => one.start()));
    this.balancer = this.own(await Balancer.start(this.instances));
  }
}
