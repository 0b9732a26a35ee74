/** MQTT packets as a broker writes them, byte by byte and without a library, so that broken ones can be made too. */

export interface PublishFields {
  topic: string | Buffer;
  payload?: string | Buffer;
  /** QoS 1 when given. */
  packetId?: number;
  dup?: boolean;
  retain?: boolean;
  /** MQTT 5: the properties as bytes. Left out for MQTT 3.1.1. */
  properties?: Buffer;
}

export function publishPacket(fields: PublishFields): Buffer {
  const { topic, payload = '', packetId, dup, retain, properties } = fields;
  const flags = (dup ? 8 : 0) | (packetId === undefined ? 0 : 2) | (retain ? 1 : 0);
  const name = Buffer.from(topic);
  return packet(
    0x30 | flags,
    Buffer.concat([
      uint16(name.length),
      name,
      packetId === undefined ? Buffer.alloc(0) : uint16(packetId),
      properties === undefined
        ? Buffer.alloc(0)
        : Buffer.concat([variableInt(properties.length), properties]),
      Buffer.from(payload),
    ]),
  );
}

export function packet(first: number, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from([first]), variableInt(body.length), body]);
}

export function puback(...packetIds: number[]): Buffer {
  return Buffer.concat(packetIds.map((id) => packet(0x40, uint16(id))));
}

export function uint16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}

export function variableInt(value: number): Buffer {
  const bytes: number[] = [];
  let left = value;
  do {
    bytes.push((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
    left >>>= 7;
  } while (left > 0);
  return Buffer.from(bytes);
}
