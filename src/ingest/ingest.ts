import type { Config } from '../config/config.js';
import type { Metrics } from '../metrics/metrics.js';
import type { MessageKind } from '../mqtt/ingest-counters.js';
import type { IngestContext, IngestSession, SubscriptionOptions } from '../mqtt/ingest-session.js';
import { type Route, TopicRouter } from '../mqtt/topic-router.js';
import type { DeviceSink, SharedStore } from './ports.js';
import type { RetainedState } from './retained-state.js';
import type { Upstream } from './upstream.js';

/** What a way of reading device topics is made from. */
export interface IngestParts {
  readonly config: Config;
  readonly metrics: Metrics;
  readonly upstream: Upstream;
  readonly handlers: DeviceHandlers;
  readonly context: Omit<IngestContext, 'router'>;
  /** The patterns of the controller, each with its method of these handlers. */
  routes(handlers: DeviceHandlers): Route[];
  /** Part of the client ids of this process. */
  readonly instance: string;
}

/** The same where several instances share a store. */
export interface SharedIngestParts extends IngestParts {
  readonly store: SharedStore;
}

/** How this instance comes by device messages. It tells {@link Upstream} whether they can reach it. */
export abstract class Ingest {
  /** The connection to the broker stands. */
  abstract readonly connected: boolean;
  /** Sessions with messages that may not be acknowledged yet; for metrics. */
  abstract readonly sessions: readonly IngestSession[];

  /** Begins in the background. */
  abstract start(): void;

  /** Leaves the broker in order. */
  abstract stop(): Promise<void>;
}

/** What a session with these routes needs to know. */
export function contextFor({ context, config }: IngestParts, routes: Route[]): IngestContext {
  return { ...context, router: new TopicRouter(routes, Math.max(10_000, config.rooms.maxDevices)) };
}

/** Subscriptions to what is live: retained messages do not come with them. */
export function liveSubscriptions(routes: readonly Route[]): SubscriptionOptions[] {
  return routes.map(({ filter, qos }) => ({ filter, qos, retainHandling: 2 }));
}

/** The subscription to markers; without the right to it a return takes longer, and that is all. */
export function markerSubscription(filter: string): SubscriptionOptions {
  return { filter, qos: 1, retainHandling: 2, optional: true };
}

/** The transport of the device patterns: keeps other transports of the application from taking them. */
export const DEVICE_TRANSPORT = Symbol('SLUICE:DEVICE_TRANSPORT');

/** What an `@EventPattern` of the device controller says beside its topic filter. */
export interface IngestRoute {
  /** The method it stands on: called directly, past Nest's proxies and RxJS, once per message. */
  readonly method: string;
  /** Label of the metrics. */
  readonly kind: MessageKind;
  /** Quality of service of the subscription. */
  readonly qos: 0 | 1;
}

/** The controller that the patterns stand on, as the transport uses it. */
export interface DeviceHandlers {
  /** The same methods for another session: with another place for what devices say, and its own retained messages. */
  into(sink: (rooms: DeviceSink) => DeviceSink, retained: RetainedState): DeviceHandlers;
  /** Sets the metadata of METADATA_FILE for devices of which no other was seen. */
  applyMetadataFile(): Promise<void>;
}
