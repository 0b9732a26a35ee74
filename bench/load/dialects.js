import { FrameKind } from './frame-reader.js';
import { encodePacket, encodeString, PacketType } from './mqtt-codec.js';
import { encodeClientFrame } from './websocket-client.js';
import { deviceId } from './payload.js';

const TEXT = 1;
const BINARY = 2;
const ascii = (character) => character.charCodeAt(0);

/**
 * How the servers differ on the wire: the upgrade, what a delivery looks like, and how to tell that a
 * connection has its rooms.
 *
 * @typedef {object} Dialect
 * @property {string} path
 * @property {string[]} [headers]
 * @property {(buffer: Buffer, start: number, length: number) => number} classify
 * @property {(connection: import('./dashboard.js').Dashboard) => void} [onUpgrade]
 * @property {(connection: import('./dashboard.js').Dashboard, buffer: Buffer, start: number, end: number) => void} onData
 */

const TYPE_AT = '{"type":"'.length;
const FIRST_OF_BATCH_AT = '{"type":"batch","messages":[{"type":"'.length;

/**
 * JSON objects that begin with their type, one character of which tells what to do. A connection is ready at `subscribed`.
 *
 * @type {Dialect}
 */
const json = {
  path: '/ws',
  classify(buffer, start, length) {
    if (length <= TYPE_AT + 1) {
      return FrameKind.OTHER;
    }
    switch (buffer[start + TYPE_AT]) {
      case ascii('t'):
        return FrameKind.DELIVERY;
      case ascii('b'):
        // Replies are batched too; before a connection has its rooms there is nothing else.
        return buffer[start + FIRST_OF_BATCH_AT] === ascii('t') ? FrameKind.BATCH : FrameKind.CONTROL;
      case ascii('s'):
        return buffer[start + TYPE_AT + 1] === ascii('u') ? FrameKind.CONTROL : FrameKind.OTHER;
      case ascii('e'):
        return FrameKind.CONTROL;
      default:
        return FrameKind.OTHER;
    }
  },
  onData(connection, buffer, start, end) {
    if (buffer[start + TYPE_AT] === ascii('e')) {
      connection.sink.countClose(buffer.toString('utf8', start, Math.min(end, start + 120)));
    } else if (buffer[start + TYPE_AT] === ascii('s') || hasSubscribed(buffer, start, end)) {
      connection.ready();
    }
  },
};

function hasSubscribed(buffer, start, end) {
  const at = buffer.indexOf('{"type":"subscribed"', start);
  return at >= 0 && at < end;
}

/** As {@link json}, of a client that asks for metadata once. @type {Dialect} */
const jsonOnce = {
  ...json,
  path: '/ws?subscribe=none',
  onUpgrade(connection) {
    const deviceIds = connection.devices.map(deviceId);
    const subscribe = { type: 'subscribe', deviceIds, delivery: { meta: 'once' } };
    connection.write(encodeClientFrame(TEXT, Buffer.from(JSON.stringify(subscribe))));
  },
};

/** Engine.IO 4 over WebSocket only. @type {Dialect} */
const socketIo = {
  path: '/socket.io/?EIO=4&transport=websocket',
  classify(buffer, start) {
    if (buffer[start] === ascii('4') && buffer[start + 1] === ascii('2')) {
      return buffer[start + 4] === ascii('t') ? FrameKind.DELIVERY : FrameKind.CONTROL;
    }
    return FrameKind.CONTROL;
  },
  onData(connection, buffer, start) {
    switch (buffer[start]) {
      case ascii('0'):
        connection.write(encodeClientFrame(TEXT, Buffer.from('40')));
        return;
      case ascii('2'):
        connection.write(encodeClientFrame(TEXT, Buffer.from('3')));
        return;
      case ascii('4'):
        if (buffer[start + 1] === ascii('2')) {
          connection.ready();
        }
        return;
      default:
        return;
    }
  },
};

/** MQTT 3.1.1 over WebSocket, one packet a frame, subscribed to its devices at QoS 0. @type {Dialect} */
const mqtt = {
  path: '/mqtt',
  headers: ['Sec-WebSocket-Protocol: mqtt'],
  classify(buffer, start) {
    return buffer[start] >> 4 === PacketType.PUBLISH ? FrameKind.BATCH : FrameKind.CONTROL;
  },
  onUpgrade(connection) {
    const head = Buffer.from([4, 2, 0, 0]); // level, clean session, no keep alive
    const id = encodeString(`bench-${connection.port}-${connection.index}`);
    const packet = encodePacket(PacketType.CONNECT << 4, encodeString('MQTT'), head, id);
    connection.write(encodeClientFrame(BINARY, packet));
  },
  onData(connection, buffer, start) {
    const type = buffer[start] >> 4;
    if (type === PacketType.SUBACK) {
      connection.ready();
    } else if (type === PacketType.CONNACK) {
      const filters = connection.devices.map((device) =>
        Buffer.concat([encodeString(`devices/${deviceId(device)}/telemetry`), Buffer.from([0])]),
      );
      const packet = encodePacket((PacketType.SUBSCRIBE << 4) | 2, Buffer.from([0, 1]), ...filters);
      connection.write(encodeClientFrame(BINARY, packet));
    }
  },
};

/**
 * The NATS protocol over WebSocket: lines and payloads, any number in a frame, and frames that end anywhere. An MQTT topic's levels are parted
 * by dots. @type {Dialect}
 */
const nats = {
  path: '/',
  classify(buffer, start, length) {
    const word = buffer.toString('latin1', start, start + Math.min(length, 4));
    return word === 'INFO' || word === 'PING' || word === 'PONG' || word === '-ERR'
      ? FrameKind.CONTROL
      : FrameKind.BATCH;
  },
  onData(connection, buffer, start, end) {
    const text = buffer.toString('latin1', start, end);
    if (text.startsWith('INFO')) {
      const subscriptions = connection.devices.map(
        (device, index) => `SUB devices.${deviceId(device)}.telemetry ${index + 1}\r\n`,
      );
      const lines = ['CONNECT {"verbose":false,"pedantic":false}\r\n', ...subscriptions, 'PING\r\n'];
      connection.write(encodeClientFrame(BINARY, Buffer.from(lines.join(''))));
    } else if (text.startsWith('PONG')) {
      connection.ready();
    } else if (text.startsWith('PING')) {
      connection.write(encodeClientFrame(BINARY, Buffer.from('PONG\r\n')));
    } else {
      connection.sink.countClose(text.slice(0, 120));
    }
  },
};

/** As {@link mqtt}, at the path of RabbitMQ's plug-in. @type {Dialect} */
const webMqtt = { ...mqtt, path: '/ws' };

/** @type {Record<string, Dialect>} */
export const dialects = {
  json,
  'json-once': jsonOnce,
  'socket.io': socketIo,
  mqtt,
  nats,
  'web-mqtt': webMqtt,
};
