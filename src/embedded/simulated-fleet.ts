import type { IClientOptions } from 'mqtt';
import { contain, walled } from '../logging/walls.js';
import type { Config } from '../config/config.js';
import { type PlannedDevice, planFleet } from './fleet-plan.js';
import { foreignFleet, type ForeignDevice, type ForeignLayout } from './foreign-fleet.js';
import { SimulatedDevice } from './simulated-device.js';

const TICK_MS = 250;
/** Devices that connect per tick, so that a fleet of thousands does not connect all at once. */
const STARTED_PER_TICK = 50;

/**
 * The simulated fleet: devices that connect to the configured broker over MQTT like real ones.
 * One timer for all; it ends with {@link stop}.
 */
export class SimulatedFleet {
  private readonly devices: (SimulatedDevice | ForeignDevice)[] = [];
  private readonly waiting: PlannedDevice[];
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly config: Config,
    private readonly brokerUrl: string,
  ) {
    this.waiting = config.demo.layouts.length > 0 ? [] : planFleet(config.demo.devices);
  }

  start(): void {
    const { layouts, devices } = this.config.demo;
    if (layouts.length > 0) {
      const each = Math.ceil(devices / layouts.length);
      const fleet = foreignFleet(layouts as readonly ForeignLayout[], each, this.brokerUrl, (name) =>
        this.options(name),
      );
      this.devices.push(...fleet);
    }
    this.tick();
    this.timer = setInterval(
      walled('embedded', () => this.tick()),
      TICK_MS,
    );
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    this.waiting.length = 0;
    await Promise.allSettled(this.devices.map((device) => device.stop()));
    this.devices.length = 0;
  }

  private tick(): void {
    const now = Date.now();
    for (const plan of this.waiting.splice(0, STARTED_PER_TICK)) {
      this.devices.push(
        new SimulatedDevice(plan, this.brokerUrl, this.options(plan.deviceId), Math.random, now),
      );
    }
    for (const device of this.devices) {
      try {
        device.tick(now);
      } catch (error) {
        contain('embedded', error); // the other devices continue
      }
    }
  }

  private options(deviceId: string): IClientOptions {
    const { mqtt, redis } = this.config;
    return {
      clientId: `${redis.namespace}-demo-${deviceId}`,
      protocolVersion: mqtt.protocolVersion === '5' ? 5 : 4,
      username: mqtt.username,
      password: mqtt.password,
      ca: mqtt.ca,
      cert: mqtt.cert,
      key: mqtt.key,
      connectTimeout: mqtt.connectTimeoutMs,
      keepalive: mqtt.keepaliveS,
    };
  }
}
