import { int } from '../setting.js';
import { KIB, MIB } from './units.js';

/** Commands to devices. */
export const commandLimits = {
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
  outboxMax: int(
    'COMMAND_OUTBOX_MAX',
    1_000,
    [1, 65_535],
    'Commands of this instance that wait for PUBACK; more are answered broker_unavailable',
  ),
};
