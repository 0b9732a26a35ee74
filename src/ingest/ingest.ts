import type { Config } from '../config/config.js';
import type { Metrics } from '../metrics/metrics.js';
import type { IngestContext } from '../mqtt/ingest-link.js';
import type { IngestSession, SubscriptionOptions } from '../mqtt/ingest-session.js';
import { type Route, TopicRouter } from '../mqtt/topic-router.js';
import type { DeviceSink, Division, SharedStore } from './ports.js';
import type { RetainedState } from './retained-state.js';
import type { Upstream } from './upstream.js';

/** Token of {@link IngestParts}: provided by devices, asked for by the composition root, which provides {@link Ingest}. */
export const INGEST_PARTS = Symbol('SLUICE:INGEST_PARTS');

/** What every ingest mode is built from. */
export interface IngestParts {
  readonly config: Config;
  readonly metrics: Metrics;
  readonly upstream: Upstream;
  /** What devices say in memory mode; sessions with another sink take theirs from it. */
  readonly messages: SessionMessages;
  /** The retained messages of that. */
  readonly retained: RetainedState;
  /** The rooms of this instance: memory, or while Redis is away those of local mode. */
  readonly rooms: DeviceSink;
  readonly context: Omit<IngestContext, 'router'>;
  /** How the topics are divided among readers. */
  readonly division: Division;
  /** Part of the client ids of this process. */
  readonly instance: string;
}

/** The same for instances that share a store. */
export interface SharedIngestParts extends IngestParts {
  readonly store: SharedStore;
}

/** How this instance gets device messages. It tells {@link Upstream} whether they can reach it. */
export abstract class Ingest {
  /** Connected to the broker. */
  abstract readonly connected: boolean;
  /** What a message waits at the broker until it is stored, or shown here, for what this instance reads; 0 where it reads nothing. */
  abstract readonly behindMs: number;
  /** Sessions that may have unacknowledged messages; for metrics. */
  abstract readonly sessions: readonly IngestSession[];

  /** Starts in the background. */
  abstract start(): void;

  /** Leaves the broker in order. */
  abstract stop(): Promise<void>;
}

/** The context of a session with these routes. */
export function contextFor({ context, config }: IngestParts, routes: readonly Route[]): IngestContext {
  const unmatched = (topic: string): void => context.counters.unmatched.note(topic);
  return {
    ...context,
    router: new TopicRouter(routes, Math.max(10_000, config.rooms.maxDevices), unmatched),
  };
}

/** Subscriptions to live messages, without the retained ones. */
export function liveSubscriptions({
  subscriptions,
}: Pick<SessionMessages, 'subscriptions'>): SubscriptionOptions[] {
  return subscriptions.map(({ filter, qos }) => ({ filter, qos, retainHandling: 2 }));
}

/** Identifies the transport of the device patterns, so that other transports of the application do not handle them. */
export const DEVICE_TRANSPORT = Symbol('SLUICE:DEVICE_TRANSPORT');

/** What devices say, as one session takes it: implemented in devices, made anew for each session with a sink of its own. */
export interface SessionMessages {
  /** The topics, each with the method that ends its messages. */
  readonly routes: readonly Route[];
  /** The filters that bring these topics, disjoint: some brokers deliver a message once for each that matches. */
  readonly subscriptions: readonly Pick<Route, 'filter' | 'qos'>[];
  /**
   * The filters, disjoint, that bring what these devices say and little else.
   * @param max most filters
   * @returns null where that cannot be said in so many
   */
  subscriptionsFor(deviceIds: Iterable<string>, max: number): SessionMessages['subscriptions'] | null;
  /** Called when routes and subscriptions are others. @returns removes the listener */
  onRoutes(listener: () => void): () => void;
  /**
   * The same for another session: with another place for what devices say, and its own retained messages.
   * @param shard its part of the topics and devices; none: all
   */
  into(sink: DeviceSink, retained: RetainedState, shard?: number): SessionMessages;
  /** Sets the metadata of METADATA_FILE for devices without other metadata. */
  applyMetadataFile(): Promise<void>;
  /** Sets it again when the file has changed. @returns ends that */
  followMetadataFile(): () => void;

  /** The session is connected, and no message has come through it. @param missed messages may have been missed */
  connected(missed: boolean): void;
  /** All that the broker had queued and retained was read. */
  caughtUp(): void;
  /** The connection is lost. */
  disconnected(): void;
  /** Publishes what waits for more of its device: reading is about to end. */
  flush(): void;
  /** The session has ended. What is not stored stays with the broker. */
  end(): void;
}
