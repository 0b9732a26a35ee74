import type { IConnackPacket } from 'mqtt';
import type { Config } from '../config/config.js';
import type { Will } from './broker-connection.js';
import type { BrokerSettings } from './broker-settings.js';
import type { DeviceTrace } from './device-trace.js';
import type { IngestCounters } from './ingest-counters.js';
import type { TopicRouter } from './topic-router.js';

export interface SubscriptionOptions {
  filter: string;
  qos: 0 | 1;
  /** MQTT 5: 0 sends retained messages with every subscribing, 2 never. */
  retainHandling?: 0 | 1 | 2;
  /** The session is up without it, too. */
  optional?: boolean;
}

export interface IngestSessionOptions {
  /** For the log. */
  name: string;
  clientId: string;
  /** Clean start: `always` on every connect; `never` takes over whatever the broker has for the client id. */
  cleanStart: 'always' | 'never';
  /** Seconds the broker keeps the session without a connection. MQTT 5; on 3.1.1 a session that is not clean stays for ever. */
  sessionExpiryS?: number;
  receiveMaximum?: number;
  will?: Will;
  subscriptions: readonly SubscriptionOptions[];
  /** Only retained messages are handed on; live ones are passed over unseen. */
  retainedOnly?: boolean;
}

/** What a session tells its owner. */
export interface IngestSessionEvents {
  /** CONNACK received, nothing subscribed yet. */
  connected?(sessionPresent: boolean, connack: IConnackPacket): void;
  /** Every subscription is granted: from here on device messages arrive. */
  up?(sessionPresent: boolean): void;
  /**
   * The connection is lost; the session reconnects by itself unless this returns false: then it has ended. Who may not come back
   * without asking (a lease holder) says so here for every loss, since Mosquitto 2.0.11 does not tell a takeover from any other.
   */
  down?(reason: string): false | void;
  /** The broker refused a subscription; it is asked again, with backoff, and the session is not up. */
  refused?(filter: string, code: number): void;
  /** The broker says that another connection took the session over (MQTT 5). This one has ended and does not come back. */
  takenOver?(): void;
  /** A retained message was handed on. */
  retained?(): void;
}

export interface IngestContext {
  readonly broker: BrokerSettings;
  readonly limits: Pick<Config['mqtt'], 'maxPayloadBytes'>;
  readonly router: TopicRouter;
  readonly counters: IngestCounters;
  readonly trace: DeviceTrace;
}
