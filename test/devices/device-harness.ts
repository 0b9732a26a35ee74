import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { connectAsync, type IClientOptions, type IClientPublishOptions, type MqttClient } from 'mqtt';
import { NestFactory } from '@nestjs/core';
import type { INestApplication, LoggerService } from '@nestjs/common';
import type { MicroserviceOptions } from '@nestjs/microservices';
import type { Config } from '../../src/config/config.js';
import { ConfigModule } from '../../src/config/config.module.js';
import type { Environment } from '../../src/config/load-config.js';
import { type Mosquitto, startMosquitto } from '../support/mosquitto.js';
import { testConfig } from '../support/test-config.js';
import { CommandPublisher } from '../../src/mqtt/command-publisher.js';
import { CommandRoutes } from '../../src/mqtt/command-routes.js';
import { DevicesModule } from '../../src/devices/devices.module.js';
import { MqttTransport } from '../../src/devices/mqtt-transport.js';
import { Reloads } from '../../src/files/reloads.js';
import { FilesModule } from '../../src/files/files.module.js';
import { InstanceBus } from '../../src/instances/instance-bus.js';
import { InstancesModule } from '../../src/instances/instances.module.js';
import { MemoryInstanceBus } from '../../src/instances/memory-bus.js';
import { Ingest, INGEST_PARTS, type IngestParts } from '../../src/ingest/ingest.js';
import { loadLayouts } from '../../src/layouts/layouts.js';
import { SoloIngest } from '../../src/ingest/solo-ingest.js';
import { Upstream } from '../../src/ingest/upstream.js';
import { Metrics } from '../../src/metrics/metrics.js';
import { MetricsModule } from '../../src/metrics/metrics.module.js';
import {
  BroadcastAdapter,
  type DeviceMessage,
  type DeviceStatus,
  type MetaBytes,
  type StateOutcome,
} from '../../src/rooms/broadcast-adapter.js';

/** What the rooms were told, in order. */
export interface Told {
  what: 'publish' | 'fill' | 'status' | 'meta';
  deviceId: string;
  payload: string | null;
  status?: DeviceStatus;
  onlyIfUnknown?: boolean;
}

/** Rooms that write down what they are told, and settle when the test says so. */
export class RecordingRooms {
  readonly told: Told[] = [];
  /** Whether messages are settled at once. */
  settles = true;
  readonly open: (() => void)[] = [];
  /** Devices for which there is no room any more. */
  readonly refused = new Set<string>();
  /** Devices that are known. */
  known: string[] = [];
  private waiters: { holds: () => boolean; resolve: () => void }[] = [];

  publish(message: DeviceMessage): void {
    this.add({ what: 'publish', deviceId: message.deviceId, payload: message.payload.toString() });
    if (this.settles) {
      message.settle('accepted');
    } else {
      this.open.push(() => message.settle('accepted'));
    }
  }

  fillTelemetry(deviceId: string, payload: Buffer): void {
    this.add({ what: 'fill', deviceId, payload: payload.toString() });
  }

  watchDevices(): Promise<readonly string[]> {
    return Promise.resolve(this.known);
  }

  base(): null {
    return null;
  }

  setStatus(deviceId: string, status: DeviceStatus, onlyIfUnknown: boolean): Promise<StateOutcome> {
    this.add({ what: 'status', deviceId, payload: null, status, onlyIfUnknown });
    return this.stored(deviceId);
  }

  setMeta(deviceId: string, meta: MetaBytes): Promise<StateOutcome> {
    this.add({ what: 'meta', deviceId, payload: meta?.toString() ?? null });
    return this.stored(deviceId);
  }

  of(what: Told['what']): Told[] {
    return this.told.filter((entry) => entry.what === what);
  }

  /** Resolves when the condition holds; looked at after every message. */
  async until(holds: () => boolean, timeoutMs = 15_000): Promise<void> {
    if (holds()) {
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () =>
          reject(
            new Error(
              `not told in time; the last of ${this.told.length}: ${JSON.stringify(this.told.slice(-5)).slice(0, 500)}`,
            ),
          ),
        timeoutMs,
      );
      this.waiters.push({
        holds,
        resolve: () => {
          clearTimeout(timer);
          resolve();
        },
      });
    });
  }

  private stored(deviceId: string): Promise<StateOutcome> {
    if (this.settles) {
      return Promise.resolve(this.refused.has(deviceId) ? 'refused' : undefined);
    }
    return new Promise((resolve) => this.open.push(resolve));
  }

  private add(entry: Told): void {
    this.told.push(entry);
    const due = this.waiters.filter(({ holds }) => holds());
    this.waiters = this.waiters.filter((waiter) => !due.includes(waiter));
    due.forEach(({ resolve }) => resolve());
  }
}

export interface DevicesApp {
  rooms: RecordingRooms;
  transport: MqttTransport;
  upstream: Upstream;
  commands: CommandPublisher;
  routes: CommandRoutes;
  metrics: Metrics;
  /** What SIGHUP does. */
  reloads: Reloads;
  config: Config;
  /** Log lines so far: `level context message`. */
  logs: string[];
  /** Resolves when upstream is (or already is) as asked. */
  upstreamIs(up: boolean, timeoutMs?: number): Promise<void>;
  /** sluice_ingest_messages_total of one kind and outcome, over all layouts. */
  counted(kind: string, outcome: string): Promise<number>;
  stop(): Promise<void>;
}

/** The devices module of one instance, with rooms that record, against a broker of the test. */
export async function startDevices(env: Environment, rooms = new RecordingRooms()): Promise<DevicesApp> {
  const config = testConfig({
    NODE_ENV: 'production',
    JWT_SECRET: randomBytes(32).toString('hex'),
    WS_ALLOWED_ORIGINS: '*',
    'mqtt.reconnectMaxMs': '500',
    ...env,
  });

  const logs: string[] = [];
  const app: INestApplication = await NestFactory.create(
    {
      module: class Root {},
      imports: [
        ConfigModule.forRoot(config),
        MetricsModule,
        FilesModule,
        InstancesModule.withBus({ provide: InstanceBus, useFactory: () => new MemoryInstanceBus() }),
        {
          module: class Rooms {},
          global: true,
          providers: [{ provide: BroadcastAdapter, useValue: rooms }],
          exports: [BroadcastAdapter],
        },
        DevicesModule.withIngest(
          {
            provide: Ingest,
            inject: [INGEST_PARTS],
            useFactory: (parts: IngestParts) => new SoloIngest(parts),
          },
          loadLayouts(config),
        ),
      ],
    },
    { logger: recordingLogger(logs) },
  );
  const transport = app.get(MqttTransport);
  app.connectMicroservice<MicroserviceOptions>({ strategy: transport });
  await app.init();
  await app.startAllMicroservices();
  const upstream = app.get(Upstream);
  const metrics = app.get(Metrics);
  return {
    rooms,
    transport,
    upstream,
    commands: app.get(CommandPublisher),
    routes: app.get(CommandRoutes),
    metrics,
    reloads: app.get(Reloads),
    config,
    logs,
    async upstreamIs(up, timeoutMs = 15_000) {
      if (upstream.up === up) {
        return;
      }
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(
          () => reject(new Error(`upstream did not go ${up ? 'up' : 'down'}`)),
          timeoutMs,
        );
        const stop = upstream.onChange((now) => {
          if (now === up) {
            clearTimeout(timer);
            stop();
            resolve();
          }
        });
      });
    },
    async counted(kind, outcome) {
      const { values } = await metrics.ingest.get();
      return values
        .filter(({ labels }) => labels['kind'] === kind && labels['outcome'] === outcome)
        .reduce((sum, { value }) => sum + value, 0);
    },
    stop: () => app.close(),
  };
}

function recordingLogger(logs: string[]): LoggerService {
  const level =
    (name: string) =>
    (message: unknown, ...rest: unknown[]): void =>
      void logs.push(`${name} ${String(rest.at(-1))} ${String(message)}`);
  return { log: level('log'), error: level('error'), warn: level('warn'), debug: level('debug') };
}

/** A device (or anybody else) at the broker. */
export interface Device {
  readonly client: MqttClient;
  /** Resolves once the broker has it. Default QoS 1, not retained. */
  publish(topic: string, payload: string | Buffer, options?: IClientPublishOptions): Promise<void>;
  /** Leaves in order: no will. */
  stop(): Promise<void>;
  /** Breaks the connection: the broker publishes the will. */
  crash(): void;
}

/** Connects a device. */
export async function connectDevice(url: string, options: IClientOptions = {}): Promise<Device> {
  const client = await connectAsync(url, { protocolVersion: 5, reconnectPeriod: 0, ...options }, false);
  client.on('error', () => undefined);
  return {
    client,
    async publish(topic, payload, publishOptions) {
      await client.publishAsync(topic, payload, { qos: 1, ...publishOptions });
    },
    stop: () => client.endAsync(true),
    crash: () => void client.stream.destroy(),
  };
}

/** Looks again every few milliseconds until it holds. */
export async function eventually(holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!holds()) {
    if (Date.now() > deadline) {
      throw new Error(`did not come to hold: ${holds.toString()}`);
    }
    await pause(10);
  }
}

/** A Mosquitto that logs packets, and passes on what devices say and no markers: each packet to Sluice is a device's. */
export function startMosquittoForDevices(): Promise<Mosquitto> {
  return startMosquitto({
    config: ({ directory }) => {
      writeFileSync(`${directory}/acl`, 'topic readwrite devices/#\n');
      return `log_type all\nacl_file ${directory}/acl`;
    },
  });
}

/** PUBACKs that a broker with `log_type all` has received from Sluice. */
export function acknowledged(broker: { log: string }): number {
  return broker.log.match(/Received PUBACK from sluice-ingest/g)?.length ?? 0;
}
