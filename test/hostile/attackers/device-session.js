import { connectAsync } from 'mqtt';
import { payloadBytes } from './payloads.js';

/** Bytes that a device hands to its socket before it waits for the broker to take them. */
const MAX_AHEAD = 64;

/** One device (or a fleet of them) of a round, over real MQTT. What the broker refuses is the broker's business. */
export class DeviceSession {
  publications = 0;
  #client;
  #ended = false;

  constructor(spec, surroundings) {
    this.spec = spec;
    this.surroundings = surroundings;
  }

  async run() {
    const { spec, surroundings } = this;
    const will = spec.will && {
      topic: spec.will.topic,
      payload: payloadBytes(spec.will.payload),
      qos: 1,
      retain: spec.will.retain,
    };
    try {
      this.#client = await connectAsync(
        `mqtt://127.0.0.1:${surroundings.brokerPort}`,
        { protocolVersion: spec.version, reconnectPeriod: 0, connectTimeout: 5_000, ...(will && { will }) },
        false,
      );
    } catch {
      return;
    }
    this.#client.on('error', () => undefined);
    this.#client.on('close', () => (this.#ended = true));
    for (const step of spec.steps) {
      if (this.#isOver()) {
        break;
      }
      await this.#step(step);
    }
  }

  end() {
    this.#ended = true;
    this.#client?.end(true);
  }

  #isOver() {
    return this.#ended || Date.now() > this.surroundings.deadline;
  }

  async #step(step) {
    switch (step.do) {
      case 'publish':
        for (let time = 0; time < (step.times ?? 1) && !this.#isOver(); time += 1) {
          const sent = this.#publish(step.topic, payloadBytes(step.payload), step);
          if (step.everyMs > 0) {
            await pause(step.everyMs);
          } else if (time % MAX_AHEAD === MAX_AHEAD - 1 || step.payload.bytes > 10_000) {
            await sent;
          }
        }
        break;
      case 'fleet': {
        const payload = payloadBytes(step.payload);
        for (let index = 0; index < step.count && !this.#isOver(); index += 1) {
          const sent = this.#publish(
            `devices/${step.prefix}${step.from + index}/${step.kind}`,
            payload,
            step,
          );
          if (index % MAX_AHEAD === MAX_AHEAD - 1) {
            await sent;
          }
        }
        break;
      }
      case 'wait':
        await pause(step.ms);
        break;
      case 'crash':
        this.#client.stream.destroy();
        break;
      case 'leave':
        this.#client.end(true);
        break;
      default:
        throw new Error(`no step ${step.do}`);
    }
  }

  /** Resolves when the socket (QoS 0) or the broker (QoS 1) has it, or the connection is over. */
  #publish(topic, payload, { qos, retain }) {
    this.publications += 1;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, this.surroundings.deadline - Date.now()));
      const done = () => {
        clearTimeout(timer);
        resolve();
      };
      try {
        this.#client.publish(topic, payload, { qos, retain }, done);
      } catch {
        done(); // a topic that the library refuses
      }
    });
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
