import { randomBytes } from 'node:crypto';
import { Inject, Injectable, Logger } from '@nestjs/common';
import { Server } from '@nestjs/microservices';
import { CONFIG, type Config } from '../config/config.js';
import { Metrics } from '../metrics/metrics.js';
import { brokerSettings } from './broker-settings.js';
import { CommandPublisher } from './command-publisher.js';
import { DeviceTrace } from './device-trace.js';
import { IngestCounters } from './ingest-counters.js';
import { DEVICE_TRANSPORT, type IngestRoute } from './ingest-route.js';
import { type IngestContext, IngestSession } from './ingest-session.js';
import type { InboundMessage } from './inbound-message.js';
import { RetainedReader } from './retained-reader.js';
import { RetainedState } from './retained-state.js';
import { type Route, TopicRouter } from './topic-router.js';
import { Upstream } from './upstream.js';

/**
 * Seconds the broker keeps the session of one process that lost its connection: long enough for a restart of the broker or a
 * network that comes back, short enough that a process that died does not leave a queue behind for long.
 */
const SESSION_EXPIRY_S = 300;

/**
 * Nest's transport for device topics. Its own, because Nest's MQTT server parses payloads as requests (`{"id":…}` makes it
 * publish a reply), searches patterns per message, ignores refused subscriptions and acknowledges before anybody has the message.
 * It composes an {@link IngestSession} for what is live and a {@link RetainedReader} for what the broker retained.
 */
@Injectable()
export class MqttTransport extends Server {
  protected override readonly logger = new Logger(MqttTransport.name);
  override readonly transportId = DEVICE_TRANSPORT;
  private controller: object | undefined;
  private context: IngestContext | undefined;
  private session: IngestSession | undefined;
  private retainedReader: RetainedReader | undefined;
  private wasUp = false;
  private closed: Promise<void> | undefined;
  /** Part of the client ids of this process. */
  private readonly instance = randomBytes(6).toString('hex');

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    private readonly upstream: Upstream,
    private readonly commands: CommandPublisher,
    private readonly retained: RetainedState,
    private readonly counters: IngestCounters,
    private readonly trace: DeviceTrace,
    private readonly metrics: Metrics,
  ) {
    super();
    Object.assign(metrics.ingestUnacknowledged, {
      collect: () => metrics.ingestUnacknowledged.set(this.session?.unacknowledged ?? 0),
    });
    Object.assign(metrics.ingestOldest, {
      collect: () => {
        const oldest = this.session?.oldestMono;
        metrics.ingestOldest.set(oldest === undefined ? 0 : (performance.now() - oldest) / 1000);
      },
    });
  }

  /** Connected to the broker. */
  get connected(): boolean {
    return this.session?.connected ?? false;
  }

  /** Every subscription was granted once. */
  get ready(): boolean {
    return this.wasUp;
  }

  /** The controller whose methods the patterns stand on. Called by the controller itself, once. */
  serve(controller: object): void {
    this.controller = controller;
  }

  /** Calls back at once and connects in the background: a broker that is away must not hide the health endpoints. */
  override listen(callback: () => void): void {
    const { mqtt, rooms, redis } = this.config;
    if (mqtt.url === undefined) {
      throw new Error('MQTT_URL is not set and there is no embedded broker');
    }
    const broker = brokerSettings(mqtt, mqtt.url);
    const router = new TopicRouter(this.routes(), Math.max(10_000, rooms.maxDevices));
    this.context = { broker, limits: mqtt, router, counters: this.counters, trace: this.trace };
    this.commands.open(broker, `${redis.namespace}-commands-${this.instance}`);
    this.openSession(this.context);
    callback();
  }

  /** Answers the commands under way, then leaves the broker in order. Safe to call again. */
  override close(): Promise<void> {
    this.closed ??= this.leave();
    return this.closed;
  }

  override on(): never {
    throw new Error('the device transport has no events of its own: see Upstream');
  }

  override unwrap<T>(): T {
    return this.session as T;
  }

  private openSession(context: IngestContext): void {
    const { broker, router } = context;
    const { mqtt, redis } = this.config;
    const session = new IngestSession(
      context,
      {
        name: 'live',
        // Its own: whatever takes it over is a mistake, and must not be fought.
        clientId: `${redis.namespace}-ingest-${randomBytes(6).toString('hex')}`,
        // MQTT 3.1.1 has no expiry: a session that is kept would queue for a process that is gone, for ever.
        cleanStart: broker.protocolVersion === 5 ? 'first' : 'always',
        sessionExpiryS: SESSION_EXPIRY_S,
        receiveMaximum: mqtt.receiveMaximum,
        subscriptions: router.routes.map(({ filter, qos }) => ({ filter, qos, retainHandling: 2 })),
      },
      {
        connected: (sessionPresent) => {
          this.metrics.mqttConnected.set(1);
          this.retained.begin(!sessionPresent);
        },
        up: () => this.up(),
        down: () => this.down(),
        takenOver: () => {
          if (this.closed === undefined) {
            this.openSession(context);
          }
        },
      },
    );
    this.session = session;
    session.start();
  }

  private async leave(): Promise<void> {
    await Promise.all([
      this.commands.close(),
      this.retainedReader?.stop(),
      this.session?.end({ discardSession: true }),
    ]);
  }

  private up(): void {
    this.wasUp = true;
    this.logger.log(`Reading device topics from ${this.context!.broker.name}`);
    this.upstream.set(true);
    const clientId = `${this.config.redis.namespace}-retained-${this.instance}`;
    this.retainedReader = new RetainedReader(this.context!, clientId, () => this.retained.end());
    this.retainedReader.start();
  }

  private down(): void {
    this.metrics.mqttConnected.set(0);
    if (this.closed === undefined) {
      this.metrics.mqttReconnects.inc();
    }
    this.upstream.set(false);
    void this.retainedReader?.stop();
    this.retainedReader = undefined;
  }

  /** The patterns of the controller as routes: each filter with the method it stands on, bound once. */
  private routes(): Route[] {
    const controller = this.controller as Record<string, ((message: InboundMessage) => void) | undefined>;
    return [...this.messageHandlers].map(([filter, { extras }]) => {
      const { method, kind, qos } = extras as IngestRoute;
      const handle = controller[method];
      if (handle === undefined) {
        throw new Error(`the pattern ${filter} names no method of the controller: ${method}`);
      }
      return { filter, kind, qos, handle: handle.bind(controller) };
    });
  }
}
