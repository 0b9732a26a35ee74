/** Socket.IO with rooms and its Redis adapter, WebSocket transport only. */
import { createServer } from 'node:http';

import { createAdapter } from '@socket.io/redis-adapter';
import Redis from 'ioredis';
import jwt from 'jsonwebtoken';
import mqtt from 'mqtt';
import { Server } from 'socket.io';

const { HOST, JWT_SECRET, MQTT_URL, PORT, REDIS_URL } = process.env;
const server = createServer();
const publisher = new Redis(REDIS_URL);
const io = new Server(server, {
  transports: ['websocket'],
  adapter: createAdapter(publisher, publisher.duplicate()),
});

io.use((socket, next) => {
  try {
    socket.data.claims = jwt.verify(socket.handshake.headers.authorization.split(' ')[1], JWT_SECRET);
    next();
  } catch (error) {
    next(error);
  }
});
io.on('connection', (socket) => {
  socket.join(socket.data.claims.deviceIds);
  socket.emit('subscribed', { deviceIds: socket.data.claims.deviceIds });
});

const devices = mqtt.connect(MQTT_URL);
devices.on('connect', () => devices.subscribe('devices/+/telemetry', { qos: 1 }));
devices.on('message', (topic, payload) => {
  const deviceId = topic.split('/')[1];
  io.to(deviceId).emit('telemetry', {
    deviceId,
    payload: JSON.parse(payload.toString()),
    serverTs: Date.now(),
  });
});
server.listen(Number(PORT), HOST);
