import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startMosquitto, type Mosquitto } from '../../support/mosquitto.js';
import { RedisServer } from '../../support/redis.js';
import { SIZE, TIME_FACTOR } from '../form.js';
import { Balancer } from './balancer.js';
import { FaultProxy } from './fault-proxy.js';
import { Fleet, type FleetOptions } from './fleet.js';
import { Instance } from './instance.js';

/** What docs/operations.md asks of Mosquitto, so that its queue outlasts a takeover. */
const BROKER_CONFIG = 'max_queued_messages 1000000\nmax_inflight_messages 0';
/** A connection whose client has sent SUBSCRIBE or SSUBSCRIBE (as a command, not as the argument of an ACL check). */
const SUBSCRIBER = /\*\d+\r\n\$\d+\r\ns?subscribe\r\n/i;

/** For {@link FleetOptions.speaksLayouts}. */
const LAYOUT_FILE = fileURLToPath(new URL('../fleet/layouts.yaml', import.meta.url));

/** Instances of a stage that does not say otherwise. */
export const INSTANCES = 3;

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
  env?: Record<string, string>;
  fleet?: Partial<FleetOptions>;
}

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

  static async start(options: StageOptions = {}): Promise<Stage> {
    const stage = new Stage();
    try {
      await stage.build(options);
      return stage;
    } catch (error) {
      const logs = stage.instances.flatMap(({ logs }) => logs.slice(-15)).map((line) => JSON.stringify(line));
      await stage.stop();
      throw new Error(`${String(error)}\n${logs.join('\n')}`, { cause: error });
    }
  }

  /** Adds what is to be stopped with the stage, the newest first. */
  own<T extends { stop(): unknown }>(part: T): T {
    this.stoppables.push(part);
    return part;
  }

  async startFleet(options: Partial<FleetOptions> = {}): Promise<Fleet> {
    return this.own(
      await Fleet.start({
        urls: [this.balancer.url],
        brokerPort: this.broker.port,
        deviceCount: SIZE.devices,
        dashboardCount: SIZE.dashboards,
        devicesPerDashboard: SIZE.devicesPerDashboard,
        perSecond: SIZE.perSecond,
        name: 'd',
        ...options,
      }),
    );
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

  /** Ends everything. With CHAOS_LOG_DIR set, the logs of the instances are written there. */
  async stop(): Promise<void> {
    const directory = process.env['CHAOS_LOG_DIR'];
    if (directory !== undefined) {
      this.writeLogs(directory);
    }
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

  private async build({
    instances = INSTANCES,
    ingest = 'leased',
    redis = 'own',
    brokerPersistence = false,
    through,
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
    await Promise.all(this.instances.map((one) => one.start()));
    this.balancer = this.own(await Balancer.start(this.instances));
    this.fleet = await this.startFleet(fleet);
    await this.fleet.connect(60_000 * TIME_FACTOR);
  }
}
