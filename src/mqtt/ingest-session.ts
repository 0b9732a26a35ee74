import type { Duplex } from 'node:stream';
import { Logger } from '@nestjs/common';
import type { ClientSubscribeCallback, IConnackPacket, ISubscriptionMap, MqttClient } from 'mqtt';
import type { Config } from '../config/config.js';
import { contain, walled } from '../logging/walls.js';
import { Backoff } from '../time/backoff.js';
import { type Span, tracing } from '../tracing/tracing.js';
import { BrokerConnection, type BrokerSettings, type LeaveOptions, type Will } from './broker-connection.js';
import type {
  DeviceTrace,
  IngestCounters,
  MessageKind,
  MessageOutcome,
  TracedMessage,
} from './ingest-counters.js';
import { InboundMessage, type Route, type SettlementListener, type TopicRouter } from './topic-router.js';
import { FLAG_DUP, FLAG_RETAIN, MalformedStreamError, userPropertyOf } from './packets.js';
import { PacketReader, type PublishHandler } from './packet-reader.js';
import { adviceFor, SESSION_TAKEN_OVER } from './broker-answers.js';

/** What AWS IoT takes in one SUBSCRIBE. */
const FILTERS_PER_SUBSCRIBE = 8;
/** SUBSCRIBEs without an answer: the round trips of many filters take place together. */
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

export interface IngestContext {
  readonly broker: BrokerSettings;
  readonly limits: Pick<Config['mqtt'], 'maxPayloadBytes'>;
  readonly router: TopicRouter;
  readonly counters: IngestCounters;
  readonly trace: DeviceTrace;
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
   */
  changeSubscriptions(
    subscriptions: readonly SubscriptionOptions[],
    done: () => void = () => undefined,
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
      if (granted < qos) {
        this.logger.warn(
          `The broker grants ${filter} only at QoS ${granted}: messages can be lost on the way`,
          { filter, granted, qos },
        );
      }
      return false;
    }
    if (this.subscribeBackoff.failures % 16 === 0) {
      this.logger.error(
        `The broker refuses the subscription ${filter}${adviceFor(granted)}; allow this user to read it. Trying again`,
        { filter, code: granted },
      );
    }
    return true;
  }
}

/** Unsettled messages at which reading pauses; it resumes at half of it. */
const MAX_UNSETTLED = 16_384;

interface IngestLinkEvents {
  /** A retained message was handed on. */
  retained(): void;
}

/** One network connection of a session: messages in flight on it end with it. */
export class IngestLink implements PublishHandler, SettlementListener {
  reader!: PacketReader;
  private unsettled = 0;
  /** Paused, because too many messages are unsettled. */
  private held = false;
  /** Paused by the rooms. */
  private paused = false;
  private receivedAt = 0;
  private receivedMono = 0;
  /** Topics of messages that LOG_TRACE_TOPICS asks for. */
  private readonly traced = new WeakMap<InboundMessage, string>();
  /** Of messages that are traced by OpenTelemetry. */
  private readonly spans = new WeakMap<InboundMessage, Span>();

  constructor(
    private readonly context: IngestContext,
    private readonly retainedOnly: boolean,
    private readonly events: IngestLinkEvents,
  ) {}

  attach(network: Duplex): PacketReader {
    this.reader = new PacketReader(network, this, {
      protocolVersion: this.context.broker.protocolVersion,
      maxPayloadBytes: this.context.limits.maxPayloadBytes,
    });
    this.reader.on(
      'error',
      walled('mqtt', (error: Error) => {
        if (error instanceof MalformedStreamError) {
          this.context.counters.count('', 'other', 'malformed');
        }
      }),
    );
    return this.reader;
  }

  chunkReceived(): void {
    this.receivedAt = Date.now();
    this.receivedMono = performance.now();
  }

  publish(
    buffer: Buffer,
    flags: number,
    packetId: number,
    topicStart: number,
    topicEnd: number,
    payloadStart: number,
    payloadEnd: number,
  ): void {
    const retained = (flags & FLAG_RETAIN) !== 0;
    if (this.retainedOnly && !retained) {
      return;
    }
    const sequence = packetId === 0 ? -1 : this.reader.received(packetId, this.receivedMono);
    const { router } = this.context;
    const destination = router.resolve(buffer, topicStart, topicEnd);
    if (destination.route === null) {
      this.refuse(
        destination.kind,
        destination.outcome,
        destination.deviceId,
        payloadEnd - payloadStart,
        sequence,
      );
      this.noteRefused(destination.deviceId, destination.outcome, buffer, topicStart, topicEnd);
      if (this.context.trace.hasTopics) {
        this.traceTopic(buffer.toString('utf8', topicStart, topicEnd), {
          ...destination,
          route: undefined,
          bytes: payloadEnd - payloadStart,
        });
      }
      return;
    }
    const message = new InboundMessage(
      destination,
      buffer,
      payloadStart,
      payloadEnd,
      this.receivedAt,
      this.receivedMono,
      packetId,
      (flags & FLAG_DUP) !== 0,
      retained,
      sequence,
      this,
    );
    if (this.context.trace.hasTopics) {
      this.traced.set(message, buffer.toString('utf8', topicStart, topicEnd));
    }
    if (tracing.on) {
      this.trackSpan(message, buffer, packetId === 0 ? topicEnd : topicEnd + 2, payloadStart);
    }
    if (++this.unsettled >= MAX_UNSETTLED && !this.held) {
      this.held = true;
      this.holdOrRelease();
    }
    try {
      destination.route.handle(message);
    } catch (error) {
      // This message alone is affected: it is acknowledged, or the broker would send it for ever.
      contain('device', error);
      message.finish('failed');
    }
    if (retained) {
      this.events.retained();
    }
  }

  oversized(
    buffer: Buffer,
    flags: number,
    packetId: number,
    topicStart: number,
    topicEnd: number,
    bytes: number,
  ): void {
    if (this.retainedOnly && (flags & FLAG_RETAIN) === 0) {
      return;
    }
    const sequence = packetId === 0 ? -1 : this.reader.received(packetId, this.receivedMono);
    const destination = this.context.router.resolve(buffer, topicStart, topicEnd);
    const { route } = destination;
    this.refuse(route?.kind ?? 'other', 'too_large', destination.deviceId, bytes, sequence, route);
    this.noteRefused(destination.deviceId, 'too_large', buffer, topicStart, topicEnd);
    if (this.context.trace.hasTopics) {
      this.traceTopic(buffer.toString('utf8', topicStart, topicEnd), {
        deviceId: destination.deviceId,
        kind: route?.kind ?? 'other',
        route: route ?? undefined,
        outcome: 'too_large',
        bytes,
      });
    }
  }

  settled(message: InboundMessage, outcome: MessageOutcome): void {
    // Acknowledged first, so that an error in the next steps cannot prevent it.
    if (message.sequence >= 0) {
      this.reader.settle(message.sequence);
    }
    this.unsettled--;
    const { route } = message;
    const { counters, trace } = this.context;
    counters.count(route.layout ?? '', route.kind, outcome);
    if (message.deviceId !== '') {
      counters.heard(message.deviceId, message.end - message.start, outcome, message.receivedMono);
    }
    if (trace.active || trace.hasTopics) {
      this.trace(message, outcome);
    }
    if (tracing.on) {
      this.spans.get(message)?.end({ 'sluice.outcome': outcome });
    }
    if (this.held && this.unsettled <= MAX_UNSETTLED / 2) {
      this.held = false;
      this.holdOrRelease();
    }
  }

  partSettled(part: InboundMessage, outcome: MessageOutcome): void {
    const { deviceId, start, end, receivedMono } = part;
    if (deviceId !== '') {
      this.context.counters.heard(deviceId, end - start, outcome, receivedMono);
    }
    if (this.context.trace.active) {
      this.trace(part, outcome);
    }
  }

  private trace(message: InboundMessage, outcome: MessageOutcome): void {
    const { deviceId, route, start, end } = message;
    const traced: TracedMessage = { deviceId, kind: route.kind, route, outcome, bytes: end - start };
    const topic = this.traced.get(message);
    if (topic !== undefined) {
      this.traceTopic(topic, traced);
    }
    if (this.context.trace.active) {
      this.context.trace.message(traced);
    }
  }

  private traceTopic(topic: string, traced: TracedMessage): void {
    if (this.context.trace.takesTopic(topic)) {
      this.context.trace.topic(topic, traced);
    }
  }

  /** Pauses or resumes reading for the rooms. */
  pause(paused: boolean): void {
    if (paused !== this.paused) {
      this.paused = paused;
      this.holdOrRelease();
    }
  }

  private holdOrRelease(): void {
    if (this.held || this.paused) {
      this.reader.hold();
    } else {
      this.reader.release();
    }
  }

  /** From its receipt until it is stored and handed to the rooms; a device may have begun the trace. */
  private trackSpan(
    message: InboundMessage,
    buffer: Buffer,
    propertiesStart: number,
    payloadStart: number,
  ): void {
    if (!tracing.takesPublication(this.receivedMono)) {
      return;
    }
    const parent =
      this.context.broker.protocolVersion === 5
        ? userPropertyOf(buffer, propertiesStart, payloadStart, 'traceparent')
        : '';
    const { deviceId, route } = message;
    const span = tracing.start('publication', {
      kind: 'consumer',
      parent: parent === '' ? undefined : parent,
      startMs: this.receivedAt,
      facts: { 'sluice.device': deviceId, 'sluice.kind': route.kind },
    });
    this.spans.set(message, span);
  }

  /** Whose message no handler accepts: its device, or where the topic names none, the topic. */
  private noteRefused(
    deviceId: string,
    outcome: MessageOutcome,
    buffer: Buffer,
    topicStart: number,
    topicEnd: number,
  ): void {
    const { refused } = this.context.counters;
    if (refused.due()) {
      refused.refused(deviceId === '' ? buffer.toString('utf8', topicStart, topicEnd) : deviceId, outcome);
    }
  }

  /** Counts a message that no handler accepts. It is acknowledged, or the broker would send it for ever. */
  private refuse(
    kind: MessageKind,
    outcome: MessageOutcome,
    deviceId: string,
    bytes: number,
    sequence: number,
    route: Route | null = null,
  ): void {
    const { counters, trace } = this.context;
    counters.count(route?.layout ?? '', kind, outcome);
    if (trace.active) {
      trace.message({ deviceId, kind, route: route ?? undefined, outcome, bytes });
    }
    if (sequence >= 0) {
      this.reader.settle(sequence);
    }
  }
}
