import { Module } from '@nestjs/common';
import { CommandPublisher } from '../mqtt/command-publisher.js';
import { DeviceTrace, IngestCounters } from '../mqtt/ingest-counters.js';
import { DeviceController } from './device.controller.js';
import { DeviceMessages, StaticMetadata } from './device-messages.js';
import { MqttTransport } from './mqtt-transport.js';
import { RetainedState } from '../ingest/retained-state.js';
import { TransformModule } from '../transform/transform.module.js';
import { Upstream } from '../ingest/upstream.js';

/** The broker's side: device messages in, commands out. */
@Module({
  imports: [TransformModule],
  controllers: [DeviceController],
  providers: [
    MqttTransport,
    CommandPublisher,
    Upstream,
    IngestCounters,
    DeviceTrace,
    RetainedState,
    StaticMetadata,
    DeviceMessages,
  ],
  exports: [MqttTransport, CommandPublisher, Upstream],
})
export class DevicesModule {}
