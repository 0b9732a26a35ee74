import net from 'node:net';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';
import { Logger } from '@nestjs/common';
import {
  type ClientSubscribeCallback,
  type IClientOptions,
  type IConnackPacket,
  type IDisconnectPacket,
  MqttClient,
} from 'mqtt';
import { createWebSocketStream, WebSocket } from 'ws';
import type { Config } from '../config/config.js';
import { SecretFiles } from '../files/secret-files.js';
import { contain, walled } from '../logging/walls.js';
import { Backoff } from '../time/backoff.js';
import { adviceFor } from './broker-answers.js';

/** What every connection to the broker needs. */
export interface BrokerSettings {
  readonly url: string;
  /** The address without credentials, for the log. */
  readonly name: string;
  readonly protocolVersion: 4 | 5;
  readonly username?: string;
  readonly password?: string;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly keepaliveS: number;
  readonly connectTimeoutMs: number;
  readonly reconnectMinMs: number;
  readonly reconnectMaxMs: number;
}

/** @param files of secrets: they are read anew whenever a connection asks for what is in them */
export function brokerSettings(
  config: Config['mqtt'],
  url: string,
  files: Config['files'] = {},
): BrokerSettings {
  const secrets = new SecretFiles(files);
  const { protocol, host } = new URL(url);
  return {
    url,
    name: `${protocol}//${host}`,
    protocolVersion: config.protocolVersion === '5' ? 5 : 4,
    username: config.username,
    get password() {
      return secrets.current('MQTT_PASSWORD', config.password);
    },
    get ca() {
      return secrets.current('MQTT_CA', config.ca);
    },
    get cert() {
      return secrets.current('MQTT_CERT', config.cert);
    },
    get key() {
      return secrets.current('MQTT_KEY', config.key);
    },
    keepaliveS: config.keepaliveS,
    connectTimeoutMs: config.connectTimeoutMs,
    reconnectMinMs: config.reconnectMinMs,
    reconnectMaxMs: config.reconnectMaxMs,
  };
}

export type { ClientSubscribeCallback, MqttClient };

/** Time a closing connection has to send its DISCONNECT. */
const LEAVE_TIMEOUT_MS = 1_000;
/** After this many consecutive failures only every n-th is a warning, the others are debug lines. */
const LOG_EVERY = 16;

export interface Will {
  topic: string;
  payload: Buffer;
  qos: 0 | 1;
  retain: boolean;
}

interface BrokerConnectionOptions {
  /** For the log: what the connection is for. */
  name: string;
  clientId: string;
  /** Clean start (clean session on MQTT 3.1.1). */
  clean: boolean;
  /** Seconds the broker keeps the session after the connection is gone. MQTT 5; there 0 ends it with the connection. */
  sessionExpiryS?: number;
  /** QoS 1 messages the broker may have in flight to us. MQTT 5. */
  receiveMaximum?: number;
  will?: Will;
  /** Inserts a stream between the network and mqtt.js. */
  wrap?: (network: Duplex) => Duplex;
  /** CONNACK received. The client lives until `onDown`. */
  onUp: (client: MqttClient, connack: IConnackPacket) => void;
  /** The connection of the last `onUp` is lost. @returns false to stay disconnected */
  onDown: (reason: string, disconnectCode: number | undefined) => boolean;
  /** Replaces Math.random in tests. */
  random?: () => number;
}

export interface LeaveOptions {
  /** MQTT 5: the broker discards the session at once instead of keeping it for its expiry. */
  discardSession?: boolean;
}

/**
 * A connection to the broker that reconnects by itself, unless `onDown` says no: exponential backoff with full jitter, for ever. Each attempt is a new mqtt.js client
 * with reconnection switched off, because mqtt.js knows only a fixed period and carries unacknowledged publishes over to the next
 * connection.
 */
export class BrokerConnection {
  private readonly logger: Logger;
  private readonly backoff: Backoff;
  private client: MqttClient | undefined;
  private network: BrokerNetwork | undefined;
  private timer: NodeJS.Timeout | undefined;
  private upSince = 0;
  private up = false;
  private isEnded = false;
  private reason = '';
  private disconnectCode: number | undefined;

  constructor(
    private readonly broker: BrokerSettings,
    private readonly options: BrokerConnectionOptions,
  ) {
    this.logger = new Logger(`Broker/${options.name}`);
    this.backoff = new Backoff(broker.reconnectMinMs, broker.reconnectMaxMs, options.random);
  }

  /** CONNACK received and not lost since. */
  get connected(): boolean {
    return this.up;
  }

  /** Failed attempts since the connection was last up for long enough. */
  get failures(): number {
    return this.backoff.failures;
  }

  /** It does not reconnect: closed, or told to stay disconnected. */
  get ended(): boolean {
    return this.isEnded;
  }

  open(): void {
    this.attempt();
  }

  /** Resets the network connection; then reconnects as after any loss. */
  reset(reason: string): void {
    this.reason ||= reason;
    this.network?.reset();
    this.client?.stream?.destroy();
  }

  /** Leaves in order (DISCONNECT), or destroys the connection if the broker does not answer. It does not reconnect. */
  async close(leave: LeaveOptions = {}): Promise<void> {
    this.isEnded = true;
    clearTimeout(this.timer);
    const client = this.client;
    if (client === undefined) {
      return;
    }
    if (!this.up) {
      client.stream?.destroy();
      return;
    }
    await new Promise<void>((resolve) => {
      const timer = setTimeout(
        walled(
          'mqtt',
          () => {
            client.stream.destroy();
            this.network?.reset();
            resolve();
          },
          () => resolve(),
        ),
        LEAVE_TIMEOUT_MS,
      );
      client.once(
        'close',
        walled('mqtt', () => {
          clearTimeout(timer);
          resolve();
        }),
      );
      // mqtt.js would delay the DISCONNECT until all pending packets (a SUBACK, for example) are answered.
      client.outgoing = {};
      client.end(false, {
        reasonCode: 0x00,
        ...(leave.discardSession && this.options.sessionExpiryS
          ? { properties: { sessionExpiryInterval: 0 } }
          : {}),
      });
    });
  }

  private attempt(): void {
    this.reason = '';
    this.disconnectCode = undefined;
    let client: MqttClient;
    try {
      client = new MqttClient(() => this.openStream(), this.clientOptions());
    } catch (error) {
      this.reason = (error as Error).message;
      this.lost();
      return;
    }
    this.client = client;
    client.on(
      'error',
      walled('mqtt', (error: Error) => {
        const { code } = error as { code?: number | string };
        this.reason ||= typeof code === 'number' ? `${error.message}${adviceFor(code)}` : error.message;
      }),
    );
    client.on(
      'disconnect',
      walled('mqtt', (packet: IDisconnectPacket) => {
        this.disconnectCode = packet.reasonCode;
        this.reason ||= `the broker said goodbye${adviceFor(packet.reasonCode)}`;
      }),
    );
    client.on(
      'connect',
      walled(
        'mqtt',
        (connack: IConnackPacket) => {
          this.up = true;
          this.upSince = performance.now();
          this.options.onUp(client, connack);
        },
        // Its state is unknown: a new connection replaces it.
        () => this.reset('an unforeseen error'),
      ),
    );
    client.once(
      'close',
      walled('mqtt', () => {
        if (this.client === client) {
          this.lost();
        }
      }),
    );
  }

  private openStream(): Duplex {
    this.network = openBrokerNetwork(this.broker);
    return this.options.wrap?.(this.network.stream) ?? this.network.stream;
  }

  private lost(): void {
    const wasUp = this.up;
    const { disconnectCode } = this;
    const reason = this.reason || 'the connection was closed';
    this.up = false;
    this.client = undefined;
    this.network = undefined;
    if (wasUp && performance.now() - this.upSince >= this.broker.reconnectMaxMs) {
      this.backoff.reset();
    }
    const again = !wasUp || this.tellDown(reason, disconnectCode);
    if (this.isEnded || !again) {
      this.isEnded = true;
      return;
    }
    const waitMs = this.backoff.nextMs();
    const line = `${wasUp ? 'Lost' : 'No connection to'} ${this.broker.name}: ${reason}; next attempt in ${waitMs} ms`;
    const facts = { broker: this.broker.name, reason, code: disconnectCode, waitMs };
    if (wasUp || this.backoff.failures % LOG_EVERY === 1) {
      this.logger.warn(line, facts);
    } else {
      this.logger.debug(line, facts);
    }
    this.timer = setTimeout(
      walled(
        'mqtt',
        () => this.attempt(),
        () => this.lost(),
      ),
      waitMs,
    );
  }

  /** @returns whether to reconnect; true if `onDown` has thrown */
  private tellDown(reason: string, disconnectCode: number | undefined): boolean {
    try {
      return this.options.onDown(reason, disconnectCode);
    } catch (error) {
      contain('mqtt', error);
      return true;
    }
  }

  private clientOptions(): IClientOptions {
    const { broker, options } = this;
    const properties = {
      ...(options.sessionExpiryS === undefined ? {} : { sessionExpiryInterval: options.sessionExpiryS }),
      ...(options.receiveMaximum === undefined ? {} : { receiveMaximum: options.receiveMaximum }),
    };
    return {
      protocolId: 'MQTT',
      protocolVersion: broker.protocolVersion,
      clientId: options.clientId,
      clean: options.clean,
      username: broker.username,
      password: broker.password,
      keepalive: broker.keepaliveS,
      // The keep-alive must observe the broker, not our own packets.
      reschedulePings: false,
      connectTimeout: broker.connectTimeoutMs,
      reconnectPeriod: 0,
      resubscribe: false,
      queueQoSZero: false,
      // Otherwise a buffer for each of the 65 536 packet ids: 6 MB that every garbage collection walks through, while acknowledgements do
      // not use them.
      writeCache: false,
      will: options.will,
      ...(broker.protocolVersion === 5 ? { properties } : {}),
    };
  }
}

interface BrokerNetworkOptions {
  /** mqtt://, mqtts://, ws:// or wss:// */
  url: string;
  ca?: string;
  cert?: string;
  key?: string;
}

/** A network connection that is being opened. */
interface BrokerNetwork {
  /** MQTT bytes in both directions; may be written to at once. */
  readonly stream: Duplex;
  /** Resets the TCP connection: unsent data in its buffer never reaches the broker. */
  reset(): void;
}

const DEFAULT_PORT: Record<string, number> = { 'mqtt:': 1883, 'mqtts:': 8883, 'ws:': 80, 'wss:': 443 };

/**
 * Opens the network connection of one MQTT connection. Not left to mqtt.js, because the TCP socket beneath TLS and WebSocket must be
 * accessible for a reset. The server's certificate is always verified, whatever the environment says.
 */
function openBrokerNetwork(options: BrokerNetworkOptions): BrokerNetwork {
  const url = new URL(options.url);
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1') || 'localhost';
  const port = Number(url.port) || DEFAULT_PORT[url.protocol];
  if (port === undefined) {
    throw new Error(`no MQTT over ${url.protocol}//`);
  }
  const socket = net.connect({ host, port, noDelay: true });
  // A socket whose end is under way cannot be reset: libuv refuses, and Node.js then keeps it open for good.
  const reset = (): void => void (socket.writableEnded ? socket.destroy() : socket.resetAndDestroy());
  const secure = (): tls.TLSSocket =>
    tls.connect({
      socket,
      host,
      ...(net.isIP(host) === 0 ? { servername: host } : {}),
      ca: options.ca,
      cert: options.cert,
      key: options.key,
      rejectUnauthorized: true,
    });
  switch (url.protocol) {
    case 'mqtt:':
      return { stream: socket, reset };
    case 'mqtts:':
      return { stream: joined(secure(), socket), reset };
    default: {
      const carrier = url.protocol === 'wss:' ? joined(secure(), socket) : socket;
      url.username = '';
      url.password = '';
      const webSocket = new WebSocket(url, ['mqtt'], {
        createConnection: () => carrier,
        perMessageDeflate: false,
        maxPayload: 0,
      });
      const stream = createWebSocketStream(webSocket);
      webSocket.on(
        'close',
        walled('mqtt', () => stream.destroy()),
      );
      return { stream, reset };
    }
  }
}

/** An error before the TLS handshake belongs to the TCP socket: it ends both. */
function joined(secure: tls.TLSSocket, socket: net.Socket): tls.TLSSocket {
  socket.on(
    'error',
    walled('mqtt', (error: Error) => secure.destroy(error)),
  );
  return secure;
}
