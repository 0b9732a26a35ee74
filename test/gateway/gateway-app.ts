import 'reflect-metadata';
import { Global, Module } from '@nestjs/common';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { Test } from '@nestjs/testing';
import type { AddressInfo } from 'node:net';
import { CLOCK } from '../../src/time/clock.js';
import { CONFIG, type Config } from '../../src/config/config.js';
import { ConfigModule } from '../../src/config/config.module.js';
import { testConfig } from '../support/test-config.js';
import { type CommandOutcome, CommandPublisher, type CommandWay } from '../../src/mqtt/command-publisher.js';
import { BuiltInCommandRoutes, CommandRoutes } from '../../src/mqtt/command-routes.js';
import type { ReplyListener } from '../../src/mqtt/reply-reader.js';
import { MqttTransport } from '../../src/devices/mqtt-transport.js';
import { Upstream } from '../../src/ingest/upstream.js';
import { Admission } from '../../src/gateway/door/admission.js';
import { ConnectionLifecycle } from '../../src/gateway/connection-lifecycle.js';
import { ConnectionTimers } from '../../src/gateway/socket/connection-timers.js';
import { DOOR_LIMITS, Door, type DoorLimits, doorLimits } from '../../src/gateway/door/door.js';
import { DrainService } from '../../src/gateway/drain.service.js';
import { FilesModule } from '../../src/files/files.module.js';
import { GatewayModule } from '../../src/gateway/gateway.module.js';
import { MemoryPresence, Presence } from '../../src/gateway/door/presence.js';
import { SluiceWsAdapter } from '../../src/gateway/sluice-ws-adapter.js';
import { Metrics } from '../../src/metrics/metrics.js';
import { MetricsModule } from '../../src/metrics/metrics.module.js';
import type { ProtocolError } from '../../src/protocol/errors.js';
import { BroadcastAdapter } from '../../src/rooms/broadcast-adapter.js';
import { MemoryBroadcastAdapter } from '../../src/rooms/memory/memory-adapter.js';
import { createRedisAdapter } from '../../src/redis/redis-adapter.js';
import { RoomsModule } from '../../src/rooms/rooms.module.js';
import { RoomsService } from '../../src/rooms/rooms.service.js';
import { InstanceBus } from '../../src/instances/instance-bus.js';
import { InstancesModule } from '../../src/instances/instances.module.js';
import { MemoryInstanceBus } from '../../src/instances/memory-bus.js';
import { ManualClock } from '../auth/manual-clock.js';
import { TEST_SECRET } from '../support/tokens.js';

/** What the gateway sent to devices; a test decides when and how the broker answers. */
export class FakeCommandPublisher {
  readonly sent: { deviceId: string; payload: string }[] = [];
  answer: () => Promise<CommandOutcome> = () => Promise.resolve('delivered');
  /** The Correlation Data of each. */
  readonly correlations: string[] = [];
  readonly responseTopic = 'sluice/replies';
  private listener: ReplyListener | undefined;

  /** What the real one asks when it publishes, of the last commands: each holds its connection. */
  readonly refusals: (() => ProtocolError | null)[] = [];

  send(
    deviceId: string,
    payload: Buffer,
    refusal: () => ProtocolError | null,
    way: CommandWay,
  ): Promise<CommandOutcome> {
    this.correlations.push(way.correlation ?? '');
    if (this.refusals.push(refusal) > 16) {
      this.refusals.shift();
    }
    this.sent.push({ deviceId, payload: payload.toString() });
    return this.answer();
  }

  listen(listener: ReplyListener): void {
    this.listener = listener;
  }

  /** A device answers. */
  reply(topic: string, payload: string, correlation = ''): void {
    const bytes = Buffer.from(payload);
    this.listener?.reply(topic, correlation, bytes, 0, bytes.length);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** Stands for the transport where no broker is needed. */
export class FakeTransport {
  closed = 0;

  close(): Promise<void> {
    this.closed += 1;
    return Promise.resolve();
  }
}

@Global()
@Module({
  providers: [
    Upstream,
    { provide: CommandPublisher, useClass: FakeCommandPublisher },
    { provide: CommandRoutes, useClass: BuiltInCommandRoutes },
    { provide: MqttTransport, useClass: FakeTransport },
  ],
  exports: [Upstream, CommandPublisher, CommandRoutes, MqttTransport],
})
class FakeDevicesModule {}

/** The gateway in a real Nest application on a free port: no broker, rooms in memory, or in Redis where `env` has REDIS_URL. */
export class GatewayApp {
  readonly commands: FakeCommandPublisher;
  readonly transport: FakeTransport;
  private packetId = 0;

  private constructor(
    readonly nest: NestExpressApplication,
    readonly clock: ManualClock,
  ) {
    this.commands = nest.get(CommandPublisher);
    this.transport = nest.get(MqttTransport);
  }

  /** @param door bounds that a test could not reach in time */
  static async start(env: Record<string, string> = {}, door: Partial<DoorLimits> = {}): Promise<GatewayApp> {
    const config: Config = testConfig({ JWT_SECRET: TEST_SECRET, ...env });
    const clock = new ManualClock(Date.now());
    const builder = Test.createTestingModule({
      imports: [
        ConfigModule.forRoot(config),
        MetricsModule,
        FilesModule,
        RoomsModule.withAdapter({
          provide: BroadcastAdapter,
          inject: [CONFIG, Metrics],
          useFactory: (all: Config, metrics: Metrics) =>
            all.redis.url === undefined
              ? new MemoryBroadcastAdapter(all.rooms, metrics)
              : createRedisAdapter(all, metrics, { log: () => {}, warn: () => {} }),
        }),
        FakeDevicesModule,
        InstancesModule.withBus({ provide: InstanceBus, useClass: MemoryInstanceBus }),
        GatewayModule.withPresence({
          provide: Presence,
          useFactory: () => new MemoryPresence(config.ws.maxConnectionsPerUser),
        }),
      ],
    })
      .overrideProvider(CLOCK)
      .useValue(clock)
      .overrideProvider(DOOR_LIMITS)
      .useValue({ ...doorLimits(config.ws), ...door });
    const module = await builder.compile();
    const nest = module.createNestApplication<NestExpressApplication>({ logger: false });
    nest.useWebSocketAdapter(new SluiceWsAdapter(nest));
    await nest.listen(0, '127.0.0.1');
    nest.get(Upstream).set(true);
    return new GatewayApp(nest, clock);
  }

  get port(): number {
    return (this.nest.getHttpServer().address() as AddressInfo).port;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}/ws`;
  }

  get metrics(): Metrics {
    return this.nest.get(Metrics);
  }

  get upstream(): Upstream {
    return this.nest.get(Upstream);
  }

  get adapter(): BroadcastAdapter {
    return this.nest.get(BroadcastAdapter);
  }

  get rooms(): RoomsService {
    return this.nest.get(RoomsService);
  }

  get lifecycle(): ConnectionLifecycle {
    return this.nest.get(ConnectionLifecycle);
  }

  get admission(): Admission {
    return this.nest.get(Admission);
  }

  get door(): Door {
    return this.nest.get(Door);
  }

  get drain(): DrainService {
    return this.nest.get(DrainService);
  }

  /** A device publishes. */
  publish(deviceId: string, payload: unknown): void {
    this.publishText(deviceId, JSON.stringify(payload));
  }

  /** The same with JSON that no object of JavaScript's is written as. */
  publishText(deviceId: string, json: string): void {
    this.packetId = (this.packetId % 65_535) + 1;
    this.adapter.publish({
      deviceId,
      payload: Buffer.from(json),
      receivedAt: Date.now(),
      receivedMono: performance.now(),
      packetId: this.packetId,
      dup: false,
      settle: () => {},
    });
  }

  /** Everything that must be back to zero when nobody is connected. */
  async leftovers(): Promise<Record<string, number>> {
    const { metrics } = this;
    const gauge = async (
      name:
        | 'connectionsOpen'
        | 'connectionsPending'
        | 'roomsOpen'
        | 'subscriptionsOpen'
        | 'queueBytes'
        | 'queueMessages',
    ) => (await metrics[name].get()).values[0]?.value ?? 0;
    const { admission } = this;
    return {
      connectionsOpen: await gauge('connectionsOpen'),
      connectionsPending: await gauge('connectionsPending'),
      roomsOpen: await gauge('roomsOpen'),
      subscriptionsOpen: await gauge('subscriptionsOpen'),
      queueBytes: await gauge('queueBytes'),
      queueMessages: await gauge('queueMessages'),
      waiting: admission.waiting,
      places: admission.connections,
      pendingPlaces: admission.pending,
      addresses: admission.addresses,
      visitors: this.door.size,
      users: this.nest.get(Presence).users,
      deadlines: this.nest.get(ConnectionTimers).size,
      kept: this.lifecycle.connections.size,
    };
  }

  /** Sum of a counter over the label values given. */
  async count(
    name:
      | 'connections'
      | 'containedErrors'
      | 'socketsRefused'
      | 'connectionsClosed'
      | 'clientMessages'
      | 'commands'
      | 'auth',
    labels: Record<string, string>,
  ): Promise<number> {
    const { values } = await this.metrics[name].get();
    return values
      .filter((value) => Object.entries(labels).every(([label, text]) => value.labels[label] === text))
      .reduce((sum, { value }) => sum + value, 0);
  }

  async stop(): Promise<void> {
    await this.nest.close();
    const adapter = this.nest.get(BroadcastAdapter);
    if (!(adapter instanceof MemoryBroadcastAdapter)) {
      await adapter.stop();
    }
  }
}
