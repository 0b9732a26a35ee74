/**
 * NestJS as its documentation has it: a hybrid application with the stock MQTT transport and the ws adapter. Decorators
 * are applied by hand, so that no compiler is needed.
 */
import 'reflect-metadata';

import { Inject, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { JwtModule, JwtService } from '@nestjs/jwt';
import { Ctx, EventPattern, MqttContext, Payload, Transport } from '@nestjs/microservices';
import { Controller } from '@nestjs/common';
import { WsAdapter } from '@nestjs/platform-ws';
import { WebSocketGateway } from '@nestjs/websockets';
import { WebSocket } from 'ws';

const { HOST, JWT_SECRET, MQTT_URL, PORT } = process.env;

class TelemetryGateway {
  /** @type {Map<string, Set<WebSocket>>} */
  rooms = new Map();

  constructor(jwtService) {
    this.jwtService = jwtService;
  }

  handleConnection(client, request) {
    let claims;
    try {
      claims = this.jwtService.verify(request.headers.authorization.split(' ')[1]);
    } catch {
      client.close(4001, 'Unauthorized');
      return;
    }
    client.deviceIds = claims.deviceIds;
    for (const deviceId of claims.deviceIds) {
      if (!this.rooms.has(deviceId)) {
        this.rooms.set(deviceId, new Set());
      }
      this.rooms.get(deviceId).add(client);
    }
    client.send(JSON.stringify({ type: 'subscribed', deviceIds: claims.deviceIds }));
  }

  handleDisconnect(client) {
    client.deviceIds?.forEach((id) => this.rooms.get(id)?.delete(client));
  }

  broadcast(message) {
    const text = JSON.stringify(message);
    for (const client of this.rooms.get(message.deviceId) ?? []) {
      if (client.readyState === WebSocket.OPEN) {
        client.send(text);
      }
    }
  }
}
WebSocketGateway({ path: '/ws' })(TelemetryGateway);
Inject(JwtService)(TelemetryGateway, undefined, 0);

class DeviceController {
  constructor(gateway) {
    this.gateway = gateway;
  }

  telemetry(payload, context) {
    const deviceId = context.getTopic().split('/')[1];
    this.gateway.broadcast({ type: 'telemetry', deviceId, payload, serverTs: Date.now() });
  }
}
Controller()(DeviceController);
Inject(TelemetryGateway)(DeviceController, undefined, 0);
Payload()(DeviceController.prototype, 'telemetry', 0);
Ctx()(DeviceController.prototype, 'telemetry', 1);
Reflect.defineMetadata('design:paramtypes', [Object, MqttContext], DeviceController.prototype, 'telemetry');
EventPattern('devices/+/telemetry')(
  DeviceController.prototype,
  'telemetry',
  Object.getOwnPropertyDescriptor(DeviceController.prototype, 'telemetry'),
);

class AppModule {}
Module({
  imports: [JwtModule.register({ secret: JWT_SECRET })],
  controllers: [DeviceController],
  providers: [TelemetryGateway],
})(AppModule);

const app = await NestFactory.create(AppModule, { logger: ['error', 'warn'] });
app.useWebSocketAdapter(new WsAdapter(app));
app.connectMicroservice({
  transport: Transport.MQTT,
  options: { url: MQTT_URL, subscribeOptions: { qos: 1 } },
});
await app.startAllMicroservices();
await app.listen(Number(PORT), HOST);
