import { Logger } from '@nestjs/common';
import type { ClientSubscribeCallback, IConnackPacket, ISubscriptionMap, MqttClient } from 'mqtt';
import { walled } from '../logging/walls.js';
import { Backoff } from '../time/backoff.js';
import { BrokerConnection, type LeaveOptions, type Will } from './broker-connection.js';
import { adviceFor, SESSION_TAKEN_OVER } from './broker-answers.js';
import { type IngestContext, IngestLink } from './ingest-link.js';

/** What AWS IoT takes in one SUBSCRIBE. */
const FILTERS_PER_SUBSCRIBE = 8;
/** Lines of the log about filters that were asked for together: many thousand may be refused at once. */
const MAX_LINES = 8;
/** SUBSCRIBE packets that may be unanswered, so that many filters do not cost a round trip each. */
const MAX_SUBSCRIBES = 16;

export interface SubscriptionOptions {
  filter: string;
  qos: 0 | 1;
  /** MQTT 5: 0 sends retained messages with every subscribe, 2 never. */
  retainHandling?: 0 | 1 | 2;
  /** The session is up without this subscription, too. */
  optional?: boolean;
}

export interface IngestSessionOptions {
  /** For the log. */
  name: string;
  clientId: string;
  /** Clean start: `always` on every connect; `never` continues the broker's session of the client id. */
  cleanStart: 'always' | 'never';
  /** Seconds the broker keeps the session without a connection. MQTT 5; on 3.1.1 a session that is not clean is kept for ever. */
  sessionExpiryS?: number;
  receiveMaximum?: number;
  will?: Will;
  subscriptions: readonly SubscriptionOptions[];
  /** Only retained messages are handled; live ones are ignored. */
  retainedOnly?: boolean;
}

/** Events of a session. */
export interface IngestSessionEvents {
  /** CONNACK received, nothing subscribed yet. */
  connected?(sessionPresent: boolean, connack: IConnackPacket): void;
  /** Every subscription is granted: from here on device messages arrive. */
  up?(sessionPresent: boolean): void;
  /**
   * The connection is lost; the session reconnects unless this returns false, which ends it. A lease holder returns false for every
   * loss, because Mosquitto 2.0.11 does not report a takeover.
   */
  down?(reason: string): false | void;
  /** Another connection took the session over, as the broker reports (MQTT 5). This one has ended and does not reconnect. */
  takenOver?(): void;
  /** A retained message was handed on. */
  retained?(): void;
  /** The broker refuses a subscription; it is asked for again. */
  refused?(): void;
}

/**
 * One MQTT session that reads device topics: a connection that always reconnects, its subscriptions, the packets that bypass mqtt.js and
 * the window of unacknowledged messages. A reader with several sessions (a lease holder's and a local one) creates several objects.
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
  private subscriptions: readonly SubscriptionOptions[];
  private linesLeft = MAX_LINES;
  private linesLeftOut = 0;
  /** Filters that the broker may still have for this session. */
  private readonly obsolete = new Set<string>();
  /** How far the failed step came is unknown: a new connection replaces this one. */
  private readonly startAnew = (): void => this.connection.reset('an unforeseen error');

  constructor(
    private readonly context: IngestContext,
    private readonly options: IngestSessionOptions,
    private readonly events: IngestSessionEvents,
  ) {
    const { broker } = context;
    this.subscriptions = options.subscriptions;
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

  /** It does not reconnect. */
  get ended(): boolean {
    return this.connection.ended;
  }

  /** Topics that it remembers. */
  get topics(): number {
    return this.context.router.remembered;
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

  /** Pauses or resumes reading. Later connections are paused as soon as they are subscribed. */
  pause(paused: boolean): void {
    this.paused = paused;
    if (this.granted || !paused) {
      this.link?.pause(paused);
    }
  }

  /**
   * Other topics are wanted, now and after each connect. The new ones are asked for before the old ones are let go: where both take a
   * message, it may come twice in between, and none is lost.
   * @param done all new ones are granted; not called when the connection is lost before
   * @param inPlace the old ones are let go first: for a broker that takes no more beside them
   */
  changeSubscriptions(
    subscriptions: readonly SubscriptionOptions[],
    done: () => void = () => undefined,
    inPlace = false,
  ): void {
    const before = new Set(this.subscriptions.map(({ filter }) => filter));
    const filters = new Set(subscriptions.map(({ filter }) => filter));
    const added = subscriptions.filter(({ filter }) => !before.has(filter));
    before.forEach((filter) => {
      if (!filters.has(filter)) {
        this.obsolete.add(filter);
      }
    });
    filters.forEach((filter) => this.obsolete.delete(filter));
    this.subscriptions = subscriptions;
    const { client } = this;
    if (client === undefined) {
      return; // with the next connection
    }
    if (!this.granted) {
      this.connection.reset('other topics are wanted'); // in the middle of asking for the old ones
      return;
    }
    if (inPlace) {
      this.letGo(client);
    }
    this.subscribe(client, true, added, () => {
      this.letGo(client);
      done();
    });
  }

  /** Topics that others read: if the broker still has them for this session, it shall forget them. Those wanted here are kept. */
  disown(filters: readonly string[]): void {
    const wanted = new Set(this.subscriptions.map(({ filter }) => filter));
    filters.filter((filter) => !wanted.has(filter)).forEach((filter) => this.obsolete.add(filter));
    if (this.client !== undefined && this.granted) {
      this.letGo(this.client);
    }
  }

  private letGo(client: MqttClient): void {
    const obsolete = [...this.obsolete];
    this.obsolete.clear();
    for (let at = 0; at < obsolete.length; at += FILTERS_PER_SUBSCRIBE) {
      client.unsubscribe(obsolete.slice(at, at + FILTERS_PER_SUBSCRIBE));
    }
  }

  /** Publishes an empty message at QoS 1 on this connection; does nothing without one. */
  publish(topic: string): void {
    this.client?.publish(topic, '', { qos: 1 }, () => undefined);
  }

  /** The broker sends only what it has already queued for these filters. Resolves when it confirms that, or cannot. */
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
   * Acknowledges settled messages, then leaves in order: the broker does not publish the will (unless asked to), and keeps the session for
   * its expiry (unless told to discard it). Unsettled messages stay with the session.
   */
  async end(leave: LeaveOptions = {}): Promise<void> {
    clearTimeout(this.subscribeTimer);
    this.link?.reader.flushAcks();
    this.granted = false;
    await this.connection.close(leave);
  }

  private subscribeAll(client: MqttClient, connack: IConnackPacket): void {
    this.client = client;
    if (!connack.sessionPresent) {
      this.obsolete.clear();
    }
    this.subscribeBackoff.reset();
    this.events.connected?.(connack.sessionPresent, connack);
    this.subscribe(client, connack.sessionPresent, this.subscriptions);
  }

  private disconnected(reason: string, code: number | undefined): boolean {
    clearTimeout(this.subscribeTimer);
    this.granted = false;
    this.client = undefined;
    this.link = undefined;
    const again = this.events.down?.(reason) !== false;
    if (code === SESSION_TAKEN_OVER) {
      const { clientId } = this.options;
      this.logger.warn(`Another connection took over the session ${clientId}`, { clientId });
      this.events.takenOver?.();
      return false;
    }
    return again;
  }

  /**
   * Subscribes after every connect, even if the broker reports an existing session: Mosquitto does so after it lost shared subscriptions.
   * A few filters a packet, since some brokers take no more in one, and some packets at a time. A refused filter is requested again; a missing
   * SUBACK ends the connection.
   */
  private subscribe(
    client: MqttClient,
    sessionPresent: boolean,
    subscriptions: readonly SubscriptionOptions[],
    done: () => void = () => this.wentUp(client, sessionPresent),
  ): void {
    const refused: SubscriptionOptions[] = [];
    let next = 0;
    let answered = 0;
    this.linesLeft = MAX_LINES;
    this.linesLeftOut = 0;
    const askSome = (): void => {
      while (next < subscriptions.length && next - answered < FILTERS_PER_SUBSCRIBE * MAX_SUBSCRIBES) {
        const asked = subscriptions.slice(next, next + FILTERS_PER_SUBSCRIBE);
        next += asked.length;
        this.ask(client, asked, (refusedNow) => {
          answered += asked.length;
          refused.push(...refusedNow);
          if (answered === subscriptions.length) {
            clearTimeout(this.subscribeTimer);
            this.subscribed(client, sessionPresent, refused, done);
          } else {
            askSome();
          }
        });
      }
    };
    if (subscriptions.length === 0) {
      done();
    } else {
      askSome();
    }
  }

  /** Sends one SUBSCRIBE. @param answered called with those that are refused, while the connection lasts */
  private ask(
    client: MqttClient,
    asked: readonly SubscriptionOptions[],
    answered: (refused: readonly SubscriptionOptions[]) => void,
  ): void {
    const { broker } = this.context;
    const topics: ISubscriptionMap = Object.fromEntries(
      asked.map(({ filter, qos, retainHandling = 0 }) => [
        filter,
        { qos, ...(broker.protocolVersion === 5 ? { nl: false, rap: false, rh: retainHandling } : {}) },
      ]),
    );
    // A filter that is a number comes first in an object, whatever the order was.
    const order = Object.keys(topics);
    clearTimeout(this.subscribeTimer);
    this.subscribeTimer = setTimeout(
      walled('mqtt', () => this.connection.reset(`no SUBACK within ${broker.connectTimeoutMs} ms`)),
      broker.connectTimeoutMs,
    );
    const taken: ClientSubscribeCallback = walled(
      'mqtt',
      (_error, _asked, packet) => {
        if (!client.connected || this.client !== client) {
          return;
        }
        this.subscribeTimer?.refresh();
        const codes = packet?.granted ?? [];
        answered(
          asked.filter(
            (subscription) =>
              subscription.optional !== true &&
              this.isRefused(subscription, codes[order.indexOf(subscription.filter)]),
          ),
        );
      },
      this.startAnew,
    );
    client.subscribe(topics, taken);
  }

  private subscribed(
    client: MqttClient,
    sessionPresent: boolean,
    refused: readonly SubscriptionOptions[],
    done: () => void,
  ): void {
    if (this.linesLeftOut > 0) {
      const leftOut = this.linesLeftOut;
      this.logger.warn(`The broker refuses or lessens ${leftOut} subscriptions more`, { leftOut });
    }
    if (refused.length === 0) {
      done();
      return;
    }
    this.subscribeTimer = setTimeout(
      walled('mqtt', () => this.subscribe(client, sessionPresent, refused, done), this.startAnew),
      this.subscribeBackoff.nextMs(),
    );
    this.events.refused?.();
  }

  private wentUp(client: MqttClient, sessionPresent: boolean): void {
    this.granted = true;
    this.letGo(client);
    this.link?.pause(this.paused);
    this.events.up?.(sessionPresent);
  }

  private isRefused({ filter, qos }: SubscriptionOptions, code: unknown): boolean {
    const granted = typeof code === 'number' ? code : 0x80;
    if (granted < 0x80) {
      if (granted < qos && this.mayTell()) {
        this.logger.warn(
          `The broker grants ${filter} only at QoS ${granted}: messages can be lost on the way`,
          { filter, granted, qos },
        );
      }
      return false;
    }
    if (this.subscribeBackoff.failures % 16 === 0 && this.mayTell()) {
      this.logger.error(
        `The broker refuses the subscription ${filter}${adviceFor(granted)}; allow this user to read it. Trying again`,
        { filter, code: granted },
      );
    }
    return true;
  }

  /** The first few filters are named, the others counted. */
  private mayTell(): boolean {
    this.linesLeft -= 1;
    this.linesLeftOut += this.linesLeft < 0 ? 1 : 0;
    return this.linesLeft >= 0;
  }
}
