import mqtt from 'mqtt';
import sparkplug from 'sparkplug-payload';
import { MqttDevice } from './mqtt-device.js';

const { encodePayload, decodePayload } = sparkplug.get('spBv1.0');
/** Wait before an edge node that lost its broker tries again, in ms. */
const RECONNECT_MS = 200;
/** A broker that keeps quiet for this long is dialled anew, in s. */
const KEEP_ALIVE_S = 5;
const FIELDS = ['a', 'b/in', 'b/out', 'c', 'd'];

/** Says `{"n":7,"t":<this process's ms>}`, as the built-in layout has it. */
export class NumberedDevice {
  #mqtt;
  #entry;
  #topic;

  constructor(port, id, ledger) {
    this.#mqtt = new MqttDevice(port, `device-${id}`);
    this.#entry = ledger.devices.get(id);
    this.#topic = `devices/${id}/telemetry`;
  }

  get connected() {
    return this.#mqtt.connected;
  }

  get pending() {
    return this.#mqtt.pending;
  }

  say() {
    const n = (this.#entry.sent += 1);
    const payload = `{"n":${n},"t":${performance.now().toFixed(2)},"temperature":${(20 + (n % 100) / 10).toFixed(1)}}`;
    this.#mqtt.publish(this.#topic, payload, () => this.#entry.acknowledged.add(n));
  }

  end() {
    this.#mqtt.end();
  }
}

/** Has a topic for each of its fields, and now and then an object with two of them; its id is `{level}.f`. */
export class FieldDevice {
  #mqtt;
  #level;

  constructor(port, id, ledger) {
    this.id = id;
    this.ledger = ledger;
    this.#level = id.replace(/\.f$/, '');
    this.#mqtt = new MqttDevice(port, `device-${id}`);
  }

  get connected() {
    return this.#mqtt.connected;
  }

  get pending() {
    return this.#mqtt.pending;
  }

  say() {
    const n = (this.ledger.devices.get(this.id).sent += 1);
    const name = FIELDS[n % FIELDS.length];
    if (n % 7 === 0) {
      const names = [name, FIELDS[(n + 1) % FIELDS.length]];
      const payload = `{${names.map((one) => `${JSON.stringify(one)}:${n}`).join()}}`;
      this.#mqtt.publish(`m/${this.#level}`, payload, () => this.ledger.acknowledge(this.id, n, names));
    } else {
      this.#mqtt.publish(`f/${this.#level}/${name}`, String(n), () =>
        this.ledger.acknowledge(this.id, n, [name]),
      );
    }
  }

  end() {
    this.#mqtt.end();
  }
}

/**
 * An edge node of Sparkplug B with one device, whose id is `{node}.m.s`: births without an acknowledgement, as the specification has it, a
 * will, and births again when it is asked. Its data has the alias alone, and QoS 1, so that "acknowledged" means something.
 */
export class EdgeNode {
  connected = false;
  pending = 0;
  #client;
  #node;
  #bdSeq = -1;
  #seq = 0;
  /** @type {Map<string, number>} */
  #values = new Map(FIELDS.map((name) => [name, 0]));
  #timer;
  #ended = false;

  constructor(port, id, ledger) {
    this.port = port;
    this.id = id;
    this.ledger = ledger;
    ledger.devices.get(id).isBorn = true;
    this.#node = id.replace(/\.m\.s$/, '');
    this.#dial();
  }

  say() {
    const n = (this.ledger.devices.get(this.id).sent += 1);
    const at = n % FIELDS.length;
    this.#values.set(FIELDS[at], n);
    const client = this.#client;
    this.pending += 1;
    this.#publish('DDATA', '/m', [{ alias: at + 1, type: 'Int64', value: n }], 1, (error) => {
      if (client === this.#client && this.connected) {
        this.pending -= 1;
        if (!error) {
          this.ledger.acknowledge(this.id, n, [FIELDS[at]]);
        }
      }
    });
  }

  end() {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#client.end(true);
  }

  #dial() {
    this.#bdSeq = (this.#bdSeq + 1) % 256;
    const metrics = [{ name: 'bdSeq', type: 'Int64', value: this.#bdSeq }];
    const client = mqtt.connect(`mqtt://127.0.0.1:${this.port}`, {
      clientId: `edge-${this.id}`,
      protocolVersion: 4,
      clean: true,
      reconnectPeriod: 0,
      keepalive: KEEP_ALIVE_S,
      will: {
        topic: `spBv1.0/Plant/NDEATH/${this.#node}`,
        payload: Buffer.from(encodePayload({ timestamp: Date.now(), metrics })),
        qos: 1,
        retain: false,
      },
    });
    this.#client = client;
    client.on('error', () => undefined); // 'close' follows
    client.on('connect', () => {
      client.subscribe(`spBv1.0/Plant/NCMD/${this.#node}`, { qos: 1 });
      this.#birth();
      this.connected = true;
    });
    client.on('message', (_topic, payload) => {
      if (decodePayload(payload).metrics?.some(({ name }) => name === 'Node Control/Rebirth')) {
        this.#birth();
      }
    });
    client.once('close', () => {
      this.connected = false;
      this.pending = 0;
      client.end(true);
      if (!this.#ended) {
        this.#timer = setTimeout(() => this.#dial(), RECONNECT_MS);
      }
    });
  }

  #birth() {
    this.#seq = 0;
    this.#publish('NBIRTH', '', [
      { name: 'bdSeq', type: 'Int64', value: this.#bdSeq },
      { name: 'Node Control/Rebirth', type: 'Boolean', value: false },
    ]);
    const metrics = FIELDS.map((name, at) => ({
      name,
      alias: at + 1,
      type: 'Int64',
      value: this.#values.get(name),
    }));
    this.#publish('DBIRTH', '/m', metrics);
  }

  #publish(verb, device, metrics, qos = 0, onAcknowledged = () => undefined) {
    const payload = Buffer.from(encodePayload({ timestamp: Date.now(), seq: this.#seq, metrics }));
    this.#seq = (this.#seq + 1) % 256;
    this.#client.publish(`spBv1.0/Plant/${verb}/${this.#node}${device}`, payload, { qos }, onAcknowledged);
  }
}
