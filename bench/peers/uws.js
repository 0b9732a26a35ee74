/** uWebSockets.js with its native topics, fed by mqtt.js. */
import jwt from 'jsonwebtoken';
import mqtt from 'mqtt';

import { loadUws } from './load-uws.js';

const { HOST, JWT_SECRET, MQTT_URL, PORT } = process.env;
const NEVER_DROP_BYTES = 256 * 1024 * 1024;

const { uWS } = loadUws();
const app = uWS.App();
app.ws('/ws', {
  maxBackpressure: NEVER_DROP_BYTES,
  idleTimeout: 120,
  upgrade(response, request, context) {
    let claims;
    try {
      claims = jwt.verify(request.getHeader('authorization').split(' ')[1], JWT_SECRET);
    } catch {
      response.writeStatus('401 Unauthorized').end();
      return;
    }
    response.upgrade(
      { deviceIds: claims.deviceIds },
      request.getHeader('sec-websocket-key'),
      request.getHeader('sec-websocket-protocol'),
      request.getHeader('sec-websocket-extensions'),
      context,
    );
  },
  open(client) {
    const { deviceIds } = client.getUserData();
    deviceIds.forEach((deviceId) => client.subscribe(deviceId));
    client.send(JSON.stringify({ type: 'subscribed', deviceIds }));
  },
});

const devices = mqtt.connect(MQTT_URL);
devices.on('connect', () => devices.subscribe('devices/+/telemetry', { qos: 1 }));
devices.on('message', (topic, payload) => {
  const deviceId = topic.split('/')[1];
  const message = {
    type: 'telemetry',
    deviceId,
    payload: JSON.parse(payload.toString()),
    serverTs: Date.now(),
  };
  app.publish(deviceId, JSON.stringify(message));
});

app.listen(HOST, Number(PORT), (token) => {
  if (!token) {
    process.exit(1);
  }
});
