import { encodePublish } from './mqtt-codec.js';

/** Stands before the time of sending in every payload, and nowhere else in what a server sends. */
export const MARKER = 0x7e; // '~'
export const TIMESTAMP_DIGITS = 16;

/** No two markers are closer than this, since every delivery carries a whole payload. */
export const MIN_MARKER_DISTANCE = 120;

const PREFIX = '{"t":"~';
const FIELDS = ',"temperature":21.57,"humidity":48.2,"pressure":1013.25,"vibration":0.031,"ok":true';

/** @param {number} index */
export function deviceId(index) {
  return `device-${String(index).padStart(5, '0')}`;
}

/**
 * A telemetry payload of an exact size, with room for the time of sending.
 *
 * @param {number} bytes at least MIN_MARKER_DISTANCE
 */
export function buildPayload(bytes) {
  const head = `${PREFIX}${'0'.repeat(TIMESTAMP_DIGITS)}"${FIELDS},"n":"`;
  const tail = '"}';
  const padding = bytes - head.length - tail.length;
  if (padding < 0 || bytes < MIN_MARKER_DISTANCE) {
    throw new Error(`a payload of ${bytes} bytes has no room for its fields`);
  }
  return Buffer.from(`${head}${'x'.repeat(padding)}${tail}`);
}

/** Metadata of an exact size. @param {number} bytes */
export function buildMeta(bytes) {
  const empty = JSON.stringify({ name: '' });
  return Buffer.from(JSON.stringify({ name: 'x'.repeat(bytes - empty.length) }));
}

/**
 * The PUBLISH packets of a fleet, one after the other in one buffer, all of the same length.
 *
 * @param {{devices: number, payloadBytes: number, qos: 0 | 1, version: 4 | 5}} options
 */
export function buildPublications({ devices, payloadBytes, qos, version }) {
  const payload = buildPayload(payloadBytes);
  const encoded = Array.from({ length: devices }, (_, index) =>
    encodePublish(`devices/${deviceId(index)}/telemetry`, payload, qos, version),
  );
  const { packet, packetIdAt, payloadAt } = encoded[0];
  return {
    bytes: Buffer.concat(encoded.map((item) => item.packet)),
    packetBytes: packet.length,
    packetIdAt,
    timestampAt: payloadAt + PREFIX.length,
    devices,
    qos,
  };
}

/**
 * The same for a fleet that has a topic for each value: a device's topics one after the other. Every value has room for the time of
 * sending, and the first one of a device the marker, so that a whole state counts once.
 *
 * @param {{devices: number, topics: number, qos: 0 | 1, version: 4 | 5}} options
 */
export function buildFieldPublications({ devices, topics, qos, version }) {
  const encoded = Array.from({ length: devices * topics }, (_, index) => {
    const topic = index % topics;
    const value = `"${topic === 0 ? '~' : '-'}${'0'.repeat(TIMESTAMP_DIGITS)}"`;
    const name = `f${String(topic).padStart(3, '0')}`;
    const device = deviceId(Math.floor(index / topics));
    return encodePublish(`devices/${device}/${name}`, Buffer.from(value), qos, version);
  });
  const { packet, packetIdAt, payloadAt } = encoded[0];
  return {
    bytes: Buffer.concat(encoded.map((item) => item.packet)),
    packetBytes: packet.length,
    packetIdAt,
    timestampAt: payloadAt + 2,
    devices: encoded.length,
    qos,
  };
}

/** @param {Buffer} buffer @param {number} at @param {number} micros */
export function writeTimestamp(buffer, at, micros) {
  let rest = Math.floor(micros);
  for (let digit = TIMESTAMP_DIGITS - 1; digit >= 0; digit--) {
    const next = Math.floor(rest / 10);
    buffer[at + digit] = 48 + rest - next * 10;
    rest = next;
  }
}

/** @returns {number} microseconds */
export function readTimestamp(buffer, at) {
  let value = 0;
  for (let digit = 0; digit < TIMESTAMP_DIGITS; digit++) {
    value = value * 10 + buffer[at + digit] - 48;
  }
  return value;
}
