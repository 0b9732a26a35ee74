import { Logger } from '@nestjs/common';
import type { ClientSubscribeCallback, IConnackPacket, ISubscriptionMap, MqttClient } from 'mqtt';
import { walled } from '../logging/walls.js';
import { Backoff } from './backoff.js';
import { BrokerConnection, type LeaveOptions } from './broker-connection.js';
import { IngestLink } from './ingest-link.js';
import type {
  IngestContext,
  IngestSessionEvents,
  IngestSessionOptions,
  SubscriptionOptions,
} from './ingest-session-options.js';
import { SESSION_TAKEN_OVER, adviceFor } from './reason-codes.js';

/**
 * One MQTT session that reads device topics: a connection that always comes back, its subscriptions, the packets past mqtt.js and
 * the window of messages that are not acknowledged. Who needs several sessions (a lease holder's and a local one, say)
 * makes several objects.
 */
export class IngestSession {
  private readonly logger: Logger;
  private readonly connection: BrokerConnection;
  private readonly subscribeBackoff: Backoff;
  private link: IngestLink | undefined;
  private client: MqttClient | undefined;
  private subscribeTimer: NodeJS.Timeout | undefined;
  private granted = false;
  private paused = false;
  /** Nobody knows how far a step came that failed: the next connection begins anew. */
  private readonly startAnew = (): void => this.connection.reset('an unforeseen error');

  constructor(
    private readonly context: IngestContext,
    private readonly options: IngestSessionOptions,
    private readonly events: IngestSessionEvents,
  ) {
    const { broker } = context;
    this.logger = new Logger(`Ingest/${options.name}`);
    this.subscribeBackoff = new Backoff(broker.reconnectMinMs, broker.reconnectMaxMs);
    this.connection = new BrokerConnection(broker, {
      name: options.name,
      clientId: options.clientId,
      clean: options.cleanStart === 'always',
      sessionExpiryS: options.sessionExpiryS,
      receiveMaximum: options.receiveMaximum,
      will: options.will,
      wrap: (network) => {
        const link = new IngestLink(context, options.retainedOnly ?? false, {
          retained: () => events.retained?.(),
        });
        this.link = link;
        return link.attach(network);
      },
      onUp: (client, connack) => this.subscribeAll(client, connack),
      onDown: (reason, code) => this.disconnected(reason, code),
    });
  }

  /** Connected and every subscription granted. */
  get up(): boolean {
    return this.granted;
  }

  /** CONNACK received and not lost since. */
  get connected(): boolean {
    return this.connection.connected;
  }

  /** It does not come back. */
  get ended(): boolean {
    return this.connection.ended;
  }

  /** QoS 1 messages of the current connection that are not acknowledged. */
  get unacknowledged(): number {
    return this.link?.reader.window.size ?? 0;
  }

  /** performance.now() of receipt of the oldest of them. */
  get oldestMono(): number | undefined {
    return this.link?.reader.window.oldestMono;
  }

  /** Sequence number of the oldest of them, or of the next message; see {@link InboundMessage.sequence}. */
  get oldestSequence(): number {
    return this.link?.reader.window.oldestSequence ?? 0;
  }

  start(): void {
    this.connection.open();
  }

  /** Stops reading, or goes on. Connections to come are held once they are subscribed. */
  pause(paused: boolean): void {
    this.paused = paused;
    if (this.granted || !paused) {
      this.link?.pause(paused);
    }
  }

  /** The broker sends nothing more of these filters than it has queued already. Resolves when it says so, or cannot. */
  unsubscribe(filters: readonly string[]): Promise<void> {
    return new Promise((resolve) => {
      if (this.client === undefined) {
        resolve();
      } else {
        this.client.unsubscribe([...filters], () => resolve());
      }
    });
  }

  /**
   * Acknowledges what is settled, then leaves in order: the broker does not publish the will (unless asked to), and keeps the
   * session for its expiry (unless told to discard it). What is not settled stays with the session.
   */
  async end(leave: LeaveOptions = {}): Promise<void> {
    clearTimeout(this.subscribeTimer);
    this.link?.reader.flushAcks();
    this.granted = false;
    await this.connection.close(leave);
  }

  private subscribeAll(client: MqttClient, connack: IConnackPacket): void {
    this.client = client;
    this.subscribeBackoff.reset();
    this.events.connected?.(connack.sessionPresent, connack);
    this.subscribe(client, connack.sessionPresent, this.options.subscriptions);
  }

  private disconnected(reason: string, code: number | undefined): boolean {
    clearTimeout(this.subscribeTimer);
    this.granted = false;
    this.client = undefined;
    this.link = undefined;
    const again = this.events.down?.(reason) !== false;
    if (code === SESSION_TAKEN_OVER) {
      this.logger.warn(`Another connection took over the session ${this.options.clientId}`);
      this.events.takenOver?.();
      return false;
    }
    return again;
  }

  /**
   * Subscribes after every connect, also when the broker says that it has the session: Mosquitto says so and has forgotten
   * shared subscriptions. A filter that is refused is asked for again; a SUBACK that does not come ends the connection.
   */
  private subscribe(
    client: MqttClient,
    sessionPresent: boolean,
    subscriptions: readonly SubscriptionOptions[],
  ): void {
    const { broker } = this.context;
    const topics: ISubscriptionMap = Object.fromEntries(
      subscriptions.map(({ filter, qos, retainHandling = 0 }) => [
        filter,
        { qos, ...(broker.protocolVersion === 5 ? { nl: false, rap: false, rh: retainHandling } : {}) },
      ]),
    );
    this.subscribeTimer = setTimeout(
      walled('mqtt', () => this.connection.reset(`no SUBACK within ${broker.connectTimeoutMs} ms`)),
      broker.connectTimeoutMs,
    );
    const answered: ClientSubscribeCallback = walled(
      'mqtt',
      (_error, _asked, packet) => {
        clearTimeout(this.subscribeTimer);
        if (client.connected) {
          this.subscribed(client, sessionPresent, subscriptions, packet?.granted ?? []);
        }
      },
      this.startAnew,
    );
    client.subscribe(topics, answered);
  }

  private subscribed(
    client: MqttClient,
    sessionPresent: boolean,
    subscriptions: readonly SubscriptionOptions[],
    codes: readonly unknown[],
  ): void {
    const refused = subscriptions.filter(
      (subscription, i) => subscription.optional !== true && this.isRefused(subscription, codes[i]),
    );
    if (refused.length === 0) {
      this.granted = true;
      this.link?.pause(this.paused);
      this.events.up?.(sessionPresent);
      return;
    }
    this.subscribeTimer = setTimeout(
      walled('mqtt', () => this.subscribe(client, sessionPresent, refused), this.startAnew),
      this.subscribeBackoff.nextMs(),
    );
  }

  private isRefused({ filter, qos }: SubscriptionOptions, code: unknown): boolean {
    const granted = typeof code === 'number' ? code : 0x80;
    if (granted < 0x80) {
      if (granted < qos) {
        this.logger.warn(
          `The broker grants ${filter} only at QoS ${granted}: messages can be lost on the way`,
        );
      }
      return false;
    }
    if (this.subscribeBackoff.failures % 16 === 0) {
      this.logger.error(
        `The broker refuses the subscription ${filter}${adviceFor(granted)}; allow this user to read it. Trying again`,
      );
    }
    this.events.refused?.(filter, granted);
    return true;
  }
}
