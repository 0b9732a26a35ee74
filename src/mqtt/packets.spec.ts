import { packet, publishPacket, variableInt } from '../../test/devices/packets.js';
import { correlationOf, FLAG_DUP, FLAG_RETAIN, IncomingPackets, MalformedStreamError } from './packets.js';

const MAX_PAYLOAD_BYTES = 1_000;

interface Seen {
  kind: 'publish' | 'oversized' | 'control' | 'ping';
  topic?: string;
  payload?: string;
  packetId?: number;
  dup?: boolean;
  retain?: boolean;
  bytes?: string | number;
}

function read(chunks: Iterable<Buffer>, protocolVersion: 4 | 5 = 5): Seen[] {
  const seen: Seen[] = [];
  const flagsOf = (flags: number): Pick<Seen, 'dup' | 'retain'> => ({
    dup: (flags & FLAG_DUP) !== 0,
    retain: (flags & FLAG_RETAIN) !== 0,
  });
  const reader = new IncomingPackets(
    {
      publish: (buffer, flags, packetId, topicStart, topicEnd, payloadStart, payloadEnd) =>
        seen.push({
          kind: 'publish',
          topic: buffer.toString('utf8', topicStart, topicEnd),
          payload: buffer.toString('utf8', payloadStart, payloadEnd),
          packetId,
          ...flagsOf(flags),
        }),
      oversized: (buffer, flags, packetId, topicStart, topicEnd, bytes) =>
        seen.push({
          kind: 'oversized',
          topic: buffer.toString('utf8', topicStart, topicEnd),
          packetId,
          bytes,
          ...flagsOf(flags),
        }),
      control: (bytes) => seen.push({ kind: 'control', bytes: bytes.toString('hex') }),
      pingResponse: () => seen.push({ kind: 'ping' }),
    },
    { protocolVersion, maxPayloadBytes: MAX_PAYLOAD_BYTES },
  );
  for (const chunk of chunks) {
    reader.receive(chunk);
  }
  return seen;
}

function* pieces(bytes: Buffer, size: number): Iterable<Buffer> {
  for (let at = 0; at < bytes.length; at += size) {
    yield bytes.subarray(at, at + size);
  }
}

const NO_PROPERTIES = Buffer.alloc(0);
/** A user property and a content type. */
const PROPERTIES = Buffer.from([0x26, 0, 1, 0x61, 0, 1, 0x62, 0x03, 0, 1, 0x63]);

describe(IncomingPackets.name, () => {
  const connack = packet(0x20, Buffer.from([0, 0, 0]));
  const pingresp = packet(0xd0, Buffer.alloc(0));
  const stream = Buffer.concat([
    connack,
    publishPacket({ topic: 'devices/a/telemetry', payload: '{"v":1}', properties: NO_PROPERTIES }),
    publishPacket({
      topic: 'devices/b/telemetry',
      payload: 'x'.repeat(300),
      packetId: 258,
      dup: true,
      properties: PROPERTIES,
    }),
    pingresp,
    publishPacket({
      topic: 'devices/c/telemetry',
      payload: 'y'.repeat(MAX_PAYLOAD_BYTES + 1),
      packetId: 3,
      properties: NO_PROPERTIES,
    }),
    publishPacket({ topic: 'devices/ü/meta', retain: true, properties: NO_PROPERTIES }),
    packet(0x90, Buffer.from([0, 1, 0, 0])),
  ]);
  const expected: Seen[] = [
    { kind: 'control', bytes: connack.toString('hex') },
    {
      kind: 'publish',
      topic: 'devices/a/telemetry',
      payload: '{"v":1}',
      packetId: 0,
      dup: false,
      retain: false,
    },
    {
      kind: 'publish',
      topic: 'devices/b/telemetry',
      payload: 'x'.repeat(300),
      packetId: 258,
      dup: true,
      retain: false,
    },
    { kind: 'ping' },
    {
      kind: 'oversized',
      topic: 'devices/c/telemetry',
      packetId: 3,
      dup: false,
      retain: false,
      bytes: MAX_PAYLOAD_BYTES + 1 + 3,
    },
    { kind: 'publish', topic: 'devices/ü/meta', payload: '', packetId: 0, dup: false, retain: true },
    { kind: 'control', bytes: '900400010000' },
  ];

  it('finds every packet of a chunk', () => {
    expect(read([stream])).toEqual(expected);
  });

  it('finds the same packets when the stream is split once, at every byte', () => {
    for (let at = 1; at < stream.length; at++) {
      expect(read([stream.subarray(0, at), stream.subarray(at)])).toEqual(expected);
    }
  });

  it.each([1, 2, 3, 7])('finds the same packets in pieces of %i bytes', (size) => {
    expect(read(pieces(stream, size))).toEqual(expected);
  });

  it('reads MQTT 3.1.1, which has no properties', () => {
    const bytes = publishPacket({ topic: 'devices/a/telemetry', payload: '1', packetId: 7 });
    expect(read([bytes], 4)).toMatchObject([{ payload: '1', packetId: 7 }]);
  });

  it('skips a payload of 10 MB as it arrives and goes on behind it', () => {
    const tenMegabytes = 10 * 1024 * 1024;
    const topic = Buffer.from('devices/big/telemetry');
    const head = Buffer.concat([
      Buffer.from([0x32]),
      variableInt(2 + topic.length + 2 + 1 + tenMegabytes),
      Buffer.from([0, topic.length]),
      topic,
      Buffer.from([0, 9, 0]),
    ]);
    const piece = Buffer.alloc(64 * 1024);
    function* chunks(): Iterable<Buffer> {
      yield head;
      for (let sent = 0; sent < tenMegabytes; sent += piece.length) {
        yield piece;
      }
      yield publishPacket({ topic: 'devices/a/telemetry', payload: '1', properties: NO_PROPERTIES });
    }
    const before = process.memoryUsage().arrayBuffers;
    const seen = read(chunks());
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1024 * 1024);
    expect(seen).toMatchObject([
      { kind: 'oversized', topic: 'devices/big/telemetry', packetId: 9, bytes: tenMegabytes + 3 },
      { kind: 'publish', topic: 'devices/a/telemetry' },
    ]);
  });

  it.each([
    ['a remaining length of five bytes', Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x01])],
    ['QoS 2', packet(0x34, Buffer.from([0, 1, 0x61, 0, 1, 0]))],
    ['QoS 3', packet(0x36, Buffer.from([0, 1, 0x61, 0, 1, 0]))],
    ['no topic at all', packet(0x30, Buffer.from([0]))],
    ['an empty topic', packet(0x30, Buffer.from([0, 0, 0]))],
    ['a topic longer than the packet', packet(0x30, Buffer.from([0, 9, 0x61, 0]))],
    ['QoS 1 without a packet id', packet(0x32, Buffer.from([0, 1, 0x61, 0]))],
    ['packet id 0', packet(0x32, Buffer.from([0, 1, 0x61, 0, 0, 0]))],
    ['no properties', packet(0x30, Buffer.from([0, 1, 0x61]))],
    ['properties longer than the packet', packet(0x30, Buffer.from([0, 1, 0x61, 5, 1]))],
    ['a properties length of five bytes', packet(0x30, Buffer.from([0, 1, 0x61, 0xff, 0xff, 0xff, 0xff, 1]))],
    ['a huge SUBACK', Buffer.concat([Buffer.from([0x90]), variableInt(100_000_000)])],
  ])('calls the stream malformed at %s, however it is cut', (_what, bytes) => {
    expect(() => read([bytes])).toThrow(MalformedStreamError);
    expect(() => read(pieces(bytes, 1))).toThrow(MalformedStreamError);
  });
});

describe('correlationOf', () => {
  const binary = (id: number, value: string): Buffer => {
    const bytes = Buffer.from(value, 'latin1');
    return Buffer.concat([Buffer.from([id, bytes.length >> 8, bytes.length & 0xff]), bytes]);
  };
  const others = [
    Buffer.from([0x01, 1]),
    Buffer.from([0x02, 9, 9, 9, 9]),
    Buffer.from([0x23, 9, 9]),
    Buffer.from([0x0b, 0x89, 0x89, 0x01]),
    binary(0x03, 'application/json'),
    binary(0x08, 'a/topic\t'),
    Buffer.concat([binary(0x26, '\t\t'), binary(0, '\t\t\t').subarray(1)]),
  ];
  const correlation = binary(0x09, 'c\u0000\u00ff');
  const found = (all: Buffer[]): string => {
    const properties = Buffer.concat(all);
    const bytes = Buffer.concat([variableInt(properties.length), properties]);
    return correlationOf(
      Buffer.concat([Buffer.from([7, 7]), bytes, Buffer.from('payload')]),
      2,
      2 + bytes.length,
    );
  };

  it('finds Correlation Data among all other properties, wherever it is', () => {
    for (let at = 0; at <= others.length; at += 1) {
      const all = [...others.slice(0, at), correlation, ...others.slice(at)];
      expect(found([...all, binary(0x26, 'x'.repeat(200)), binary(0, '').subarray(1)])).toBe('c\u0000\u00ff');
    }
  });

  it('is empty without it, and where properties are cut off', () => {
    expect(found([])).toBe('');
    expect(found(others)).toBe('');
    for (let bytes = 1; bytes < correlation.length; bytes += 1) {
      expect(found([correlation.subarray(0, bytes)])).toBe('');
    }
  });
});
