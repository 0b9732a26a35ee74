/**
 * Plain ws with one improvement: a publication is framed once and its bytes are written to every socket. With CORK=1 what
 * a socket gets in one turn of the event loop leaves in one write.
 */
import { createServer } from 'node:http';

import jwt from 'jsonwebtoken';
import mqtt from 'mqtt';
import { Sender, WebSocketServer } from 'ws';

const { CORK, HOST, JWT_SECRET, MQTT_URL, PORT } = process.env;

/** @type {Map<string, Set<import('node:net').Socket>>} */
const rooms = new Map();
/** @type {Set<import('node:net').Socket>} */
const corked = new Set();
const server = createServer();
const wss = new WebSocketServer({ server, path: '/ws' });

wss.on('connection', (client, request) => {
  const claims = jwt.verify(request.headers.authorization.split(' ')[1], JWT_SECRET);
  const socket = client._socket;
  for (const deviceId of claims.deviceIds) {
    if (!rooms.has(deviceId)) {
      rooms.set(deviceId, new Set());
    }
    rooms.get(deviceId).add(socket);
  }
  client.on('close', () => claims.deviceIds.forEach((id) => rooms.get(id)?.delete(socket)));
  client.on('error', () => {});
  client.send(JSON.stringify({ type: 'subscribed', deviceIds: claims.deviceIds }));
});

function frame(text) {
  const options = { fin: true, rsv1: false, opcode: 1, mask: false, readOnly: true };
  return Buffer.concat(Sender.frame(Buffer.from(text), options));
}

function uncorkAll() {
  for (const socket of corked) {
    socket.uncork();
  }
  corked.clear();
}

function broadcast(message) {
  const sockets = rooms.get(message.deviceId);
  if (!sockets) {
    return;
  }
  const bytes = frame(JSON.stringify(message));
  for (const socket of sockets) {
    if (CORK && !corked.has(socket)) {
      if (corked.size === 0) {
        setImmediate(uncorkAll);
      }
      corked.add(socket);
      socket.cork();
    }
    socket.write(bytes);
  }
}

const devices = mqtt.connect(MQTT_URL);
devices.on('connect', () => devices.subscribe('devices/+/telemetry', { qos: 1 }));
devices.on('message', (topic, payload) => {
  broadcast({
    type: 'telemetry',
    deviceId: topic.split('/')[1],
    payload: JSON.parse(payload.toString()),
    serverTs: Date.now(),
  });
});
server.listen(Number(PORT), HOST);
