import { commandsSettings, demoSettings, mqttSettings } from './areas/mqtt.js';
import { redisSettings } from './areas/redis.js';
import { metadataSettings, roomsSettings, transformSettings } from './areas/rooms.js';
import { drainSettings, healthSettings, httpSettings, logSettings } from './areas/service.js';
import { authSettings } from './areas/tokens.js';
import { wsSettings } from './areas/websocket.js';

/**
 * Every setting of the service, by area. This table is the only list: the typed Config, the error texts,
 * `.env.example` and docs/settings.md are all made from it.
 */
export const settings = {
  http: httpSettings,
  ws: wsSettings,
  auth: authSettings,
  mqtt: mqttSettings,
  commands: commandsSettings,
  rooms: roomsSettings,
  redis: redisSettings,
  metadata: metadataSettings,
  transform: transformSettings,
  log: logSettings,
  health: healthSettings,
  drain: drainSettings,
  demo: demoSettings,
};
