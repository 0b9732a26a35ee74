import { SuspectDevices } from './suspect-devices.js';
import { Inject, Injectable, Logger } from '@nestjs/common';
import type { IConnackPacket, MqttClient, Packet } from 'mqtt';
import { CONFIG, type Config } from '../config/config.js';
import { walled } from '../logging/walls.js';
import { isDeviceId } from '../protocol/device-id.js';
import { ProtocolError } from '../protocol/errors.js';
import { BrokerConnection, type BrokerSettings, type ClientSubscribeCallback } from './broker-connection.js';
import { adviceFor, NO_MATCHING_SUBSCRIBERS, PACKET_REFUSED } from './broker-answers.js';
import { CommandRoutes } from './command-routes.js';
import { type ReplyListener, ReplyReader } from './reply-reader.js';

/** The broker's answer: somebody was subscribed, or nobody; MQTT 3.1.1, and QoS 0, cannot tell. */
export type CommandOutcome = 'delivered' | 'undelivered' | 'unknown';

/** How a command goes out, where its device's layout says so; by default to `devices/{deviceId}/commands` at QoS 1. */
export interface CommandWay {
  readonly topic: string;
  readonly qos: 0 | 1;
  /** MQTT 5 Correlation Data, ASCII: whoever can show it has got the command. */
  readonly correlation?: string;
  /** MQTT 5: goes on to the device as a user property. */
  readonly traceparent?: string;
}

/** broker_unavailable where it is certain that the command was not published. */
export class UnsentError extends ProtocolError {
  constructor(why: string) {
    super('broker_unavailable', why);
  }
}

interface PendingCommand {
  readonly deviceId: string;
  readonly payload: Buffer;
  readonly way: CommandWay;
  readonly timer: NodeJS.Timeout;
  readonly refusal: () => ProtocolError | null;
  /** Time of the publish; undefined while it waits. */
  sentAt: number | undefined;
  settle(outcome: CommandOutcome | ProtocolError): void;
}

/** Time a command waits for the first connection after the start. */
const START_WAIT_MS = 1_000;
/** Most bytes that a PUBLISH adds to topics, correlation and payload: fixed header, their lengths, packet id, properties. */
const PUBLISH_OVERHEAD_BYTES = 26;
/** The name of its user property, and their lengths. */
const TRACE_OVERHEAD_BYTES = 16;
/** MQTT 5: the broker keeps answers of devices for this time while the connection is made anew. */
const SESSION_EXPIRY_S = 60;
/** AWS IoT Core takes no more filters in one SUBSCRIBE. */
const FILTERS_PER_SUBSCRIBE = 8;
/** A broker that refused the subscription to answers, or ended the connection over it, is asked again after this time. */
const SUBSCRIBE_AGAIN_MS = 60_000;
const ERROR_LOG_INTERVAL_MS = 5_000;
/** A connection that ends this soon after a publish may have ended because of it. */
const BLAME_WITHIN_MS = 1_000;

/**
 * Sends commands to devices at QoS 1 and reports the broker's acknowledgement. A command belongs to one connection: when that is lost or
 * silent, unacknowledged commands are refused and never sent again, since a machine must not act on a command whose sender was told that it
 * failed. The connection is reset, so that nothing in a socket buffer arrives later either.
 *
 * The answers of devices come in on the same connection, so that a subscription to them is always there before a command. Every instance
 * reads all of them: the one that asked knows its own by itself, without Redis, and another can take over what it knows the secret of.
 */
@Injectable()
export class CommandPublisher {
  private readonly logger = new Logger(CommandPublisher.name);
  private readonly pending = new Set<PendingCommand>();
  private readonly waiting: PendingCommand[] = [];
  private readonly suspects = new SuspectDevices();
  private connection: BrokerConnection | undefined;
  private client: MqttClient | undefined;
  /** QoS 1 publishes the broker accepts at once. */
  private window = 0;
  private inFlight = 0;
  private maxPacketBytes = Infinity;
  private lastPubackCode = 0;
  private starting = false;
  private closing = false;
  /** This process is ending the connection. */
  private resetting = false;
  private startTimer: NodeJS.Timeout | undefined;
  private idle: (() => void) | undefined;
  private lastErrorLogAt = -Infinity;
  private replies: ReplyListener | undefined;
  /** The SUBSCRIBE of this connection is not answered. */
  private subscribing = false;
  /** Runs while answers are not asked for. */
  private subscribeTimer: NodeJS.Timeout | undefined;
  private subscribeRefusalSaid = false;
  /** Filters that are subscribed, or asked for. */
  private asked: readonly string[] = [];
  /** Replaced in tests. */
  private readonly subscribeAgainMs: number = SUBSCRIBE_AGAIN_MS;

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    private readonly routes: CommandRoutes,
  ) {}

  /** Where devices answer that speak MQTT 5; undefined where Sluice does not. */
  get responseTopic(): string | undefined {
    const { mqtt, redis } = this.config;
    return mqtt.protocolVersion === '5' ? `${redis.namespace}/replies` : undefined;
  }

  /** @param listener told of every answer of a device, whichever instance asked */
  listen(listener: ReplyListener): void {
    this.replies = listener;
  }

  /** Connects in the background. */
  open(broker: BrokerSettings, clientId: string): void {
    this.starting = true;
    this.startTimer = setTimeout(
      walled('mqtt', () => this.refuseWaiting()),
      START_WAIT_MS,
    );
    this.connection = new BrokerConnection(broker, {
      name: 'commands',
      clientId,
      // Sessions of MQTT 3.1.1 never expire.
      clean: broker.protocolVersion !== 5,
      sessionExpiryS: SESSION_EXPIRY_S,
      wrap: (network) =>
        new ReplyReader(
          {
            reply: (...reply) => this.replies?.reply(...reply),
            oversized: () => this.replies?.oversized(),
          },
          { protocolVersion: broker.protocolVersion, maxPayloadBytes: this.config.mqtt.maxPayloadBytes },
        ).attach(network),
      onUp: (client, connack) => this.up(client, connack),
      onDown: (_reason, code) => this.down(code),
    });
    this.connection.open();
  }

  /**
   * Publishes one command.
   * @param payload the command as JSON, exactly what the device gets
   * @param refusal called in the step that publishes: why the command may not be sent any more, if it had to wait; null if it may
   * @returns once the broker has acknowledged it
   * @throws {ProtocolError} broker_unavailable: not acknowledged, and never sent again ({@link UnsentError} where it certainly was not
   * published); payload_too_large; the error of `refusal`
   */
  send(
    deviceId: string,
    payload: Buffer,
    refusal: () => ProtocolError | null = () => null,
    way: CommandWay = { topic: `devices/${deviceId}/commands`, qos: 1 },
  ): Promise<CommandOutcome> {
    const { maxPayloadBytes, outboxMax, timeoutMs } = this.config.commands;
    if (!isDeviceId(deviceId)) {
      return Promise.reject(new ProtocolError('invalid_message', 'deviceId is not a legal device id'));
    }
    const { topic, correlation = '', traceparent = '' } = way;
    const packetBytes =
      payload.length +
      Buffer.byteLength(topic) +
      Buffer.byteLength(this.responseTopic ?? '') +
      correlation.length +
      (traceparent === '' ? 0 : traceparent.length + TRACE_OVERHEAD_BYTES) +
      PUBLISH_OVERHEAD_BYTES;
    if (payload.length > maxPayloadBytes || packetBytes > this.maxPacketBytes) {
      return Promise.reject(
        new ProtocolError('payload_too_large', `A command may have at most ${maxPayloadBytes} bytes`),
      );
    }
    if ((this.client === undefined && !this.starting) || this.closing) {
      return Promise.reject(new UnsentError('The broker is not connected'));
    }
    if (this.suspects.holds(deviceId)) {
      return Promise.reject(new UnsentError('The broker ends the connection over commands to this device'));
    }
    if (this.pending.size >= outboxMax) {
      return Promise.reject(new UnsentError('Too many commands are waiting for the broker'));
    }
    return new Promise((resolve, reject) => {
      const command: PendingCommand = {
        deviceId,
        payload,
        way,
        refusal,
        sentAt: undefined,
        timer: setTimeout(
          walled('mqtt', () => this.timedOut(command)),
          timeoutMs,
        ),
        settle: (outcome) => {
          if (!this.pending.delete(command)) {
            return;
          }
          clearTimeout(command.timer);
          if (outcome instanceof ProtocolError) {
            reject(outcome);
          } else {
            resolve(outcome);
          }
          if (this.pending.size === 0) {
            this.idle?.();
          }
        },
      };
      this.pending.add(command);
      this.waiting.push(command);
      this.pump();
    });
  }

  /** Publishes at QoS 0, once or never: for what is asked again. @returns false when there is no connection */
  tell(topic: string, payload: Buffer): boolean {
    if (this.client === undefined || this.closing) {
      return false;
    }
    this.client.publish(topic, payload, { qos: 0 });
    return true;
  }

  /** Accepts no more commands, waits for the answers of pending ones (each has its timeout), leaves. */
  async close(): Promise<void> {
    this.closing = true;
    clearTimeout(this.startTimer);
    clearTimeout(this.subscribeTimer);
    if (this.client === undefined) {
      this.refuseAll('Sluice is stopping');
    } else if (this.pending.size > 0) {
      await new Promise<void>((resolve) => {
        this.idle = resolve;
      });
    }
    await this.connection?.close({ discardSession: true });
  }

  private up(client: MqttClient, connack: IConnackPacket): void {
    this.started();
    const {
      receiveMaximum = 65_535,
      maximumPacketSize = Infinity,
      maximumQoS = 1,
    } = connack.properties ?? {};
    if (maximumQoS < 1) {
      this.logger.error('The broker takes no QoS 1: it cannot acknowledge commands, they will time out');
    }
    // mqtt.js does not pass reason 16 to the callback of a publish, but emits every packet just before it calls it.
    client.on(
      'packetreceive',
      walled('mqtt', (packet: Packet) => {
        if (packet.cmd === 'puback') {
          this.lastPubackCode = packet.reasonCode ?? 0;
        }
      }),
    );
    this.client = client;
    this.resetting = false;
    this.window = receiveMaximum;
    this.maxPacketBytes = maximumPacketSize;
    this.inFlight = 0;
    this.subscribe(client);
    this.pump();
  }

  /** Devices answer on other topics from now on. */
  repliesChanged(): void {
    const { client } = this;
    if (client?.connected === true) {
      const before = this.asked;
      this.subscribe(client);
      const obsolete = before.filter((filter) => !this.asked.includes(filter));
      if (obsolete.length > 0) {
        client.unsubscribe([...obsolete]);
      }
    }
  }

  /** Asks for the answers of devices. Commands need not wait: a broker handles the packets of a connection in order. */
  private subscribe(client: MqttClient): void {
    if (this.subscribeTimer !== undefined) {
      return;
    }
    const { responseTopic } = this;
    const filters = [
      ...new Set([
        ...(responseTopic === undefined ? [] : [responseTopic]),
        ...this.routes.replies.map(({ filter }) => filter),
      ]),
    ];
    this.asked = filters;
    let open = 0;
    for (let at = 0; at < filters.length; at += FILTERS_PER_SUBSCRIBE) {
      const some = filters.slice(at, at + FILTERS_PER_SUBSCRIBE);
      open += 1;
      this.subscribing = true;
      const answered: ClientSubscribeCallback = walled('mqtt', (_error, _asked, packet) => {
        open -= 1;
        if (this.client === client && client.connected) {
          this.subscribing = open > 0;
          this.subscribed(some, packet?.granted ?? []);
        }
      });
      // No retained messages (rh): they were there before any question.
      client.subscribe(
        Object.fromEntries(some.map((filter) => [filter, { qos: 1, ...(responseTopic && { rh: 2 }) }])),
        answered,
      );
    }
  }

  private subscribed(filters: readonly string[], codes: readonly unknown[]): void {
    const refused = filters.filter((_filter, at) => {
      const code = codes[at];
      return typeof code !== 'number' || code >= 0x80;
    });
    if (refused.length === 0) {
      this.subscribeRefusalSaid = false;
      return;
    }
    this.subscribeLater();
    if (!this.subscribeRefusalSaid) {
      this.subscribeRefusalSaid = true;
      this.logger.error(
        `The broker refuses the subscription to answers of devices: allow this user to read ${refused.join(', ')}. Until then commands end without an answer`,
        { refused },
      );
    }
  }

  /** Some brokers end the connection over a subscription that they do not allow: commands matter more than their answers. */
  private giveUpSubscribing(): void {
    this.subscribing = false;
    if (!this.closing && !this.resetting) {
      this.subscribeLater();
      this.logger.error(
        'The broker ended the connection instead of answering the subscription to answers of devices: commands go on without them for a minute',
      );
    }
  }

  private subscribeLater(): void {
    clearTimeout(this.subscribeTimer);
    this.subscribeTimer = setTimeout(
      walled('mqtt', () => {
        this.subscribeTimer = undefined;
        if (this.client !== undefined) {
          this.subscribe(this.client);
        }
      }),
      this.subscribeAgainMs,
    ).unref();
  }

  private down(code: number | undefined): boolean {
    if (this.subscribing) {
      this.giveUpSubscribing();
    } else {
      this.blame(code);
    }
    this.client = undefined;
    this.inFlight = 0;
    this.refuseAll('The broker did not acknowledge the command');
    return !this.closing;
  }

  /**
   * A broker handles packets in order, so if it ended the connection because of a command, it was the oldest unanswered one. MQTT 5 has a
   * code for that; otherwise the broker only disconnects (MQTT 3.1.1, AWS IoT), which may also be a restart.
   */
  private blame(code: number | undefined): void {
    const sent = [...this.pending].filter(({ sentAt }) => sentAt !== undefined);
    const [oldest] = sent;
    const says = code !== undefined && PACKET_REFUSED.has(code);
    if (oldest?.sentAt === undefined || this.resetting || (code !== undefined && !says)) {
      return;
    }
    if (performance.now() - oldest.sentAt <= BLAME_WITHIN_MS) {
      this.suspects.blame(oldest.deviceId, says && sent.length === 1);
      if (this.suspects.holds(oldest.deviceId)) {
        this.logger.error(
          `The broker ends the connection over commands to the device ${JSON.stringify(oldest.deviceId)}: refused for a minute`,
          { deviceId: oldest.deviceId },
        );
      }
    }
  }

  /** Sends waiting commands, as far as the broker's receive maximum allows. */
  private pump(): void {
    const { client } = this;
    while (client !== undefined && this.inFlight < this.window) {
      const command = this.waiting.shift();
      if (command === undefined) {
        return;
      }
      if (!this.pending.has(command)) {
        continue; // timed out
      }
      const refused = command.refusal();
      if (refused !== null) {
        command.settle(refused);
      } else {
        command.sentAt = performance.now();
        this.inFlight++;
        this.publish(client, command);
      }
    }
  }

  private publish(client: MqttClient, command: PendingCommand): void {
    const { expiryS } = this.config.commands;
    const { topic, qos, correlation, traceparent } = command.way;
    const { responseTopic } = this;
    client.publish(
      topic,
      command.payload,
      {
        qos,
        retain: false,
        properties: {
          messageExpiryInterval: expiryS,
          ...(responseTopic !== undefined &&
            correlation !== undefined && { responseTopic, correlationData: Buffer.from(correlation) }),
          ...(responseTopic !== undefined &&
            traceparent !== undefined && { userProperties: { traceparent } }),
        },
      },
      walled('mqtt', (error) => {
        if (this.client !== client) {
          return;
        }
        this.inFlight--;
        command.settle(qos === 0 && !error ? 'unknown' : this.outcomeOf(error, command));
        this.pump();
      }),
    );
  }

  private outcomeOf(
    error: Error | undefined | null,
    { deviceId, way }: PendingCommand,
  ): CommandOutcome | ProtocolError {
    const code = this.lastPubackCode;
    if (!error && code < 0x80) {
      if (this.responseTopic === undefined) {
        return 'unknown';
      }
      return code === NO_MATCHING_SUBSCRIBERS ? 'undelivered' : 'delivered';
    }
    const now = performance.now();
    if (now - this.lastErrorLogAt >= ERROR_LOG_INTERVAL_MS) {
      this.lastErrorLogAt = now;
      this.logger.error(
        `The broker refused a command${adviceFor(code)}: allow this user to publish to ${way.topic.replace(deviceId, '+')}`,
        { deviceId, code },
      );
    }
    return code < 0x80
      ? unavailable('The broker refused the command')
      : new UnsentError('The broker refused the command');
  }

  /** One unanswered command makes the connection suspect: it is reset, with everything still in it. */
  private timedOut(command: PendingCommand): void {
    const why = 'The broker did not acknowledge the command in time';
    command.settle(command.sentAt === undefined ? new UnsentError(why) : unavailable(why));
    if (command.sentAt !== undefined) {
      this.resetting = true;
      this.connection?.reset('a command was not acknowledged in time');
    }
  }

  private started(): void {
    this.starting = false;
    clearTimeout(this.startTimer);
  }

  private refuseWaiting(): void {
    this.started();
    this.refuseAll('The broker is not connected');
  }

  private refuseAll(why: string): void {
    this.waiting.length = 0;
    for (const command of [...this.pending]) {
      command.settle(command.sentAt === undefined ? new UnsentError(why) : unavailable(why));
    }
  }
}

function unavailable(why: string): ProtocolError {
  return new ProtocolError('broker_unavailable', why);
}
