import { Inject, Injectable, Logger } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import type { MessageKind, MessageOutcome } from './ingest-counters.js';

/**
 * Says of the devices named in LOG_TRACE_DEVICES what became of each of their messages, never what was in them.
 * Context `DeviceTrace`, level log; the logger lets this context through at any LOG_LEVEL.
 */
@Injectable()
export class DeviceTrace {
  private readonly logger = new Logger(DeviceTrace.name);
  private readonly devices: ReadonlySet<string>;

  constructor(@Inject(CONFIG) config: Config) {
    this.devices = new Set(config.log.traceDevices);
  }

  /** Whether anything is traced at all: lets the hot path skip the rest. */
  get active(): boolean {
    return this.devices.size > 0;
  }

  message(deviceId: string, kind: MessageKind, outcome: MessageOutcome, bytes: number): void {
    if (this.devices.has(deviceId)) {
      this.logger.log(`${kind} of ${JSON.stringify(deviceId)} (${bytes} bytes): ${outcome}`);
    }
  }
}
