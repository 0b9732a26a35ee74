import type { Config } from '../config/config.js';
import type { Metrics } from '../metrics/metrics.js';
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
  /** What devices say in memory mode; sessions with another sink take theirs from it. */
  readonly messages: SessionMessages;
  /** The rooms of this instance: memory, or while Redis is away those of local mode. */
  readonly rooms: DeviceSink;
  readonly context: Omit<IngestContext, 'router'>;
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
export function contextFor({ context, config }: IngestParts, routes: readonly Route[]): IngestContext {
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

/** What devices say, as one session takes it: implemented in devices, made anew for each session with a sink of its own. */
export interface SessionMessages {
  /** The topics, each with the method that ends its messages. */
  readonly routes: readonly Route[];
  /** The same for another session: with another place for what devices say, and its own retained messages. */
  into(sink: DeviceSink, retained: RetainedState): SessionMessages;
  /** Sets the metadata of METADATA_FILE for devices of which no other was seen. */
  applyMetadataFile(): Promise<void>;
}
