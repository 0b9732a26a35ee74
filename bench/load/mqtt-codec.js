/**
 * The part of MQTT 3.1.1 and 5 that a broker needs to feed a subscriber: reading packets out of a
 * stream, and writing the few answers. QoS 2 is not offered.
 */

export const PacketType = Object.freeze({
  CONNECT: 1,
  CONNACK: 2,
  PUBLISH: 3,
  PUBACK: 4,
  SUBSCRIBE: 8,
  SUBACK: 9,
  UNSUBSCRIBE: 10,
  UNSUBACK: 11,
  PINGREQ: 12,
  PINGRESP: 13,
  DISCONNECT: 14,
});

const EMPTY = Buffer.alloc(0);

/**
 * Cuts a byte stream into packets. A packet that straddles two reads is kept until it is whole.
 */
export class PacketReader {
  #rest = EMPTY;

  /**
   * @param {Buffer} chunk may be reused by the caller after the call
   * @param {(header: number, buffer: Buffer, start: number, end: number) => void} onPacket header is
   *   the first byte (type and flags); start and end bound what follows the remaining length
   */
  push(chunk, onPacket) {
    const buffer = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    let position = 0;
    while (position + 2 <= buffer.length) {
      let length = 0;
      let shift = 0;
      let start = position + 1;
      let byte = 0x80;
      while (byte & 0x80 && start < buffer.length && shift < 28) {
        byte = buffer[start++];
        length |= (byte & 0x7f) << shift;
        shift += 7;
      }
      if (byte & 0x80) {
        if (shift >= 28) {
          throw new Error('malformed remaining length');
        }
        break;
      }
      if (start + length > buffer.length) {
        break;
      }
      onPacket(buffer[position], buffer, start, start + length);
      position = start + length;
    }
    this.#rest = position < buffer.length ? Buffer.from(buffer.subarray(position)) : EMPTY;
  }
}

/** @param {number} value */
export function encodeVariableInteger(value) {
  const bytes = [];
  let rest = value;
  do {
    const byte = rest % 128;
    rest = Math.floor(rest / 128);
    bytes.push(rest > 0 ? byte | 0x80 : byte);
  } while (rest > 0);
  return Buffer.from(bytes);
}

/** @returns {{value: number, next: number}} */
export function decodeVariableInteger(buffer, start) {
  let value = 0;
  let factor = 1;
  let next = start;
  let byte;
  do {
    byte = buffer[next++];
    value += (byte & 0x7f) * factor;
    factor *= 128;
  } while (byte & 0x80);
  return { value, next };
}

/** @param {number} header @param {...Buffer} parts */
export function encodePacket(header, ...parts) {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([header]), encodeVariableInteger(body.length), body]);
}

/** @param {string} text */
export function encodeString(text) {
  const bytes = Buffer.from(text, 'utf8');
  const prefix = Buffer.alloc(2);
  prefix.writeUInt16BE(bytes.length);
  return Buffer.concat([prefix, bytes]);
}

/**
 * @param {Buffer} buffer
 * @returns {{version: 4 | 5, clientId: string, receiveMaximum: number}}
 */
export function decodeConnect(buffer, start) {
  const nameLength = buffer.readUInt16BE(start);
  let position = start + 2 + nameLength;
  const version = buffer[position] >= 5 ? 5 : 4;
  position += 4; // level, flags, keep alive
  let receiveMaximum = 65535;
  if (version === 5) {
    const properties = decodeVariableInteger(buffer, position);
    position = properties.next + properties.value;
    receiveMaximum = findReceiveMaximum(buffer, properties.next, position) ?? receiveMaximum;
  }
  const idLength = buffer.readUInt16BE(position);
  const clientId = buffer.toString('utf8', position + 2, position + 2 + idLength);
  return { version, clientId, receiveMaximum };
}

/** Sizes of the CONNECT properties with a fixed length; user property and strings are handled apart. */
const FIXED_PROPERTY_BYTES = new Map([
  [0x11, 4],
  [0x17, 1],
  [0x19, 1],
  [0x21, 2],
  [0x22, 2],
  [0x27, 4],
]);
const USER_PROPERTY = 0x26;
const RECEIVE_MAXIMUM = 0x21;

function findReceiveMaximum(buffer, start, end) {
  let position = start;
  while (position < end) {
    const id = buffer[position++];
    if (id === RECEIVE_MAXIMUM) {
      return buffer.readUInt16BE(position);
    }
    const size = FIXED_PROPERTY_BYTES.get(id);
    if (size !== undefined) {
      position += size;
      continue;
    }
    position += 2 + buffer.readUInt16BE(position);
    if (id === USER_PROPERTY) {
      position += 2 + buffer.readUInt16BE(position);
    }
  }
  return undefined;
}

/**
 * @param {Buffer} buffer
 * @param {4 | 5} version
 * @returns {{packetId: number, filters: {filter: string, qos: number}[]}}
 */
export function decodeSubscribe(buffer, start, end, version, withOptions = true) {
  const packetId = buffer.readUInt16BE(start);
  let position = start + 2;
  if (version === 5) {
    const properties = decodeVariableInteger(buffer, position);
    position = properties.next + properties.value;
  }
  const filters = [];
  while (position < end) {
    const length = buffer.readUInt16BE(position);
    const filter = buffer.toString('utf8', position + 2, position + 2 + length);
    position += 2 + length;
    filters.push({ filter, qos: withOptions ? buffer[position++] & 3 : 0 });
  }
  return { packetId, filters };
}

/** @returns {{topic: string, qos: number, packetId: number, payload: Buffer}} */
export function decodePublish(header, buffer, start, end, version) {
  const qos = (header >> 1) & 3;
  const topicLength = buffer.readUInt16BE(start);
  let position = start + 2 + topicLength;
  const topic = buffer.toString('utf8', start + 2, position);
  let packetId = 0;
  if (qos > 0) {
    packetId = buffer.readUInt16BE(position);
    position += 2;
  }
  if (version === 5) {
    const properties = decodeVariableInteger(buffer, position);
    position = properties.next + properties.value;
  }
  return { topic, qos, packetId, payload: Buffer.from(buffer.subarray(position, end)) };
}

/**
 * A PUBLISH packet; at QoS 1 the packet id is zero and its place is returned, to be filled in per copy.
 *
 * @returns {{packet: Buffer, packetIdAt: number, payloadAt: number}}
 */
export function encodePublish(topic, payload, qos, version) {
  const name = encodeString(topic);
  const id = qos > 0 ? Buffer.alloc(2) : EMPTY;
  const properties = version === 5 ? Buffer.from([0]) : EMPTY;
  const packet = encodePacket((PacketType.PUBLISH << 4) | (qos << 1), name, id, properties, payload);
  const payloadAt = packet.length - payload.length;
  return { packet, packetIdAt: payloadAt - properties.length - id.length, payloadAt };
}
