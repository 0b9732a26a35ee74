import { Inject, Injectable, Logger } from '@nestjs/common';
import { Server } from '@nestjs/microservices';
import { DEVICE_TRANSPORT, Ingest, INGEST_PARTS, type IngestParts } from '../ingest/ingest.js';
import { mirrorGauge } from '../metrics/hot-counters.js';
import { CommandPublisher } from '../mqtt/command-publisher.js';

/**
 * Nest's transport for device topics. Its own, because Nest's MQTT server parses payloads as requests (`{"id":…}` makes it
 * publish a reply), searches patterns per message, ignores refused subscriptions and acknowledges before anybody has the message.
 * How it reads is an {@link Ingest}'s business: alone, or in turn with the instances that share its store.
 */
@Injectable()
export class MqttTransport extends Server {
  protected override readonly logger = new Logger(MqttTransport.name);
  override readonly transportId = DEVICE_TRANSPORT;
  private wasUp = false;
  private closed: Promise<void> | undefined;

  constructor(
    private readonly ingest: Ingest,
    @Inject(INGEST_PARTS) private readonly parts: IngestParts,
    private readonly commands: CommandPublisher,
  ) {
    super();
    const { metrics, upstream } = parts;
    upstream.onChange((up) => (this.wasUp ||= up));
    mirrorGauge(metrics.ingestUnacknowledged, () => this.unacknowledged);
    mirrorGauge(metrics.ingestOldest, () => this.lagMs / 1000);
    metrics.keeps('topics', () => ingest.sessions.reduce((sum, { topics }) => sum + topics, 0));
    mirrorGauge(metrics.ingestBacklog, () => this.ingest.behindMs / 1000);
  }

  /** Connected to the broker. */
  get connected(): boolean {
    return this.ingest.connected;
  }

  /** Device messages could reach this instance once. */
  get ready(): boolean {
    return this.wasUp;
  }

  /** Calls back at once and connects in the background: a broker that is away must not hide the health endpoints. */
  override listen(callback: () => void): void {
    const { config, context, instance } = this.parts;
    this.checkRoutes();
    this.commands.open(context.broker, `${config.redis.namespace}-commands-${instance}`);
    this.ingest.start();
    callback();
  }

  /** Answers the commands under way, then leaves the broker in order. Safe to call again. */
  override close(): Promise<void> {
    this.closed ??= Promise.all([this.commands.close(), this.ingest.stop()]).then(() => undefined);
    return this.closed;
  }

  override on(): never {
    throw new Error('the device transport has no events of its own: see Upstream');
  }

  override unwrap<T>(): T {
    return this.ingest as T;
  }

  private get unacknowledged(): number {
    return this.ingest.sessions.reduce((sum, { unacknowledged }) => sum + unacknowledged, 0);
  }

  /** Age of the oldest message that is not acknowledged; 0 when there is none. */
  private get lagMs(): number {
    const now = performance.now();
    return Math.max(0, ...this.ingest.sessions.map(({ oldestMono }) => now - (oldestMono ?? now)));
  }

  /** What the controller's patterns say to Nest, the routes say to the sessions; those of LAYOUT_FILE Nest does not know. */
  private checkRoutes(): void {
    if (this.parts.config.layouts.file !== undefined) {
      return;
    }
    const patterns = [...this.messageHandlers.keys()].sort().join(', ');
    const filters = this.parts.messages.routes
      .map(({ filter }) => filter)
      .sort()
      .join(', ');
    if (patterns !== filters) {
      throw new Error(`the device controller has patterns for ${patterns}, and routes lead from ${filters}`);
    }
  }
}
