import { authLimits } from './limits/auth.js';
import { commandLimits } from './limits/commands.js';
import { drainLimits } from './limits/drain.js';
import { healthLimits } from './limits/health.js';
import { mqttLimits } from './limits/mqtt.js';
import { redisLimits } from './limits/redis.js';
import { roomsLimits } from './limits/rooms.js';
import { wsLimits } from './limits/ws.js';

/** Limits and intervals: every bound of the service, by area, with the reason for its default. */
export const amountSettings = {
  ws: wsLimits,
  auth: authLimits,
  mqtt: mqttLimits,
  commands: commandLimits,
  rooms: roomsLimits,
  redis: redisLimits,
  health: healthLimits,
  drain: drainLimits,
};
