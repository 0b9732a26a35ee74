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
          const topic = step.topic.replace('$i', time);
          const sent = this.#publish(topic, payloadBytes(step.payload), step);
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
          const sent = this.#publish(fleetTopic(step, step.from + index), payload, step);
          if (index % MAX_AHEAD === MAX_AHEAD - 1) {
            await sent;
          }
        }
        break;
      }
      case 'edge':
        await this.#beEdgeNode(step);
        break;
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

  /** Says what an edge node says, over and over; its sequence goes on where it does not jump. */
  async #beEdgeNode({ node, says, qos, times, everyMs }) {
    let seq = 0;
    for (let time = 0; time < times; time += 1) {
      for (const { verb, device, jump, payload } of says) {
        if (this.#isOver()) {
          return;
        }
        seq = verb === 'NBIRTH' ? 0 : (seq + 1 + jump) & 0xff;
        const numbered = verb === 'NDEATH' || verb === 'NCMD' ? payload : { ...payload, seq };
        const topic = `spBv1.0/Plant/${verb}/${node}${device === '' ? '' : `/${device}`}`;
        const sent = this.#publish(topic, payloadBytes(numbered), { qos, retain: false });
        if (everyMs > 0) {
          await pause(everyMs);
        } else if (seq % MAX_AHEAD === 0 || (payload.names ?? 0) > 100) {
          await sent;
        }
      }
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

/** `kind` is the last level of a device of Sluice's own layout, or a template with `$id`. */
function fleetTopic({ prefix, kind }, number) {
  const id = `${prefix}${number}`;
  return kind.includes('$id') ? kind.replace('$id', id) : `devices/${id}/${kind}`;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
