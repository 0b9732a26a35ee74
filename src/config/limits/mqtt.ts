import { int } from '../setting.js';
import { HOUR_S, KIB, MIB } from './units.js';

/** The connection to the broker. */
export const mqttLimits = {
  maxPayloadBytes: int(
    'MQTT_MAX_PAYLOAD_BYTES',
    256 * KIB,
    [1, 16 * MIB],
    'Largest device payload; larger ones are counted and dropped',
  ),
  keepaliveS: int(
    'MQTT_KEEPALIVE_S',
    15,
    [1, 3_600],
    'Keep-alive towards the broker: a dead connection is noticed after at most 1.5 times this',
  ),
  connectTimeoutMs: int(
    'MQTT_CONNECT_TIMEOUT_MS',
    5_000,
    [100, 120_000],
    'Time the broker has to answer CONNECT',
  ),
  reconnectMinMs: int(
    'MQTT_RECONNECT_MIN_MS',
    200,
    [10, 60_000],
    'First wait before a reconnect; doubles with jitter',
  ),
  reconnectMaxMs: int('MQTT_RECONNECT_MAX_MS', 5_000, [10, 600_000], 'Longest wait before a reconnect'),
  receiveMaximum: int(
    'MQTT_RECEIVE_MAXIMUM',
    65_535,
    [1, 65_535],
    'QoS 1 messages the broker may have in flight to this instance before it waits for PUBACK (MQTT 5). What is over it waits in the queue of the broker, which drops when that is full: Mosquitto keeps 1 000 by default, so the window is as large as MQTT allows',
  ),
  sessionExpiryS: int(
    'MQTT_SESSION_EXPIRY_S',
    HOUR_S,
    [1, 4_294_967_294],
    'Time the broker keeps the ingest session (and what it queues) of a deployment that is away',
  ),
};
