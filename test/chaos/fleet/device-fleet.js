const TICK_MS = 20;
/** A device waits while the broker owes it this many PUBACKs. */
const MAX_PENDING = 2_000;

/**
 * Devices that publish at a rate, each with a number for every message. How they speak is theirs: see speakers.js.
 *
 * @typedef {object} Speaker
 * @property {boolean} connected
 * @property {number} pending messages that the broker has not acknowledged
 * @property {() => void} say the next message
 * @property {() => void} end
 */
export class DeviceFleet {
  /** @type {{ speaker: Speaker, due: number }[]} */
  #devices;
  #timer;
  #startedAt = 0;
  #lastTick = 0;
  #bursts = false;

  /**
   * @param {Speaker[]} speakers
   * @param {number} perSecond publications a second, of all devices together
   */
  constructor(speakers, perSecond) {
    this.perDevice = perSecond / speakers.length;
    // The devices do not publish in step: each begins somewhere in its interval.
    this.#devices = speakers.map((speaker) => ({ speaker, due: Math.random() }));
  }

  get connected() {
    return this.#devices.filter(({ speaker }) => speaker.connected).length;
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
    while (this.#devices.some(({ speaker }) => speaker.pending > 0) && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, TICK_MS));
    }
  }

  end() {
    this.stop();
    this.#devices.forEach(({ speaker }) => speaker.end());
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
      if (!device.speaker.connected) {
        device.due = Math.random();
      }
      while (flush && device.due >= 1 && device.speaker.pending < MAX_PENDING) {
        device.due -= 1;
        device.speaker.say();
      }
    }
  }
}
