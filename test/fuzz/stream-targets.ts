import fc from 'fast-check';
import { PassThrough } from 'node:stream';
import { correlationOf, IncomingPackets } from '../../src/mqtt/packets.js';
import { PacketReader } from '../../src/mqtt/packet-reader.js';
import { type Route, TopicRouter } from '../../src/mqtt/topic-router.js';
import { isDeviceId } from '../../src/protocol/device-id.js';
import { PushReader } from '../../src/redis/connection/push-reader.js';
import { packet, publishPacket } from '../devices/packets.js';
import { chunksOf, cuts, mutated, mutations, outcome, type Target, target, timed } from './target.js';

const MAX_PAYLOAD_BYTES = 200;

const bytes = (maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ maxLength }).map((all) => Buffer.from(all));
const topic = fc.oneof(
  fc.constantFrom('devices/a/telemetry', 'devices/ü/meta', 'x'),
  fc.string({ minLength: 1, maxLength: 20, unit: 'binary' }),
);
const publish = fc.record({
  kind: fc.constant('publish' as const),
  topic,
  payload: bytes(400),
  packetId: fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: undefined }),
  dup: fc.boolean(),
  retain: fc.boolean(),
  properties: bytes(20),
});
const control = fc.record({
  kind: fc.constant('control' as const),
  type: fc.constantFrom(2, 9, 13, 14),
  body: bytes(40),
});
const packets = fc.array(fc.oneof(publish, control), { maxLength: 8 });
type Sent =
  | { kind: 'control'; type: number; body: Buffer }
  | ({ kind: 'publish' } & Parameters<typeof publishPacket>[0]);

function encoded(all: readonly Sent[], version: 4 | 5): Buffer {
  return Buffer.concat(
    all.map((each) =>
      each.kind === 'control'
        ? packet(each.type << 4, each.body)
        : publishPacket({ ...each, properties: version === 5 ? each.properties : undefined }),
    ),
  );
}

/** All that came of a stream, in order, and how it ended. */
function readPackets(chunks: readonly Buffer[], version: 4 | 5): string[] {
  const seen: string[] = [];
  const reader = new IncomingPackets(
    {
      publish: (buffer, flags, id, topicStart, topicEnd, start, end) => {
        if (version === 5) {
          const correlation = correlationOf(buffer, topicEnd + (id === 0 ? 0 : 2), start);
          expect(correlation.length).toBeLessThanOrEqual(start - topicEnd);
        }
        const places = [0, topicStart, topicEnd, start, end, buffer.length];
        expect(places).toEqual([...places].sort((a, b) => a - b));
        seen.push(`P ${flags} ${id} ${hex(buffer, topicStart, topicEnd)} ${hex(buffer, start, end)}`);
      },
      oversized: (buffer, flags, id, topicStart, topicEnd, size) =>
        seen.push(`O ${flags} ${id} ${hex(buffer, topicStart, topicEnd)} ${size}`),
      control: (whole) => seen.push(`C ${withoutLength(whole)}`),
      pingResponse: (whole) => seen.push(`R ${withoutLength(whole)}`),
    },
    { protocolVersion: version, maxPayloadBytes: MAX_PAYLOAD_BYTES },
  );
  for (const chunk of chunks) {
    const { error } = { error: undefined, ...outcome(() => reader.receive(chunk)) } as { error?: string };
    if (error !== undefined) {
      expect(error).toBe('MalformedStreamError');
      seen.push('malformed');
      break;
    }
  }
  return seen;
}

/** Of a packet that was put together the length is written anew: in fewer bytes, where the sender took more than it needs. */
function withoutLength(whole: Buffer): string {
  const end = whole.findIndex((byte, index) => index > 0 && byte < 0x80);
  return `${whole[0]} ${whole.toString('hex', end + 1)}`;
}

const hex = (buffer: Buffer, start: number, end: number): string => buffer.toString('hex', start, end);

/** A RESP value, and whether it is a message of a channel. */
interface Resp {
  text: Buffer;
  message?: [channel: string, text: string];
}
const bulk = (text: Buffer | string): Buffer =>
  Buffer.concat([Buffer.from(`$${Buffer.byteLength(text)}\r\n`), Buffer.from(text), Buffer.from('\r\n')]);
const respText = fc.oneof(
  fc.constantFrom('a', '', 'room:ü', '\r\n', '>3\r\n$7\r\nmessage\r\n'),
  fc.string({ unit: 'binary', maxLength: 60 }),
);
const simple: fc.Arbitrary<Buffer> = fc.oneof(
  fc
    .constantFrom(
      '+OK\r\n',
      '-ERR no\r\n',
      ':12\r\n',
      '_\r\n',
      ',1.5\r\n',
      '#t\r\n',
      '(123\r\n',
      '$-1\r\n',
      '*-1\r\n',
      '*0\r\n',
    )
    .map((text) => Buffer.from(text)),
  respText.map((text) => bulk(Buffer.from(text))),
);
const nested: fc.Arbitrary<Buffer> = fc
  .tuple(fc.constantFrom('*', '~', '>', '%'), fc.array(simple, { maxLength: 4 }))
  .map(([type, values]) => {
    const all = type === '%' ? values.slice(0, values.length & ~1) : values;
    const count = type === '%' ? all.length / 2 : all.length;
    return Buffer.concat([Buffer.from(`${type}${count}\r\n`), ...all]);
  });
const channelMessage: fc.Arbitrary<Resp> = fc
  .tuple(fc.constantFrom('>', '*'), fc.constantFrom('message', 'smessage'), respText, respText)
  .map(([type, kind, channel, text]) => ({
    text: Buffer.concat([Buffer.from(`${type}3\r\n`), bulk(kind), bulk(channel), bulk(text)]),
    message: [channel, text],
  }));
const resp: fc.Arbitrary<Resp[]> = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: channelMessage },
    { weight: 1, arbitrary: simple.map((text): Resp => ({ text })) },
    { weight: 1, arbitrary: nested.map((text): Resp => ({ text })) },
  ),
  { maxLength: 8 },
);

/** Messages, and what was passed on, of one stream. */
function readResp(chunks: readonly Buffer[]): { messages: string[]; passed: string; good: boolean } {
  const messages: string[] = [];
  const passed: Buffer[] = [];
  const total = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const reader = new PushReader(
    (all, channelStart, channelEnd, start, end) => {
      const places = [0, channelStart, channelEnd, start, end, all.length];
      expect(places).toEqual([...places].sort((a, b) => a - b));
      messages.push(`${hex(all, channelStart, channelEnd)} ${hex(all, start, end)}`);
      // A message takes some bytes: more of them than bytes is a loop that does not end.
      expect(messages.length).toBeLessThanOrEqual(total);
    },
    (frames) => passed.push(Buffer.from(frames)),
    4_096,
  );
  const good = chunks.every((chunk) => reader.read(chunk));
  return { messages, passed: Buffer.concat(passed).toString('hex'), good };
}

const FILTERS = ['devices/+/telemetry', 'devices/+/status', 'devices/+/meta'];
const routes: Route[] = FILTERS.map((filter, index) => ({
  filter,
  qos: 1,
  kind: (['telemetry', 'status', 'meta'] as const)[index]!,
  handle: () => undefined,
}));
const router = new TopicRouter(routes, 3);
const anyTopic = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        'devices',
        'a',
        'b',
        'c',
        'd',
        'telemetry',
        'meta',
        'status',
        '',
        '$x',
        '\u0001',
        '\uffff',
        '\u{1fffe}',
      ),
      fc.string({ unit: 'binary', maxLength: 130 }),
    ),
    {
      minLength: 1,
      maxLength: 5,
    },
  )
  .map((levels) => levels.join('/'));

export const streamTargets: Target[] = [
  target(
    'MQTT packets are found again as they were sent, however they are cut',
    fc.tuple(packets, fc.constantFrom<4 | 5>(4, 5), cuts),
    ([sent, version, places]) => {
      const stream = encoded(sent, version);
      const seen = timed(stream.length, () => readPackets([stream], version));
      const expected = sent.map((each) => {
        if (each.kind === 'control') {
          return `${each.type === 13 ? 'R' : 'C'} ${withoutLength(packet(each.type << 4, each.body))}`;
        }
        const { topic: name, payload, packetId = 0, dup, retain, properties } = each;
        const flags = (dup ? 8 : 0) | (packetId > 0 ? 2 : 0) | (retain ? 1 : 0);
        const head = `${flags} ${packetId} ${Buffer.from(name).toString('hex')}`;
        if (payload.length > MAX_PAYLOAD_BYTES) {
          const rest = payload.length + (packetId > 0 ? 2 : 0) + (version === 5 ? 1 + properties.length : 0);
          return `O ${head} ${rest}`;
        }
        return `P ${head} ${payload.toString('hex')}`;
      });
      expect(seen).toEqual(expected);
      expect(readPackets(chunksOf(stream, places), version)).toEqual(expected);
    },
  ),
  target(
    'a damaged MQTT stream gives the same, or is malformed, however it is cut',
    fc.tuple(packets, mutations, bytes(30), fc.constantFrom<4 | 5>(4, 5), cuts),
    ([sent, damage, tail, version, places]) => {
      const stream = Buffer.concat([mutated(encoded(sent, version), damage), tail]);
      const whole = timed(stream.length, () => readPackets([stream], version));
      expect(readPackets(chunksOf(stream, places), version)).toEqual(whole);
      expect(
        readPackets(
          [...stream].map((byte) => Buffer.of(byte)),
          version,
        ),
      ).toEqual(whole);
    },
  ),
  target(
    'PUBACKs leave in the order in which the messages came, whichever is settled first',
    fc
      .uniqueArray(fc.integer({ min: 1, max: 65_535 }), { minLength: 1, maxLength: 20 })
      .chain((ids) => fc.tuple(fc.constant(ids), fc.shuffledSubarray(ids.map((_, index) => index)))),
    ([ids, order]) => {
      const network = new PassThrough();
      const written: Buffer[] = [];
      network.write = ((chunk: Buffer) => {
        written.push(Buffer.from(chunk));
        return true;
      }) as PassThrough['write'];
      const reader = new PacketReader(
        network,
        { publish: () => undefined, oversized: () => undefined, chunkReceived: () => undefined },
        { protocolVersion: 5, maxPayloadBytes: MAX_PAYLOAD_BYTES },
      );
      const sequences = ids.map((id) => reader.received(id, 0));
      const done = new Set<number>();
      for (const index of order) {
        reader.settle(sequences[index]!);
        done.add(index);
        reader.flushAcks();
      }
      const due = ids.slice(0, ids.findIndex((_, index) => !done.has(index)) >>> 0);
      const acknowledged = Buffer.concat(written);
      reader.destroy();
      expect(acknowledged.toString('hex')).toBe(
        due.map((id) => packet(0x40, Buffer.from([id >> 8, id & 0xff])).toString('hex')).join(''),
      );
    },
  ),
  target(
    'messages are cut out of a Redis stream, however it is cut',
    fc.tuple(resp, cuts),
    ([values, places]) => {
      const stream = Buffer.concat(values.map(({ text }) => text));
      const seen = timed(stream.length, () => readResp([stream]));
      expect(seen).toEqual({
        messages: values.flatMap(({ message }) =>
          message === undefined ? [] : [message.map((text) => Buffer.from(text).toString('hex')).join(' ')],
        ),
        passed: values
          .flatMap(({ text, message }) => (message === undefined ? [text.toString('hex')] : []))
          .join(''),
        good: true,
      });
      expect(readResp(chunksOf(stream, places))).toEqual(seen);
    },
  ),
  target(
    'a damaged Redis stream is read to an end, and says the same however it is cut until it is refused',
    fc.tuple(resp, mutations, bytes(20), cuts),
    ([values, damage, tail, places]) => {
      const stream = Buffer.concat([mutated(Buffer.concat(values.map(({ text }) => text)), damage), tail]);
      const whole = timed(stream.length, () => readResp([stream]));
      const cut = readResp(chunksOf(stream, places));
      const [shorter, longer] = [whole, cut].sort((a, b) => a.messages.length - b.messages.length);
      expect(longer!.messages.slice(0, shorter!.messages.length)).toEqual(shorter!.messages);
      if (whole.good && cut.good) {
        expect(cut).toEqual(whole);
      }
    },
  ),
  target(
    'a topic leads where its levels say, also when it is remembered',
    fc.array(anyTopic, { minLength: 1, maxLength: 6 }),
    (topics) => {
      for (const each of [...topics, ...topics]) {
        const name = Buffer.from(each);
        const found = timed(name.length, () => router.resolve(name, 0, name.length));
        const [root, id, suffix, more] = name.toString().split('/');
        const filter =
          root === 'devices' && more === undefined && id !== undefined ? `devices/+/${suffix}` : '';
        if (!FILTERS.includes(filter)) {
          expect(found).toMatchObject({ route: null, outcome: 'bad_topic' });
        } else if (!isDeviceId(id)) {
          expect(found).toMatchObject({ route: null, outcome: 'bad_device_id', deviceId: id });
        } else {
          expect(found).toMatchObject({ deviceId: id, route: { filter } });
        }
      }
    },
  ),
];
