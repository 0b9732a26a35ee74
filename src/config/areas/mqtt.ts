import { z } from 'zod';
import {
  constant,
  HOUR_S,
  int,
  KIB,
  list,
  MIB,
  oneOf,
  optionalInt,
  optionalText,
  secret,
  url,
} from '../setting.js';

/** The connection to the broker. */
export const mqttSettings = {
  url: optionalText(
    'MQTT_URL',
    'Broker of the devices; unset in development means the embedded broker',
    url(['mqtt:', 'mqtts:', 'ws:', 'wss:']),
    { defaultText: 'embedded broker in development, required in production' },
  ),
  username: optionalText('MQTT_USERNAME', 'User name at the broker'),
  password: secret('MQTT_PASSWORD', 'Password at the broker'),
  protocolVersion: oneOf(
    'MQTT_PROTOCOL_VERSION',
    ['4', '5'],
    ({ embeddedBroker }) => (embeddedBroker ? '4' : '5'),
    'MQTT version: 5, or 4 for brokers that know only 3.1.1',
    { defaultText: '5; 4 with the embedded broker' },
  ),
  ca: secret('MQTT_CA', 'Certificate authority of the broker (PEM); the system ones are used when unset'),
  cert: secret('MQTT_CERT', 'Client certificate for mutual TLS (PEM)'),
  key: secret('MQTT_KEY', 'Private key of the client certificate (PEM)'),
  ingest: oneOf(
    'MQTT_INGEST',
    ['leased', 'shared'],
    'leased',
    'Who reads device topics when there is a Redis: leased = one instance at a time, order per device kept; shared = all share them',
  ),
  ingestShards: int(
    'INGEST_SHARDS',
    1,
    [1, 64],
    'Readers at a time with MQTT_INGEST=leased, each with its part of the topics, by the levels that `only` lists in LAYOUT_FILE; the same on all instances',
  ),
  sharedGroup: optionalText(
    'MQTT_SHARED_GROUP',
    'Group name of the shared subscription; two deployments on one broker need different ones',
    z.string().regex(/^[^/+#]+$/, 'must be one topic level without / + #'),
    { defaultText: 'NAMESPACE; `sluice` where a release before 0.2 has begun with it' },
  ),
  embeddedPort: optionalInt(
    'MQTT_EMBEDDED_PORT',
    [0, 65_535],
    'Port of the embedded broker, on loopback; 0 picks a free one',
    { defaultText: '1883, or a free one if that is taken' },
  ),
  maxPayloadBytes: int(
    'MQTT_MAX_PAYLOAD_BYTES',
    256 * KIB,
    [1, 16 * MIB],
    'Largest device payload; larger ones are counted and dropped',
  ),
  sessionExpiryS: int(
    'MQTT_SESSION_EXPIRY_S',
    HOUR_S,
    [1, 4_294_967_294],
    'Time the broker keeps the ingest session (and what it queues) of a deployment that is away',
  ),
};

export const mqttConstants = {
  /** A dead connection is noticed after at most 1.5 times this; a ping costs nothing. */
  keepaliveS: constant('MQTT_KEEPALIVE_S', 15),
  /** Time the broker has to answer CONNECT: many round trips, and no longer than people wait. */
  connectTimeoutMs: constant('MQTT_CONNECT_TIMEOUT_MS', 5_000),
  /** First wait before a reconnect, of which a random part is taken; doubles. */
  reconnectMinMs: constant('MQTT_RECONNECT_MIN_MS', 200),
  /** Longest wait before a reconnect: a broker that is back is found soon, and one attempt in seconds is no load. */
  reconnectMaxMs: constant('MQTT_RECONNECT_MAX_MS', 5_000),
  /**
   * QoS 1 messages that the broker may have in flight to this instance before it waits for PUBACK (MQTT 5). What is over it waits in the
   * queue of the broker, which drops when that is full (Mosquitto keeps 1 000 by default), so the window is as large as MQTT allows.
   */
  receiveMaximum: constant('MQTT_RECEIVE_MAXIMUM', 65_535),
};

/** Commands to devices. */
export const commandsSettings = {
  maxPayloadBytes: int(
    'COMMAND_MAX_PAYLOAD_BYTES',
    32 * KIB,
    [1, 16 * MIB],
    'Largest command; a larger one is answered payload_too_large',
  ),
  timeoutMs: int(
    'COMMAND_TIMEOUT_MS',
    5_000,
    [100, 60_000],
    'Time the broker has to acknowledge a command before the client hears broker_unavailable',
  ),
  expiryS: int(
    'COMMAND_EXPIRY_S',
    10,
    [1, 3_600],
    'Message Expiry Interval of a command (MQTT 5): older ones never reach the machine',
  ),
  keyTtlMs: int(
    'COMMAND_KEY_TTL_MS',
    60_000,
    [1_000, 3_600_000],
    'Time for which a command with the same key is not published a second time, and its answers are given again',
  ),
  maxPerSecond: int(
    'COMMAND_MAX_PER_SECOND',
    100,
    [1, 100_000],
    'Commands a second of one connection, twice as many at once; more are answered rate_limited',
  ),
  deviceMaxPerSecond: int(
    'COMMAND_DEVICE_MAX_PER_SECOND',
    100,
    [1, 100_000],
    'Commands a second to one device through this instance, twice as many at once, whoever sends them; more are answered rate_limited',
  ),
  maxWaitingPerConnection: int(
    'COMMAND_MAX_WAITING_PER_CONNECTION',
    100,
    [1, 10_000],
    'Commands of one connection that wait for the answer of a device (waitMs); more are answered too_many_commands',
  ),
  maxWaiting: int(
    'COMMAND_MAX_WAITING',
    10_000,
    [1, 1_000_000],
    'Commands of this instance that wait for the answer of a device; more are answered too_many_commands',
  ),
};

export const commandsConstants = {
  /** Commands of this instance that wait for PUBACK, more are answered broker_unavailable: far more than people send while a broker answers. */
  outboxMax: constant('COMMAND_OUTBOX_MAX', 1_000),
  /** Keys of commands that an instance keeps, one user a tenth of them, more are answered too_many_commands: some 300 bytes each. */
  maxKeys: constant('COMMAND_MAX_KEYS', 100_000),
};

/** Presets that the simulated fleet can speak. */
export const DEMO_LAYOUTS = ['zigbee2mqtt', 'tasmota', 'sparkplug-b'] as const;

export const demoSettings = {
  devices: int(
    'DEMO_DEVICES',
    ({ production, embeddedBroker }) => (!production && embeddedBroker ? 12 : 0),
    [0, 10_000],
    'Simulated devices that publish to the broker, to have something to look at',
    { defaultText: '12 in development with the embedded broker, else 0' },
  ),
  layouts: list(
    'DEMO_LAYOUTS',
    [],
    `Comma list of ${DEMO_LAYOUTS.join(', ')}: what the simulated devices speak, in equal parts, instead of the layout of Sluice; read by a LAYOUT_FILE that is made for them unless one is set. Development only`,
    z.enum(DEMO_LAYOUTS),
  ),
};
