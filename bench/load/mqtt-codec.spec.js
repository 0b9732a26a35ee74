import { describe, expect, it } from '@jest/globals';

import {
  decodeConnect,
  decodePublish,
  decodeSubscribe,
  decodeVariableInteger,
  encodePacket,
  encodePublish,
  encodeString,
  encodeVariableInteger,
  PacketReader,
  PacketType,
} from './mqtt-codec.js';

function readAll(chunks) {
  const reader = new PacketReader();
  const packets = [];
  for (const chunk of chunks) {
    reader.push(chunk, (header, buffer, start, end) =>
      packets.push({ header, body: Buffer.from(buffer.subarray(start, end)) }),
    );
  }
  return packets;
}

describe(PacketReader.name, () => {
  const stream = Buffer.concat([
    encodePacket(0x30, Buffer.alloc(200, 1)),
    encodePacket(0xd0),
    encodePacket(0x40, Buffer.from([0, 7])),
  ]);

  it('finds the same packets however the stream is cut', () => {
    const whole = readAll([stream]);
    expect(whole.map(({ header, body }) => [header, body.length])).toEqual([
      [0x30, 200],
      [0xd0, 0],
      [0x40, 2],
    ]);
    for (let cut = 1; cut < stream.length; cut++) {
      expect(readAll([stream.subarray(0, cut), stream.subarray(cut)])).toEqual(whole);
    }
  });

  it('refuses a remaining length of more than four bytes', () => {
    expect(() => readAll([Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 1])])).toThrow('malformed');
  });
});

describe(encodeVariableInteger.name, () => {
  it.each([0, 127, 128, 16_383, 16_384, 268_435_455])('writes %d so that it is read again', (value) => {
    const bytes = encodeVariableInteger(value);
    expect(decodeVariableInteger(bytes, 0)).toEqual({ value, next: bytes.length });
  });
});

describe(decodeConnect.name, () => {
  const name = encodeString('MQTT');

  it('reads the client id of MQTT 3.1.1', () => {
    const packet = Buffer.concat([name, Buffer.from([4, 2, 0, 60]), encodeString('gateway')]);
    expect(decodeConnect(packet, 0)).toEqual({
      version: 4,
      clientId: 'gateway',
      receiveMaximum: 65_535,
    });
  });

  it('finds Receive Maximum behind other MQTT 5 properties', () => {
    const properties = Buffer.concat([
      Buffer.from([0x11, 0, 0, 1, 0]),
      Buffer.from([0x26]),
      encodeString('key'),
      encodeString('value'),
      Buffer.from([0x21, 0x03, 0xe8]),
    ]);
    const packet = Buffer.concat([
      name,
      Buffer.from([5, 2, 0, 60, properties.length]),
      properties,
      encodeString('gateway'),
    ]);
    expect(decodeConnect(packet, 0)).toEqual({
      version: 5,
      clientId: 'gateway',
      receiveMaximum: 1_000,
    });
  });
});

describe(decodeSubscribe.name, () => {
  it('reads every filter and its quality of service', () => {
    const filters = [
      encodeString('devices/+/telemetry'),
      Buffer.from([1]),
      encodeString('a/#'),
      Buffer.from([0x2c]),
    ];
    const body = Buffer.concat([Buffer.from([0, 9, 0]), ...filters]);
    expect(decodeSubscribe(body, 0, body.length, 5)).toEqual({
      packetId: 9,
      filters: [
        { filter: 'devices/+/telemetry', qos: 1 },
        { filter: 'a/#', qos: 0 },
      ],
    });
  });
});

describe(encodePublish.name, () => {
  it.each([
    [4, 0],
    [4, 1],
    [5, 0],
    [5, 1],
  ])('writes a packet of MQTT %d at QoS %d that is read again', (version, qos) => {
    const { packet, packetIdAt, payloadAt } = encodePublish('a/b', Buffer.from('{}'), qos, version);
    if (qos > 0) {
      packet.writeUInt16BE(513, packetIdAt);
    }
    expect(packet[0] >> 4).toBe(PacketType.PUBLISH);
    expect(packet.subarray(payloadAt).toString()).toBe('{}');
    expect(decodePublish(packet[0], packet, 2, packet.length, version)).toEqual({
      topic: 'a/b',
      qos,
      packetId: qos > 0 ? 513 : 0,
      payload: Buffer.from('{}'),
    });
  });
});
