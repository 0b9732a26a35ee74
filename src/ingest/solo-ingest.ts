import { randomBytes } from 'node:crypto';
import { Logger, type OnApplicationBootstrap } from '@nestjs/common';
import { background, walled } from '../logging/walls.js';
import { warnOfGrants } from '../mqtt/broker-answers.js';
import type { IngestContext } from '../mqtt/ingest-link.js';
import { IngestSession, type SubscriptionOptions } from '../mqtt/ingest-session.js';
import { OwnMarkers } from './notes/own-markers.js';
import { RetainedReader } from './retained-pass.js';
import type { RetainedState } from './retained-state.js';
import { contextFor, Ingest, type IngestParts, liveSubscriptions } from './ingest.js';

/**
 * Seconds the broker keeps the session of a process that lost its connection: long enough for a restart of the broker or a network outage,
 * short enough that a dead process does not leave a queue behind for long.
 */
const SESSION_EXPIRY_S = 300;
/** Between two looks at what waits at the broker. */
const BEHIND_LOOK_MS = 1_000;

/** One instance alone: an {@link IngestSession} for live messages, and a {@link RetainedReader} for retained ones. */
export class SoloIngest extends Ingest implements OnApplicationBootstrap {
  private readonly logger = new Logger('Ingest');
  private readonly context: IngestContext;
  private readonly retained: RetainedState;
  private session: IngestSession | undefined;
  private retainedReader: RetainedReader | undefined;
  private markers: OwnMarkers | undefined;
  private timer: NodeJS.Timeout | undefined;
  private stopped = false;
  private stopFollowing: (() => void) | undefined;
  private stopRoutes: (() => void) | undefined;

  constructor(private readonly parts: IngestParts) {
    super();
    this.retained = parts.retained;
    this.context = contextFor(parts, parts.messages.routes);
  }

  get connected(): boolean {
    return this.session?.connected ?? false;
  }

  /** What a message waits at the broker until it is read. */
  get behindMs(): number {
    return this.markers?.behindMs ?? 0;
  }

  get sessions(): readonly IngestSession[] {
    return this.session === undefined ? [] : [this.session];
  }

  /** Applies the file before the first connection; the other modes apply it when they have read the retained messages. */
  async onApplicationBootstrap(): Promise<void> {
    await this.parts.messages.applyMetadataFile();
    this.stopFollowing = this.parts.messages.followMetadataFile();
  }

  start(): void {
    const { parts, context } = this;
    const { broker } = context;
    const { mqtt, redis } = parts.config;
    this.markers?.stop();
    const markers = new OwnMarkers(redis.namespace, parts.instance, () => session);
    this.markers = markers;
    const subscriptions = (): SubscriptionOptions[] => [
      ...liveSubscriptions(parts.messages),
      ...markers.subscriptions,
    ];
    const routes = () => [...parts.messages.routes, markers.route];
    context.router.replace(routes());
    const session: IngestSession = new IngestSession(
      context,
      {
        name: 'live',
        // A client id of its own: another process that uses it is a mistake, which must not cause mutual takeovers.
        clientId: `${redis.namespace}-ingest-${randomBytes(6).toString('hex')}`,
        // A new client id has no session to clean. But Mosquitto does not write a session that began clean to its disk, so a killed broker
        // forgets it. MQTT 3.1.1 has no expiry: there a kept session would queue for ever after this process ended.
        cleanStart: broker.protocolVersion === 5 ? 'never' : 'always',
        sessionExpiryS: SESSION_EXPIRY_S,
        receiveMaximum: mqtt.receiveMaximum,
        subscriptions: subscriptions(),
      },
      {
        connected: (sessionPresent, connack) => {
          parts.metrics.mqttConnected.set(1);
          markers.connected();
          warnOfGrants(this.logger, connack, { sessionExpiryS: SESSION_EXPIRY_S, shared: false });
          this.retained.begin(!sessionPresent);
          parts.messages.connected(!sessionPresent);
        },
        up: () => this.up(),
        down: () => {
          if (markers.disconnected()) {
            session.changeSubscriptions(subscriptions());
          }
          this.down();
        },
        takenOver: () => {
          parts.metrics.takeovers.inc({ what: 'session' });
          if (!this.stopped) {
            this.start();
          }
        },
      },
    );
    this.session = session;
    session.start();
    clearInterval(this.timer);
    this.timer = setInterval(
      walled('ingest', () => parts.upstream.setBehind(this.behindMs)),
      BEHIND_LOOK_MS,
    );
    this.stopRoutes?.();
    this.stopRoutes = parts.messages.onRoutes(() => {
      context.router.replace(routes());
      session.changeSubscriptions(subscriptions());
      if (session.up) {
        this.retained.begin(false, true); // what is new here only fills what is not known
        this.readRetained();
      }
    });
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.stopFollowing?.();
    this.stopRoutes?.();
    clearInterval(this.timer);
    this.markers?.stop();
    this.parts.messages.flush();
    this.parts.messages.end();
    await Promise.all([this.retainedReader?.stop(), this.session?.end({ discardSession: true })]);
  }

  private up(): void {
    const { parts, context } = this;
    this.logger.log(`Reading device topics from ${context.broker.name}`, { broker: context.broker.name });
    parts.upstream.set(true);
    this.readRetained();
  }

  private readRetained(): void {
    const { parts, context } = this;
    background('ingest', this.retainedReader?.stop());
    const clientId = `${parts.config.redis.namespace}-retained-${parts.instance}`;
    this.retainedReader = new RetainedReader(context, parts.messages, clientId, () => {
      this.retained.end();
      parts.messages.caughtUp();
    });
    this.retainedReader.start();
  }

  private down(): void {
    const { messages, metrics, upstream } = this.parts;
    messages.disconnected();
    metrics.mqttConnected.set(0);
    if (!this.stopped) {
      metrics.mqttReconnects.inc();
    }
    upstream.set(false);
    background('ingest', this.retainedReader?.stop());
    this.retainedReader = undefined;
  }
}
