import { fileURLToPath } from 'node:url';

/**
 * What is compared.
 *
 * @typedef {object} Peer
 * @property {string} label
 * @property {string} [script] of a Node.js server, relative to the repository
 * @property {string[]} [nodeArguments] with which it is run
 * @property {'mosquitto' | 'nats' | 'rabbitmq'} [program] what is not a Node.js server
 * @property {string} dialect see load/dialects.js
 * @property {boolean} [usesRedis]
 * @property {Record<string, string>} [env]
 * @property {string} [query] of the dashboards' upgrade
 * @property {boolean} [isSluice]
 * @property {boolean} [needsUws]
 */

/** With the options that the image, the chart and `npm start` give to Node.js. */
const sluice = {
  script: 'dist/main.js',
  nodeArguments: ['--max-semi-space-size=4', '--v8-pool-size=1'],
  dialect: 'json',
  isSluice: true,
};

const layoutFile = (name) => ({ LAYOUT_FILE: fileURLToPath(new URL(name, import.meta.url)) });

/** @type {Record<string, Peer>} */
export const peers = {
  hand: { label: 'hand-written (ws, mqtt)', script: 'bench/peers/hand-written.js', dialect: 'json' },
  'hand-fields': {
    label: 'hand-written with a merge',
    script: 'bench/peers/hand-written.js',
    dialect: 'json',
    env: { FIELDS_WINDOW_MS: '0' },
  },
  'hand-fields-window': {
    label: 'hand-written with a merge and a window',
    script: 'bench/peers/hand-written.js',
    dialect: 'json',
    env: { FIELDS_WINDOW_MS: '50' },
  },
  'hand-key': {
    label: 'hand-written with a `KeyObject`',
    script: 'bench/peers/hand-written.js',
    dialect: 'json',
    env: { JWT_KEY_OBJECT: '1' },
  },
  'hand-redis': {
    label: 'hand-written with Redis',
    script: 'bench/peers/hand-written.js',
    dialect: 'json',
    usesRedis: true,
  },
  nest: { label: 'NestJS, stock MQTT and ws', script: 'bench/peers/nest.js', dialect: 'json' },
  'socket.io': {
    label: 'Socket.IO with Redis adapter',
    script: 'bench/peers/socket-io.js',
    dialect: 'socket.io',
    usesRedis: true,
  },
  mosquitto: { label: "Mosquitto's WebSocket listener", program: 'mosquitto', dialect: 'mqtt' },
  nats: { label: 'NATS, MQTT in and its WebSocket out', program: 'nats', dialect: 'nats' },
  rabbitmq: { label: 'RabbitMQ with Web MQTT', program: 'rabbitmq', dialect: 'web-mqtt' },
  uws: {
    label: 'uWebSockets.js (C++) with mqtt.js',
    script: 'bench/peers/uws.js',
    dialect: 'json',
    needsUws: true,
  },
  ws: { label: 'ws, one shared frame', script: 'bench/peers/ws-shared-frame.js', dialect: 'json' },
  'ws-cork': {
    label: 'ws, shared frame, corked per turn',
    script: 'bench/peers/ws-shared-frame.js',
    dialect: 'json',
    env: { CORK: '1' },
  },
  sluice: { ...sluice, label: 'Sluice' },
  'sluice-batch5': { ...sluice, label: 'Sluice, `batchMs=5`', query: 'batchMs=5' },
  'sluice-batch50': { ...sluice, label: 'Sluice, `batchMs=50`', query: 'batchMs=50' },
  'sluice-once': { ...sluice, label: 'Sluice, `delivery.meta: "once"`', dialect: 'json-once' },
  'sluice-fields': {
    ...sluice,
    label: 'Sluice, `as: field`',
    env: layoutFile('fields.yaml'),
  },
  'sluice-fields-redis': {
    ...sluice,
    label: 'Sluice with Redis, `as: field`',
    env: layoutFile('fields.yaml'),
    usesRedis: true,
  },
  'sluice-fields-each': {
    ...sluice,
    label: 'Sluice, `as: field` without a window',
    env: layoutFile('fields-each.yaml'),
  },
  'sluice-layout': { ...sluice, label: 'Sluice with a LAYOUT_FILE', env: layoutFile('whole.yaml') },
  'sluice-silence': { ...sluice, label: 'Sluice, `silence: 10s`', env: layoutFile('silence.yaml') },
  'sluice-redis': { ...sluice, label: 'Sluice with Redis', usesRedis: true },
};
