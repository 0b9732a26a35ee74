import { writeFileSync } from 'node:fs';
import { type DashboardClient } from '../support/dashboard-client.js';
import { type Mosquitto, startMosquitto } from '../support/mosquitto.js';
import { type RedisServer, startRedis } from '../support/redis.js';
import { type Sluice, startSluice } from '../support/sluice.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import type { Telemetry } from '../support/wire.js';
import { connectDevice, type Device } from './device-harness.js';

type Own = <T extends { stop(): unknown }>(resource: T) => T;

/** What docs/operations.md asks of Mosquitto. */
const BROKER_CONFIG = 'max_queued_messages 100000\nmax_inflight_messages 0';

/** Several instances in processes of their own that share a real Redis and a real Mosquitto. */
export interface Instances {
  broker: Mosquitto;
  redis: RedisServer;
  /** The way of the instance of the same index to Redis. */
  redisLinks: TcpProxy[];
  instances: Sluice[];
  env(index: number): Record<string, string>;
  device: Device;
  holder(): Promise<Sluice>;
}

export async function startInstances(
  own: Own,
  count: number,
  extra: Record<string, string> | ((index: number) => Record<string, string>) = {},
  brokerOptions: { persistence?: boolean; acl?: string } = {},
): Promise<Instances> {
  const [broker, redis] = await Promise.all([
    startMosquitto({
      persistence: brokerOptions.persistence,
      config: ({ directory }) => {
        if (brokerOptions.acl === undefined) {
          return BROKER_CONFIG;
        }
        writeFileSync(`${directory}/acl`, brokerOptions.acl);
        return `${BROKER_CONFIG}\nacl_file ${directory}/acl`;
      },
    }),
    startRedis(),
  ]);
  own(broker);
  own(redis);
  const redisLinks: TcpProxy[] = [];
  for (let index = 0; index < count; index += 1) {
    redisLinks.push(own(await startTcpProxy(redis.port)));
  }
  const env = (index: number): Record<string, string> => ({
    NODE_ENV: 'production',
    WS_ALLOWED_ORIGINS: '*',
    MQTT_URL: broker.url,
    REDIS_URL: `redis://127.0.0.1:${redisLinks[index]!.port}`,
    DRAIN_SPREAD_MS: '0',
    ...(typeof extra === 'function' ? extra(index) : extra),
  });
  const instances = await Promise.all(redisLinks.map((_link, index) => startSluice({ env: env(index) })));
  instances.forEach((instance) => own(instance));
  const device = own(await connectDevice(broker.url));
  return {
    broker,
    redis,
    redisLinks,
    instances,
    env,
    device,
    async holder() {
      let holder: Sluice | undefined;
      // After Redis was away nobody holds the lease for a moment, and instances are asked one after the other.
      await eventuallyAsync(async () => {
        for (const instance of instances) {
          if ((await instance.metric('sluice_ingest_lease_held').catch(() => 0)) === 1) {
            holder = instance;
          }
        }
        return holder !== undefined;
      });
      return holder!;
    },
  };
}

/** A device that publishes numbers, one after the other, at QoS 1, until it is told to stop. */
export class Counting {
  sent = 0;
  private running = true;
  private readonly done: Promise<void>;

  /**
   * @param everyMs time between two publications
   * @param topic of its telemetry
   */
  constructor(
    private readonly device: Device,
    deviceId: string,
    private readonly everyMs = 8,
    private readonly topic = `devices/${deviceId}/telemetry`,
  ) {
    this.done = this.run();
  }

  /** @returns how many the broker has acknowledged: 0 to this less 1 */
  async stop(): Promise<number> {
    this.running = false;
    await this.done;
    return this.sent;
  }

  private async run(): Promise<void> {
    while (this.running) {
      await this.device.publish(this.topic, String(this.sent));
      this.sent += 1;
      await new Promise((resolve) => setTimeout(resolve, this.everyMs));
    }
  }
}

export const telemetryOf = (client: DashboardClient, deviceId: string): Telemetry[] =>
  client.all('telemetry').filter((message) => message.deviceId === deviceId);

/** Resolves when the dashboard has this number of a {@link Counting} device, as publication or in a snapshot. */
export async function reaches(client: DashboardClient, deviceId: string, number: number): Promise<void> {
  const deadline = Date.now() + 20_000;
  const newest = (): number => {
    for (let at = client.received.length - 1; at >= 0; at -= 1) {
      const message = client.received[at]!;
      if (message.type === 'telemetry' && message.deviceId === deviceId) {
        return message.payload as number;
      }
      if (message.type === 'snapshot') {
        const device = message.devices.find((one) => one.deviceId === deviceId);
        if (device?.telemetry !== undefined) {
          return device.telemetry.payload as number;
        }
      }
    }
    return -1;
  };
  while (newest() < number) {
    if (Date.now() > deadline) {
      throw new Error(`${deviceId} is at ${newest()}, not at ${number}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** The longest time without a publication, in ms, by the server's clock. */
export function longestGapMs(publications: readonly Telemetry[]): number {
  return publications.reduce(
    (longest, { serverTs }, at) =>
      Math.max(longest, at === 0 ? 0 : serverTs - publications[at - 1]!.serverTs),
    0,
  );
}

/** Looks again every 200 ms until it holds: most ask for all metrics of several instances. */
export async function eventuallyAsync(holds: () => Promise<boolean>, timeoutMs = 30_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await holds().catch(() => false))) {
    if (Date.now() > deadline) {
      throw new Error(`did not come to hold: ${holds.toString()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
