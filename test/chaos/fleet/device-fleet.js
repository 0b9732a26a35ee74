import { MqttDevice } from './mqtt-device.js';

const TICK_MS = 20;
/** A device waits while the broker owes it this many PUBACKs. */
const MAX_PENDING = 2_000;

/** Devices that number their publications: `{"n":7,"t":<this process's ms>}`. */
export class DeviceFleet {
  /** @type {{ id: string, mqtt: MqttDevice, due: number }[]} */
  #devices = [];
  #timer;
  #startedAt = 0;
  #lastTick = 0;
  #bursts = false;

  /**
   * @param {number} port the broker's
   * @param {import('./ledger.js').Ledger} ledger
   * @param {number} perSecond publications a second, of all devices together
   */
  constructor(port, ledger, perSecond) {
    this.ledger = ledger;
    this.perDevice = perSecond / ledger.devices.size;
    for (const id of ledger.devices.keys()) {
      // The devices do not publish in step: each begins somewhere in its interval.
      this.#devices.push({ id, mqtt: new MqttDevice(port, `device-${id}`), due: Math.random() });
    }
  }

  get connected() {
    return this.#devices.filter(({ mqtt }) => mqtt.connected).length;
  }

  /** @param {boolean} bursts one burst a second of all that was due since, from all devices at once */
  start(bursts) {
    this.stop();
    this.#bursts = bursts;
    this.#startedAt = this.#lastTick = performance.now();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  stop() {
    clearInterval(this.#timer);
  }

  /** Resolves when the broker owes no PUBACK any more, or the time is over. */
  async acknowledged(timeoutMs) {
    const deadline = performance.now() + timeoutMs;
    while (this.#devices.some(({ mqtt }) => mqtt.pending > 0) && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, TICK_MS));
    }
  }

  end() {
    this.stop();
    this.#devices.forEach(({ mqtt }) => mqtt.end());
  }

  #tick() {
    const now = performance.now();
    // After a stall of this process the devices do not make up for what they did not send.
    const seconds = Math.min(now - this.#lastTick, 200) / 1000;
    const second = Math.floor((now - this.#startedAt) / 1000);
    const flush = !this.#bursts || second > Math.floor((this.#lastTick - this.#startedAt) / 1000);
    this.#lastTick = now;
    for (const device of this.#devices) {
      device.due += this.perDevice * seconds;
      if (!device.mqtt.connected) {
        device.due = Math.random();
      }
      while (flush && device.due >= 1 && device.mqtt.pending < MAX_PENDING) {
        device.due -= 1;
        this.#publish(device);
      }
    }
  }

  #publish({ id, mqtt }) {
    const entry = this.ledger.devices.get(id);
    const n = (entry.sent += 1);
    const payload = `{"n":${n},"t":${performance.now().toFixed(2)},"temperature":${(20 + (n % 100) / 10).toFixed(1)}}`;
    mqtt.publish(`devices/${id}/telemetry`, payload, () => entry.acknowledged.add(n));
  }
}
