/**
 * The server of the tutorials: ws, mqtt, jsonwebtoken and, when REDIS_URL is set, ioredis with one channel
 * for everything. FIELDS_WINDOW_MS merges the values of a device's topics into one state. JWT_KEY_OBJECT=1 is the one improvement that a connect can have for free.
 */
import { createSecretKey } from 'node:crypto';
import { createServer } from 'node:http';

import Redis from 'ioredis';
import jwt from 'jsonwebtoken';
import mqtt from 'mqtt';
import { WebSocket, WebSocketServer } from 'ws';

const { FIELDS_WINDOW_MS, HOST, JWT_KEY_OBJECT, JWT_SECRET, MQTT_URL, PORT, REDIS_URL } = process.env;
const CHANNEL = 'telemetry';
const secret = JWT_KEY_OBJECT ? createSecretKey(Buffer.from(JWT_SECRET)) : JWT_SECRET;
const publisher = REDIS_URL ? new Redis(REDIS_URL) : null;
const subscriber = REDIS_URL ? new Redis(REDIS_URL) : null;

/** @type {Map<string, Set<WebSocket>>} */
const rooms = new Map();
const server = createServer();
const wss = new WebSocketServer({ server, path: '/ws' });

wss.on('connection', (client, request) => {
  let claims;
  try {
    claims = jwt.verify(request.headers.authorization.split(' ')[1], secret);
  } catch {
    client.close(4001, 'Unauthorized');
    return;
  }
  for (const deviceId of claims.deviceIds) {
    if (!rooms.has(deviceId)) {
      rooms.set(deviceId, new Set());
    }
    rooms.get(deviceId).add(client);
  }
  client.on('close', () => claims.deviceIds.forEach((id) => rooms.get(id)?.delete(client)));
  client.on('error', () => {});
  client.send(JSON.stringify({ type: 'subscribed', deviceIds: claims.deviceIds }));
});

function broadcast(message) {
  const clients = rooms.get(message.deviceId);
  if (!clients) {
    return;
  }
  const text = JSON.stringify(message);
  for (const client of clients) {
    if (client.readyState === WebSocket.OPEN) {
      client.send(text);
    }
  }
}

/** @type {Map<string, {fields: Record<string, unknown>, timer: NodeJS.Timeout | null}>} */
const states = new Map();

function merge(deviceId, field, value) {
  let state = states.get(deviceId);
  if (!state) {
    state = { fields: {}, timer: null };
    states.set(deviceId, state);
  }
  state.fields[field] = value;
  const send = () => {
    state.timer = null;
    publish({ type: 'telemetry', deviceId, payload: state.fields, serverTs: Date.now() });
  };
  if (FIELDS_WINDOW_MS === '0') {
    send();
  } else {
    state.timer ??= setTimeout(send, Number(FIELDS_WINDOW_MS));
  }
}

function publish(message) {
  if (publisher) {
    publisher.publish(CHANNEL, JSON.stringify(message));
  } else {
    broadcast(message);
  }
}

const devices = mqtt.connect(MQTT_URL);
devices.on('connect', () =>
  devices.subscribe(FIELDS_WINDOW_MS ? 'devices/+/+' : 'devices/+/telemetry', { qos: 1 }),
);
devices.on('message', (topic, payload) => {
  if (FIELDS_WINDOW_MS) {
    const [, deviceId, field] = topic.split('/');
    merge(deviceId, field, JSON.parse(payload.toString()));
    return;
  }
  const message = {
    type: 'telemetry',
    deviceId: topic.split('/')[1],
    payload: JSON.parse(payload.toString()),
    serverTs: Date.now(),
  };
  publish(message);
});

if (subscriber) {
  await subscriber.subscribe(CHANNEL);
  subscriber.on('message', (_channel, text) => broadcast(JSON.parse(text)));
}
server.listen(Number(PORT), HOST);
