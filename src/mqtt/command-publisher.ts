import { Inject, Injectable, Logger } from '@nestjs/common';
import type { IConnackPacket, MqttClient, Packet } from 'mqtt';
import { CONFIG, type Config } from '../config/config.js';
import { walled } from '../logging/walls.js';
import { isDeviceId } from '../protocol/device-id.js';
import { ProtocolError } from '../protocol/errors.js';
import { BrokerConnection, type BrokerSettings } from './broker-connection.js';
import { adviceFor, NO_MATCHING_SUBSCRIBERS, PACKET_REFUSED } from './broker-answers.js';

/** The broker's answer: somebody was subscribed, or nobody (known by MQTT 5 brokers only). */
export type CommandOutcome = 'delivered' | 'undelivered';

interface PendingCommand {
  readonly deviceId: string;
  readonly payload: Buffer;
  readonly timer: NodeJS.Timeout;
  readonly refusal: () => ProtocolError | null;
  /** Time of the publish; undefined while it waits. */
  sentAt: number | undefined;
  settle(outcome: CommandOutcome | ProtocolError): void;
}

/** Time a command waits for the first connection after the start. */
const START_WAIT_MS = 1_000;
/** Most bytes that a PUBLISH adds to topic and payload: fixed header, topic length, packet id, properties. */
const PUBLISH_OVERHEAD_BYTES = 20;
const ERROR_LOG_INTERVAL_MS = 5_000;
/** A connection that ends this soon after a publish may have ended because of it. */
const BLAME_WITHIN_MS = 1_000;

/**
 * Sends commands to devices at QoS 1 and reports the broker's acknowledgement. A command belongs to one connection: when that is lost or
 * silent, unacknowledged commands are refused and never sent again, since a machine must not act on a command whose sender was told that it
 * failed. The connection is reset, so that nothing in a socket buffer arrives later either.
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

  constructor(@Inject(CONFIG) private readonly config: Config) {}

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
      clean: true,
      sessionExpiryS: 0,
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
   * @throws {ProtocolError} broker_unavailable: not acknowledged, and never sent again; payload_too_large; the error of `refusal`
   */
  send(
    deviceId: string,
    payload: Buffer,
    refusal: () => ProtocolError | null = () => null,
  ): Promise<CommandOutcome> {
    const { maxPayloadBytes, outboxMax, timeoutMs } = this.config.commands;
    if (!isDeviceId(deviceId)) {
      return Promise.reject(new ProtocolError('invalid_message', 'deviceId is not a legal device id'));
    }
    const packetBytes = payload.length + Buffer.byteLength(topicOf(deviceId)) + PUBLISH_OVERHEAD_BYTES;
    if (payload.length > maxPayloadBytes || packetBytes > this.maxPacketBytes) {
      return Promise.reject(
        new ProtocolError('payload_too_large', `A command may have at most ${maxPayloadBytes} bytes`),
      );
    }
    if ((this.client === undefined && !this.starting) || this.closing) {
      return Promise.reject(unavailable('The broker is not connected'));
    }
    if (this.suspects.holds(deviceId)) {
      return Promise.reject(unavailable('The broker ends the connection over commands to this device'));
    }
    if (this.pending.size >= outboxMax) {
      return Promise.reject(unavailable('Too many commands are waiting for the broker'));
    }
    return new Promise((resolve, reject) => {
      const command: PendingCommand = {
        deviceId,
        payload,
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

  /** Accepts no more commands, waits for the answers of pending ones (each has its timeout), leaves. */
  async close(): Promise<void> {
    this.closing = true;
    clearTimeout(this.startTimer);
    if (this.client === undefined) {
      this.refuseAll('Sluice is stopping');
    } else if (this.pending.size > 0) {
      await new Promise<void>((resolve) => {
        this.idle = resolve;
      });
    }
    await this.connection?.close();
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
    this.pump();
  }

  private down(code: number | undefined): boolean {
    this.blame(code);
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
    client.publish(
      topicOf(command.deviceId),
      command.payload,
      { qos: 1, retain: false, properties: { messageExpiryInterval: expiryS } },
      walled('mqtt', (error) => {
        if (this.client !== client) {
          return;
        }
        this.inFlight--;
        command.settle(this.outcomeOf(error));
        this.pump();
      }),
    );
  }

  private outcomeOf(error: Error | undefined | null): CommandOutcome | ProtocolError {
    const code = this.lastPubackCode;
    if (!error && code < 0x80) {
      return code === NO_MATCHING_SUBSCRIBERS ? 'undelivered' : 'delivered';
    }
    const now = performance.now();
    if (now - this.lastErrorLogAt >= ERROR_LOG_INTERVAL_MS) {
      this.lastErrorLogAt = now;
      this.logger.error(
        `The broker refused a command${adviceFor(code)}: allow this user to publish to devices/+/commands`,
      );
    }
    return unavailable('The broker refused the command');
  }

  /** One unanswered command makes the connection suspect: it is reset, with everything still in it. */
  private timedOut(command: PendingCommand): void {
    command.settle(unavailable('The broker did not acknowledge the command in time'));
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
      command.settle(unavailable(why));
    }
  }
}

function topicOf(deviceId: string): string {
  return `devices/${deviceId}/commands`;
}

function unavailable(why: string): ProtocolError {
  return new ProtocolError('broker_unavailable', why);
}

/** Time for which commands to a device are refused after the broker ended the connection because of them. */
const HOLD_MS = 60_000;
/** Devices remembered; over it the one blamed longest ago is dropped. */
const MAX_DEVICES = 1_000;

interface Suspicion {
  readonly untilMs: number;
  readonly held: boolean;
}

/**
 * Devices whose commands make the broker end the connection (it may not allow the topic, or its characters). All commands share one
 * connection: a user who may command such a device would have everybody's commands refused.
 */
export class SuspectDevices {
  private readonly byId = new Map<string, Suspicion>();

  constructor(private readonly now: () => number = () => performance.now()) {}

  get size(): number {
    return this.byId.size;
  }

  /**
   * The connection ended while a command to this device was the oldest unanswered one.
   * @param certain it was the cause; otherwise it counts as the cause if this happens twice within the hold
   */
  blame(deviceId: string, certain: boolean): void {
    const before = this.fresh(deviceId);
    this.byId.delete(deviceId);
    this.byId.set(deviceId, { untilMs: this.now() + HOLD_MS, held: certain || before !== undefined });
    if (this.byId.size > MAX_DEVICES) {
      for (const oldest of this.byId.keys()) {
        this.byId.delete(oldest);
        return;
      }
    }
  }

  /** Whether commands to it are refused now. */
  holds(deviceId: string): boolean {
    return this.byId.size > 0 && this.fresh(deviceId)?.held === true;
  }

  private fresh(deviceId: string): Suspicion | undefined {
    const known = this.byId.get(deviceId);
    if (known !== undefined && known.untilMs <= this.now()) {
      this.byId.delete(deviceId);
      return undefined;
    }
    return known;
  }
}
