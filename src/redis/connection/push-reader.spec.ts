import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { EventEmitter } from 'node:events';
import { PassThrough } from 'node:stream';
import type { Redis } from 'ioredis';
import { type MessageSink, PushReader, takeMessages } from './push-reader.js';

const bulk = (text: string): string => `$${Buffer.byteLength(text)}\r\n${text}\r\n`;
const message = (channel: string, text: string, head = '>3', kind = 'message'): string =>
  `${head}\r\n${bulk(kind)}${bulk(channel)}${bulk(text)}`;
const confirmation = (channel: string): string => `>3\r\n${bulk('subscribe')}${bulk(channel)}:1\r\n`;

/** What came of a stream, in order; neighbouring frames that are no messages count as one. */
function read(chunks: readonly Buffer[]): string[] {
  const seen: string[] = [];
  let isPass = false;
  const reader = new PushReader(
    (bytes, channelStart, channelEnd, start, end) => {
      isPass = false;
      seen.push(`${bytes.toString('utf8', channelStart, channelEnd)}=${bytes.toString('utf8', start, end)}`);
    },
    (frames) => {
      seen.push((isPass ? (seen.pop() as string) : '') + frames.toString());
      isPass = true;
    },
  );
  for (const chunk of chunks) {
    expect(reader.read(chunk)).toBe(true);
  }
  return seen;
}

const STREAM = [
  '+OK\r\n',
  message('room:ä', 'first'),
  message('room:2', ''),
  confirmation('room:3'),
  `%2\r\n${bulk('a')}*2\r\n:1\r\n_\r\n${bulk('b')}~1\r\n,1.5\r\n`,
  message('room:2', 'with \r\n >3\r\n$7\r\nmessage\r\n inside'),
  '$-1\r\n*-1\r\n*0\r\n',
  message('room:s', 'sharded', '>3', 'smessage'),
  message('room:4', 'RESP2', '*3'),
  message('room:4', 'RESP2 sharded', '*3', 'smessage'),
  `-ERR ${'9'.repeat(400)}\r\n`,
  `*3\r\n${bulk('message')}:1\r\n:2\r\n`.replace('message', 'massage'),
];
const SEEN = [
  '+OK\r\n',
  'room:ä=first',
  'room:2=',
  STREAM[3]! + STREAM[4]!,
  'room:2=with \r\n >3\r\n$7\r\nmessage\r\n inside',
  STREAM[6]!,
  'room:s=sharded',
  'room:4=RESP2',
  'room:4=RESP2 sharded',
  STREAM[10]! + STREAM[11]!,
];

describe(PushReader.name, () => {
  const bytes = Buffer.from(STREAM.join(''));

  it('cuts out the messages and passes on everything else in order', () => {
    expect(read([bytes])).toEqual(SEEN);
  });

  it('gives the same wherever the stream is split in two', () => {
    for (let at = 1; at < bytes.length; at += 1) {
      expect(read([bytes.subarray(0, at), bytes.subarray(at)])).toEqual(SEEN);
    }
  });

  it('gives the same byte by byte', () => {
    expect(read([...bytes].map((byte) => Buffer.of(byte)))).toEqual(SEEN);
  });

  it('never passes on part of a frame', () => {
    const passed: string[] = [];
    const reader = new PushReader(
      () => undefined,
      (frames) => passed.push(frames.toString()),
    );
    for (const byte of Buffer.from(confirmation('room:3'))) {
      reader.read(Buffer.of(byte));
    }
    expect(passed).toEqual([confirmation('room:3')]);
  });

  it('puts a message together that comes in many chunks, once', () => {
    const concat = jest.spyOn(Buffer, 'concat');
    try {
      const text = 'x'.repeat(5_000);
      const whole = Buffer.from(message('room:1', text) + message('room:2', 'next'));
      const chunks = Array.from({ length: Math.ceil(whole.length / 100) }, (_, at) =>
        whole.subarray(at * 100, at * 100 + 100),
      );
      expect(read(chunks)).toEqual([`room:1=${text}`, 'room:2=next']);
      expect(concat.mock.calls.length).toBeLessThanOrEqual(2);
    } finally {
      concat.mockRestore();
    }
  });

  it('says when what comes is no RESP', () => {
    const reader = new PushReader(
      () => undefined,
      () => undefined,
    );
    expect(reader.read(Buffer.from('+OK\r\nHTTP/1.1 400'))).toBe(false);
  });

  // A length that was no number was reckoned with: places before the beginning were handed on as a message, and reading went backwards.
  it.each([
    ['of a channel is no number', '>3\r\n$7\r\nmessage\r\n$x\r\na\r\n$1\r\nb\r\n'],
    ['of a channel is negative', '>3\r\n$7\r\nmessage\r\n$-30\r\na\r\n$1\r\nb\r\n'],
    ['of a message is negative', '>3\r\n$7\r\nmessage\r\n$1\r\na\r\n$-30\r\nb\r\n'],
    ['of a message is not where it should be', '>3\r\n$7\r\nmessage\r\n$2\r\na\r\n$1\r\nb\r\n'],
    ['of another value is no number', '$x\r\na\r\n'],
    ['of a list is no number', '*x\r\n:1\r\n'],
  ])('says when a length %s', (_what, text) => {
    const taken: string[] = [];
    const reader = new PushReader(taker(taken), () => undefined);
    expect(reader.read(Buffer.from(text))).toBe(false);
    expect(taken).toEqual([]);
  });

  it('says when a frame passes its bound', () => {
    const reader = new PushReader(
      () => undefined,
      () => undefined,
      100,
    );
    expect(reader.read(Buffer.from(`$1000\r\n${'x'.repeat(50)}`))).toBe(true);
    expect(reader.read(Buffer.from('x'.repeat(50)))).toBe(false);
  });
});

const taker =
  (taken: string[]): MessageSink =>
  (bytes, channelStart, channelEnd, start, end) =>
    taken.push(`${bytes.toString('utf8', channelStart, channelEnd)}=${bytes.toString('utf8', start, end)}`);

describe(takeMessages.name, () => {
  function connection(listeners: number): { redis: Redis; stream: PassThrough; parsed: string[] } {
    const stream = new PassThrough();
    const parsed: string[] = [];
    for (let count = 0; count < listeners; count += 1) {
      stream.on('data', (chunk: Buffer) => parsed.push(chunk.toString()));
    }
    return { redis: Object.assign(new EventEmitter(), { stream }) as unknown as Redis, stream, parsed };
  }

  it('stands before the only listener of the stream', () => {
    const { redis, stream, parsed } = connection(1);
    const taken: string[] = [];
    takeMessages(redis, false, taker(taken));
    stream.emit('data', Buffer.from(`+OK\r\n${message('a', '1')}`));
    expect(taken).toEqual(['a=1']);
    expect(parsed).toEqual(['+OK\r\n']);
  });

  it.each([0, 2])(
    'takes the events of ioredis, and says so, where the stream has %d listeners',
    (listeners) => {
      const warn = jest.spyOn(Logger, 'warn').mockImplementation(() => undefined);
      const { redis } = connection(listeners);
      const taken: string[] = [];
      takeMessages(redis, true, taker(taken));
      redis.emit('smessageBuffer', Buffer.from('a'), Buffer.from('1'));
      expect(taken).toEqual(['a=1']);
      expect(warn).toHaveBeenCalledTimes(1);
      warn.mockRestore();
    },
  );
});
