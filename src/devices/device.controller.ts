import { Controller } from '@nestjs/common';
import { EventPattern } from '@nestjs/microservices';
import { DEVICE_TRANSPORT } from '../ingest/ingest.js';
import { InboundMessage } from '../mqtt/topic-router.js';
import { DeviceMessages, META, STATUS, TELEMETRY } from './device-messages.js';

/**
 * The topics of devices as Nest knows them. The sessions of the transport call {@link DeviceMessages} directly, past Nest's proxies and
 * RxJS, each with its own sink; the transport sees to it that both name the same topics.
 */
@Controller()
export class DeviceController {
  constructor(private readonly messages: DeviceMessages) {}

  @EventPattern(TELEMETRY, DEVICE_TRANSPORT)
  telemetry(message: InboundMessage): void {
    this.messages.telemetry(message);
  }

  @EventPattern(STATUS, DEVICE_TRANSPORT)
  status(message: InboundMessage): void {
    this.messages.status(message);
  }

  @EventPattern(META, DEVICE_TRANSPORT)
  meta(message: InboundMessage): void {
    this.messages.meta(message);
  }
}
