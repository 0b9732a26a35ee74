import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { packet, puback, publishPacket, uint16 } from '../../test/devices/packets.js';
import { PacketReader } from './packet-reader.js';

const PINGREQ = Buffer.from([0xc0, 0]);
const PINGRESP = Buffer.from([0xd0, 0]);
const SUBSCRIBE = packet(
  0x82,
  Buffer.concat([uint16(1), Buffer.from([0]), uint16(1), Buffer.from('a'), Buffer.from([1])]),
);
const NO_PROPERTIES = Buffer.alloc(0);

/** A network whose other end is the test. */
class Network extends Duplex {
  readonly written: Buffer[] = [];
  override _read(): void {}
  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.written.push(chunk);
    done();
  }
}

/** @param msPerMessage that the handler takes, by the reader's clock */
function connect(msPerMessage = 0) {
  let now = 0;
  const network = new Network();
  const sequences: number[] = [];
  const toMqttJs: Buffer[] = [];
  const reader: PacketReader = new PacketReader(
    network,
    {
      chunkReceived: () => undefined,
      publish: (_buffer, _flags, packetId) => {
        now += msPerMessage;
        if (packetId > 0) {
          sequences.push(reader.received(packetId, performance.now()));
        }
      },
      oversized: () => undefined,
    },
    { protocolVersion: 5, maxPayloadBytes: 1_000 },
    () => now,
  );
  reader.on('data', (chunk: Buffer) => toMqttJs.push(chunk));
  return {
    network,
    reader,
    sequences,
    toMqttJs: () => Buffer.concat(toMqttJs),
    written: () => Buffer.concat(network.written),
    receive: (...packets: Buffer[]) => network.push(Buffer.concat(packets)),
    messages: (...packetIds: number[]) =>
      network.push(
        Buffer.concat(
          packetIds.map((packetId) => publishPacket({ topic: 'a', packetId, properties: NO_PROPERTIES })),
        ),
      ),
  };
}

describe(PacketReader.name, () => {
  it('keeps PUBLISH from mqtt.js and passes everything else', async () => {
    const { receive, toMqttJs, sequences } = connect();
    const connack = packet(0x20, Buffer.from([0, 0, 0]));
    receive(connack, publishPacket({ topic: 'a', packetId: 5, properties: NO_PROPERTIES }), PINGRESP);
    await nextTurn();
    expect(toMqttJs()).toEqual(Buffer.concat([connack, PINGRESP]));
    expect(sequences).toHaveLength(1);
  });

  it('acknowledges nothing before it is settled, then all of a turn in one write, in order of receipt', async () => {
    const { network, reader, sequences, messages } = connect();
    messages(1, 2, 3);
    await nextTurn();
    await nextTurn();
    expect(network.written).toEqual([]);
    reader.settle(sequences[2]!);
    reader.settle(sequences[0]!);
    reader.settle(sequences[1]!);
    await nextTurn();
    expect(network.written).toEqual([puback(1, 2, 3)]);
  });

  it('puts PUBACKs only between whole packets of mqtt.js, wherever those are cut', async () => {
    for (let at = 1; at < SUBSCRIBE.length; at++) {
      const { reader, sequences, messages, written } = connect();
      messages(7);
      await nextTurn();
      reader.write(SUBSCRIBE.subarray(0, at));
      await nextTurn();
      reader.settle(sequences[0]!);
      await nextTurn();
      await nextTurn();
      expect(written()).toEqual(SUBSCRIBE.subarray(0, at));
      reader.write(SUBSCRIBE.subarray(at));
      await nextTurn();
      expect(written()).toEqual(Buffer.concat([SUBSCRIBE, puback(7)]));
    }
  });

  it('writes and takes in nothing after a DISCONNECT', async () => {
    const { reader, sequences, messages, written } = connect();
    messages(7);
    await nextTurn();
    const disconnect = Buffer.from([0xe0, 0]);
    reader.write(disconnect);
    reader.settle(sequences[0]!);
    messages(8);
    await nextTurn();
    await nextTurn();
    expect(written()).toEqual(disconnect);
    expect(sequences).toHaveLength(1);
  });

  it('tells mqtt.js that the broker lives at the first byte after its PINGREQ, once', async () => {
    const { reader, receive, messages, toMqttJs } = connect();
    reader.write(PINGREQ);
    await nextTurn();
    expect(toMqttJs()).toHaveLength(0);
    messages(1);
    await nextTurn();
    expect(toMqttJs()).toEqual(PINGRESP);
    receive(PINGRESP);
    await nextTurn();
    expect(toMqttJs()).toEqual(PINGRESP);
  });

  it('stops reading while held, answers for the broker meanwhile, and goes on after', async () => {
    const { reader, messages, sequences, toMqttJs } = connect();
    reader.hold();
    messages(1);
    reader.write(PINGREQ);
    await nextTurn();
    expect(sequences).toHaveLength(0);
    expect(toMqttJs()).toEqual(PINGRESP);
    reader.release();
    await nextTurn();
    expect(sequences).toHaveLength(1);
  });

  it('lets other work have its turn while a flood comes in, and loses none of it', async () => {
    const { network, sequences } = connect();
    const flood = Buffer.concat(
      Array.from({ length: 500 }, (_, i) =>
        publishPacket({ topic: 'a', payload: 'x'.repeat(900), packetId: i + 1, properties: NO_PROPERTIES }),
      ),
    );
    for (let at = 0; at < flood.length; at += 64 * 1024) {
      network.push(flood.subarray(at, at + 64 * 1024));
    }
    await new Promise<void>((resolve) => process.nextTick(() => process.nextTick(resolve)));
    expect(sequences.length).toBeLessThan(500);
    while (sequences.length < 500) {
      await nextTurn();
    }
  });

  // A turn was bounded in bytes alone: 256 KiB of Sparkplug messages with a metric in each few bytes are half a second.
  it('lets other work have its turn after messages that take long, whatever their bytes', async () => {
    const { network, sequences } = connect(6);
    const message = (id: number): Buffer =>
      publishPacket({ topic: 'a', packetId: id, properties: NO_PROPERTIES });
    for (let id = 1; id <= 6; id += 1) {
      network.push(message(id));
    }
    await new Promise<void>((resolve) => process.nextTick(() => process.nextTick(resolve)));
    expect(sequences).toHaveLength(2);
    while (sequences.length < 6) {
      await nextTurn();
    }
  });

  it('ends the connection on a malformed stream and says why', async () => {
    const { network, reader, receive } = connect();
    const failed = once(reader, 'error');
    receive(packet(0x36, Buffer.from('bad')));
    const [error] = (await failed) as [Error & { code: string }];
    expect(error.code).toBe('ERR_MQTT_MALFORMED');
    expect(network.destroyed).toBe(true);
  });

  it.each(['end', 'close'])('is closed at once when the network says %s', async (event) => {
    const { network, reader } = connect();
    const closed = once(reader, 'close');
    network.emit(event);
    await closed;
  });
});
