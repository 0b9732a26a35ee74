import { connect } from 'node:net';

const CONNACK = 2;
const PUBACK = 4;
/** Wait before a device that lost its broker tries again, in ms. */
const RECONNECT_MS = 200;
/** A broker that keeps quiet for this long is dialled anew, in ms. */
const SILENCE_MS = 5_000;

/**
 * A device with just enough of MQTT 3.1.1 to publish at QoS 1, and without what a client library does on top: nothing is
 * kept for a reconnect or sent twice, so that a number is on its way once and "acknowledged" means what the broker said.
 */
export class MqttDevice {
  /** @type {Map<number, () => void>} what to call once a packet id is acknowledged */
  #pending = new Map();
  #nextPacketId = 1;
  #socket;
  #connected = false;
  #rest = Buffer.alloc(0);
  #timer;
  #ended = false;

  /**
   * @param {number} port the broker's, on loopback
   * @param {string} clientId
   */
  constructor(port, clientId) {
    this.port = port;
    this.clientId = clientId;
    this.#dial();
  }

  get connected() {
    return this.#connected;
  }

  /** Publications that the broker has not acknowledged yet. */
  get pending() {
    return this.#pending.size;
  }

  /**
   * Sends one QoS 1 publication; call it only while {@link connected}.
   * @param {string} topic
   * @param {string} payload
   * @param {() => void} onAcknowledged never called when the connection ends before the PUBACK
   */
  publish(topic, payload, onAcknowledged) {
    const id = this.#nextPacketId;
    this.#nextPacketId = id === 0xffff ? 1 : id + 1;
    this.#pending.set(id, onAcknowledged);
    const body = Buffer.concat([
      text(topic),
      Buffer.from([id >> 8, id & 0xff]),
      Buffer.from(payload, 'utf8'),
    ]);
    this.#socket.write(packet(0x32, body));
  }

  end() {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#socket.destroy();
  }

  #dial() {
    this.#rest = Buffer.alloc(0);
    const socket = connect(this.port, '127.0.0.1', () => {
      // Protocol level 4, clean session, no keep-alive.
      socket.write(
        packet(0x10, Buffer.concat([text('MQTT'), Buffer.from([4, 2, 0, 0]), text(this.clientId)])),
      );
    });
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.setTimeout(SILENCE_MS, () => {
      if (!this.#connected || this.#pending.size > 0) {
        socket.destroy();
      }
    });
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => {
      this.#connected = false;
      this.#pending.clear();
      if (!this.#ended) {
        this.#timer = setTimeout(() => this.#dial(), RECONNECT_MS);
      }
    });
  }

  /** All packets that a broker sends to a publisher have a length of one byte. */
  #take(chunk) {
    const data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    while (at + 2 <= data.length && at + 2 + data[at + 1] <= data.length) {
      const kind = data[at] >> 4;
      if (kind === CONNACK) {
        this.#connected = data[at + 3] === 0;
      } else if (kind === PUBACK) {
        const id = data.readUInt16BE(at + 2);
        this.#pending.get(id)?.();
        this.#pending.delete(id);
      }
      at += 2 + data[at + 1];
    }
    this.#rest = data.subarray(at);
  }
}

function text(value) {
  const bytes = Buffer.from(value, 'utf8');
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

function packet(header, body) {
  const length = [];
  let rest = body.length;
  do {
    length.push((rest % 128) | (rest >= 128 ? 128 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.concat([Buffer.from([header, ...length]), body]);
}
