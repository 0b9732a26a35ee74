import { nowMicros } from './delivery-sink.js';
import { writeTimestamp } from './payload.js';

const MAX_PACKET_ID = 65_535;
const CHUNK_PACKETS = 400;

/**
 * PUBLISH packets on one MQTT connection, each with an id of its own, never more of them unacknowledged than the window.
 */
export class PublishStream {
  #socket;
  #packetId = 0;
  #publications;
  #window = 1;
  #next = 0;
  #isBlocked = false;
  published = 0;
  acknowledged = 0;
  /** Messages of others sent at QoS 1 on this connection and not yet acknowledged. */
  foreign = 0;

  /**
   * @param {import('node:net').Socket} socket
   * @param {number} receiveMaximum as the subscriber said in CONNECT
   */
  constructor(socket, receiveMaximum) {
    this.#socket = socket;
    this.receiveMaximum = receiveMaximum;
    /** @type {4 | 5} */
    this.version = 4;
    socket.on('drain', () => (this.#isBlocked = false));
  }

  /**
   * @param {ReturnType<import('./payload.js').buildPublications>} publications
   * @param {number} window
   */
  use(publications, window) {
    this.#publications = publications;
    this.#window = Math.min(window, this.receiveMaximum);
  }

  /** How many more may be sent now. */
  get room() {
    if (this.#isBlocked) {
      return 0;
    }
    return this.#publications.qos === 0 ? CHUNK_PACKETS : this.#window - (this.published - this.acknowledged);
  }

  /** A PUBACK has come. Those of the few foreign messages are taken first: only the number in flight matters. */
  acknowledge() {
    if (this.foreign > 0) {
      this.foreign--;
    } else {
      this.acknowledged++;
    }
  }

  nextPacketId() {
    this.#packetId = this.#packetId === MAX_PACKET_ID ? 1 : this.#packetId + 1;
    return this.#packetId;
  }

  /**
   * Sends the fleet's next publications in one write.
   *
   * @param {number} wanted
   * @returns {{first: number, count: number}} the device of the first one, and how many were sent
   */
  send(wanted) {
    const { bytes, packetBytes, packetIdAt, timestampAt, devices, qos } = this.#publications;
    const first = this.#next;
    const count = Math.min(wanted, this.room, CHUNK_PACKETS, devices - first);
    if (count <= 0) {
      return { first, count: 0 };
    }
    const chunk = Buffer.allocUnsafe(count * packetBytes);
    bytes.copy(chunk, 0, first * packetBytes, (first + count) * packetBytes);
    writeTimestamp(chunk, timestampAt, nowMicros());
    for (let index = 0; index < count; index++) {
      const at = index * packetBytes;
      if (index > 0) {
        chunk.copyWithin(at + timestampAt, timestampAt, timestampAt + 16);
      }
      if (qos > 0) {
        const id = this.nextPacketId();
        chunk[at + packetIdAt] = id >> 8;
        chunk[at + packetIdAt + 1] = id & 0xff;
      }
    }
    this.#isBlocked = !this.#socket.write(chunk);
    this.#next = (first + count) % devices;
    this.published += count;
    return { first, count };
  }
}
