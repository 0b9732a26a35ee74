import {
  commandsConstants,
  commandsSettings,
  demoSettings,
  mqttConstants,
  mqttSettings,
} from './areas/mqtt.js';
import { redisConstants, redisSettings } from './areas/redis.js';
import {
  layoutsSettings,
  metadataSettings,
  roomsConstants,
  roomsSettings,
  transformSettings,
} from './areas/rooms.js';
import {
  apiSettings,
  drainConstants,
  drainSettings,
  healthConstants,
  httpSettings,
  logSettings,
} from './areas/service.js';
import { authConstants, authSettings } from './areas/tokens.js';
import { wsConstants, wsSettings } from './areas/websocket.js';

/**
 * Every setting of the service, by area. This table is the only list: the typed Config, the error texts,
 * `.env.example` and docs/settings.md are all made from it.
 */
export const settings = {
  http: httpSettings,
  api: apiSettings,
  ws: wsSettings,
  auth: authSettings,
  mqtt: mqttSettings,
  commands: commandsSettings,
  rooms: roomsSettings,
  redis: redisSettings,
  layouts: layoutsSettings,
  metadata: metadataSettings,
  transform: transformSettings,
  log: logSettings,
  drain: drainSettings,
  demo: demoSettings,
};

/** What is fixed, by area: fields of the Config beside the settings, that no variable is read for and no docs name. */
export const constants = {
  ws: wsConstants,
  auth: authConstants,
  mqtt: mqttConstants,
  commands: commandsConstants,
  rooms: roomsConstants,
  redis: redisConstants,
  health: healthConstants,
  drain: drainConstants,
};
