import {
  decodeConnect,
  decodePublish,
  decodeSubscribe,
  encodePacket,
  encodePublish,
  PacketReader,
  PacketType,
} from './mqtt-codec.js';
import { PublishStream } from './publish-stream.js';
import { parseFilter } from './topic-filter.js';

const MAX_QOS = 1;

/** One MQTT client of the broker. */
export class BrokerConnection {
  #socket;
  #broker;
  #reader = new PacketReader();
  #version = 4;
  /** @type {{group: string | null, filter: string, qos: number}[]} */
  subscriptions = [];

  /**
   * @param {import('node:net').Socket} socket
   * @param {import('./mqtt-broker.js').MqttBroker} broker
   */
  constructor(socket, broker) {
    this.#socket = socket;
    this.#broker = broker;
    this.stream = new PublishStream(socket, 65_535);
    socket.on('data', (chunk) => {
      this.#reader.push(chunk, (...packet) => this.#handle(...packet));
      this.#broker.onRoom();
    });
    socket.on('drain', () => this.#broker.onRoom());
    socket.on('error', () => socket.destroy());
  }

  publish(topic, payload, qos) {
    const { packet, packetIdAt } = encodePublish(topic, payload, qos, this.#version);
    if (qos > 0) {
      packet.writeUInt16BE(this.stream.nextPacketId(), packetIdAt);
      this.stream.foreign++;
    }
    this.#socket.write(packet);
  }

  #handle(header, buffer, start, end) {
    switch (header >> 4) {
      case PacketType.PUBACK:
        this.stream.acknowledge();
        return;
      case PacketType.CONNECT:
        this.#connect(buffer, start);
        return;
      case PacketType.SUBSCRIBE:
        this.#subscribe(buffer, start, end);
        return;
      case PacketType.UNSUBSCRIBE:
        this.#unsubscribe(buffer, start, end);
        return;
      case PacketType.PUBLISH:
        this.#published(header, buffer, start, end);
        return;
      case PacketType.PINGREQ:
        this.#send(PacketType.PINGRESP);
        return;
      case PacketType.DISCONNECT:
        this.#socket.end();
        return;
      default:
        this.#socket.destroy();
    }
  }

  #connect(buffer, start) {
    const { version, receiveMaximum } = decodeConnect(buffer, start);
    this.#version = version;
    this.stream.version = version;
    this.stream.receiveMaximum = receiveMaximum;
    this.#send(PacketType.CONNACK, version === 5 ? [0, 0, 0] : [0, 0]);
  }

  #subscribe(buffer, start, end) {
    const { packetId, filters } = decodeSubscribe(buffer, start, end, this.#version);
    for (const { filter, qos } of filters) {
      this.#forget(filter);
      this.subscriptions.push({ ...parseFilter(filter), qos: Math.min(qos, MAX_QOS) });
    }
    const codes = filters.map(({ qos }) => Math.min(qos, MAX_QOS));
    this.#send(PacketType.SUBACK, [...this.#answerHead(packetId), ...codes]);
  }

  #unsubscribe(buffer, start, end) {
    const { packetId, filters } = decodeSubscribe(buffer, start, end, this.#version, false);
    filters.forEach(({ filter }) => this.#forget(filter));
    const codes = this.#version === 5 ? filters.map(() => 0) : [];
    this.#send(PacketType.UNSUBACK, [...this.#answerHead(packetId), ...codes]);
  }

  #published(header, buffer, start, end) {
    const { topic, qos, packetId, payload } = decodePublish(header, buffer, start, end, this.#version);
    if (qos > 0) {
      this.#send(PacketType.PUBACK, [packetId >> 8, packetId & 0xff]);
    }
    this.#broker.route(topic, payload, qos);
  }

  #forget(text) {
    const { group, filter } = parseFilter(text);
    this.subscriptions = this.subscriptions.filter((item) => item.group !== group || item.filter !== filter);
  }

  #answerHead(packetId) {
    const id = [packetId >> 8, packetId & 0xff];
    return this.#version === 5 ? [...id, 0] : id;
  }

  #send(type, body = []) {
    this.#socket.write(encodePacket(type << 4, Buffer.from(body)));
  }
}
