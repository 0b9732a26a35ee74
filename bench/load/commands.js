import { setTimeout as pause } from 'node:timers/promises';

import { DashboardGroup } from './dashboard-group.js';
import { Flood } from './flood.js';
import { measure } from './measure.js';
import { MqttBroker } from './mqtt-broker.js';
import { buildMeta, deviceId } from './payload.js';
import { cpuMicros, rssKib } from './process-usage.js';
import { connectPublisher } from './publisher-client.js';
import { reconnectStorm } from './reconnect-storm.js';

const POLL_MS = 20;
const QUIET_MS = 250;

/** What the runner can ask of the generator. One generator process serves one trial. */
export class Commands {
  #broker = new MqttBroker();
  /** @type {Map<string, DashboardGroup>} */
  #groups = new Map();
  /** @type {Flood | undefined} */
  #flood;
  #publisher;

  constructor() {
    this.#broker.onRoom = () => this.#flood?.pump();
  }

  listen() {
    return this.#broker.listen();
  }

  /** Waits until device messages would reach a server. */
  async waitForSubscriber({ timeoutMs }) {
    const deadline = performance.now() + timeoutMs;
    while (this.#broker.telemetryTargets().length === 0) {
      if (performance.now() > deadline) {
        throw new Error('the server has not subscribed to devices/+/telemetry');
      }
      await pause(POLL_MS);
    }
  }

  /** For a server that is the broker: publish to it instead of waiting for it to subscribe. */
  async connectPublisher({ port }) {
    this.#publisher = await connectPublisher(port, () => this.#flood?.pump());
  }

  async openDashboards({ count, concurrency, timeoutMs, retryMs, ...options }) {
    let group = this.#groups.get(options.name);
    if (group === undefined) {
      group = new DashboardGroup(options);
      this.#groups.set(options.name, group);
    }
    return await group.open(count, concurrency, timeoutMs, retryMs);
  }

  pauseDashboards({ name, isPaused }) {
    this.#groups.get(name).setPaused(isPaused);
  }

  dropDashboards({ name }) {
    this.#groups.get(name).dropAll();
  }

  async storm({ name, timeoutMs }) {
    return await reconnectStorm(this.#groups.get(name), timeoutMs);
  }

  /** Metadata of a fleet, as its devices publish it. */
  publishMeta({ devices, bytes }) {
    for (let index = 0; index < devices; index++) {
      this.#broker.route(`devices/${deviceId(index)}/meta`, buildMeta(bytes), 1);
    }
  }

  startFlood(options) {
    const copies = this.#publisher
      ? [[{ stream: this.#publisher, qos: 1 }]]
      : this.#broker.telemetryTargets();
    for (const group of this.#groups.values()) {
      group.startCounting();
    }
    this.#flood = new Flood(options, copies, [...this.#groups.values()]);
    this.#flood.start();
  }

  /**
   * Ends the flood and waits for what is still on its way, also where more comes than is due.
   *
   * @returns deliveries that were due and that came since the flood's start; the other counts are of all time
   */
  async stopFlood({ drainMs }) {
    this.#flood.stop();
    const deadline = performance.now() + drainMs;
    let before = -1;
    let quietAt = performance.now();
    while (performance.now() < deadline) {
      const deliveries = this.#deliveries();
      if (deliveries !== before) {
        before = deliveries;
        quietAt = performance.now();
      } else if (this.#outstanding() === 0 && performance.now() - quietAt > QUIET_MS) {
        break;
      }
      await pause(POLL_MS);
    }
    return { published: this.#flood.published, groups: this.#groupCounts() };
  }

  async measure(options) {
    return await measure({ ...options, groups: this.#groups, flood: this.#flood });
  }

  usage({ pids }) {
    return { cpuMicros: pids.map(cpuMicros), rssKib: pids.map(rssKib) };
  }

  counts() {
    return this.#groupCounts();
  }

  #deliveries() {
    let deliveries = 0;
    for (const { sink } of this.#groups.values()) {
      deliveries += sink.deliveries;
    }
    return deliveries;
  }

  #outstanding() {
    let outstanding = 0;
    for (const { expected, sink } of this.#groups.values()) {
      outstanding += Math.max(0, expected - sink.deliveries);
    }
    return outstanding;
  }

  #groupCounts() {
    return Object.fromEntries([...this.#groups].map(([name, group]) => [name, describe(group)]));
  }
}

function describe({ sink, expected, readyCount }) {
  return {
    ready: readyCount,
    expected,
    deliveries: sink.deliveries,
    frames: sink.frames,
    bytes: sink.bytes,
    closes: Object.fromEntries(sink.closes),
  };
}
