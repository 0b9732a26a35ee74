import { randomBytes } from 'node:crypto';
import { Inject, Injectable, Logger, Optional } from '@nestjs/common';
import { Server } from '@nestjs/microservices';
import { CONFIG, type Config } from '../config/config.js';
import { Metrics, mirrorGauge } from '../metrics/metrics.js';
import { IngestLease, IngestSlots, SharedStore } from '../ingest/ports.js';
import { brokerSettings } from '../mqtt/broker-connection.js';
import { CommandPublisher } from '../mqtt/command-publisher.js';
import { DeviceTrace, IngestCounters } from '../mqtt/ingest-counters.js';
import { DEVICE_TRANSPORT, type Ingest, type IngestParts } from '../ingest/ingest.js';
import { LeasedIngest } from '../ingest/leased-ingest.js';
import { SharedIngest } from '../ingest/shared-ingest.js';
import { SoloIngest } from '../ingest/solo-ingest.js';
import { RetainedState } from '../ingest/retained-state.js';
import { BroadcastAdapter } from '../rooms/broadcast-adapter.js';
import { DeviceMessages } from './device-messages.js';
import { Upstream } from '../ingest/upstream.js';

/**
 * Nest's transport for device topics. Its own, because Nest's MQTT server parses payloads as requests (`{"id":…}` makes it
 * publish a reply), searches patterns per message, ignores refused subscriptions and acknowledges before anybody has the message.
 * How it reads is an {@link Ingest}'s business: alone, or in turn with the instances that share its store.
 */
@Injectable()
export class MqttTransport extends Server {
  protected override readonly logger = new Logger(MqttTransport.name);
  override readonly transportId = DEVICE_TRANSPORT;
  private ingest: Ingest | undefined;
  private wasUp = false;
  private closed: Promise<void> | undefined;
  /** Part of the client ids of this process. */
  private readonly instance = randomBytes(6).toString('hex');

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    private readonly upstream: Upstream,
    private readonly commands: CommandPublisher,
    private readonly messages: DeviceMessages,
    private readonly rooms: BroadcastAdapter,
    private readonly retained: RetainedState,
    private readonly counters: IngestCounters,
    private readonly trace: DeviceTrace,
    private readonly metrics: Metrics,
    @Optional() @Inject(SharedStore) private readonly store?: SharedStore,
    @Optional() @Inject(IngestLease) private readonly lease?: IngestLease,
    @Optional() @Inject(IngestSlots) private readonly slots?: IngestSlots,
  ) {
    super();
    upstream.onChange((up) => (this.wasUp ||= up));
    mirrorGauge(metrics.ingestUnacknowledged, () => this.unacknowledged);
    mirrorGauge(metrics.ingestOldest, () => this.lagMs / 1000);
  }

  /** Connected to the broker. */
  get connected(): boolean {
    return this.ingest?.connected ?? false;
  }

  /** Device messages could reach this instance once. */
  get ready(): boolean {
    return this.wasUp;
  }

  /** Calls back at once and connects in the background: a broker that is away must not hide the health endpoints. */
  override listen(callback: () => void): void {
    const { config, counters, trace, metrics, upstream, messages, rooms, instance } = this;
    const { mqtt, redis } = config;
    if (mqtt.url === undefined) {
      throw new Error('MQTT_URL is not set and there is no embedded broker');
    }
    this.checkRoutes();
    const broker = brokerSettings(mqtt, mqtt.url);
    this.commands.open(broker, `${redis.namespace}-commands-${instance}`);
    this.ingest = this.createIngest({
      config,
      metrics,
      upstream,
      messages,
      rooms,
      instance,
      context: { broker, limits: mqtt, counters, trace },
    });
    this.ingest.start();
    callback();
  }

  /** Answers the commands under way, then leaves the broker in order. Safe to call again. */
  override close(): Promise<void> {
    this.closed ??= Promise.all([this.commands.close(), this.ingest?.stop()]).then(() => undefined);
    return this.closed;
  }

  override on(): never {
    throw new Error('the device transport has no events of its own: see Upstream');
  }

  override unwrap<T>(): T {
    return this.ingest as T;
  }

  private createIngest(parts: IngestParts): Ingest {
    const { store, lease, slots } = this;
    if (store === undefined || lease === undefined || slots === undefined) {
      return new SoloIngest(parts, this.retained);
    }
    return this.config.mqtt.ingest === 'shared'
      ? new SharedIngest({ ...parts, store }, slots)
      : new LeasedIngest({ ...parts, store }, lease);
  }

  private get unacknowledged(): number {
    return (this.ingest?.sessions ?? []).reduce((sum, { unacknowledged }) => sum + unacknowledged, 0);
  }

  /** Age of the oldest message that is not acknowledged; 0 when there is none. */
  private get lagMs(): number {
    const now = performance.now();
    return Math.max(0, ...(this.ingest?.sessions ?? []).map(({ oldestMono }) => now - (oldestMono ?? now)));
  }

  /** What the controller's patterns say to Nest, the routes say to the sessions. */
  private checkRoutes(): void {
    const patterns = [...this.messageHandlers.keys()].sort().join(', ');
    const filters = this.messages.routes
      .map(({ filter }) => filter)
      .sort()
      .join(', ');
    if (patterns !== filters) {
      throw new Error(`the device controller has patterns for ${patterns}, and routes lead from ${filters}`);
    }
  }
}
