import { Logger } from '@nestjs/common';
import type { Redis } from 'ioredis';
import { contain, walled } from '../../logging/walls.js';

const CR = 0x0d;
const LF = 0x0a;
const DOLLAR = 0x24;
const MINUS = 0x2d;
const ZERO = 0x30;

/** How a channel's message begins: RESP3 uses a push (`>`), RESP2 an array (`*`); sharded channels say `smessage`. */
const MESSAGE_HEADS = [
  '>3\r\n$7\r\nmessage\r\n$',
  '>3\r\n$8\r\nsmessage\r\n$',
  '*3\r\n$7\r\nmessage\r\n$',
  '*3\r\n$8\r\nsmessage\r\n$',
].map((text) => Buffer.from(text));

/** Returned instead of the end of a frame if the bytes are no frame. */
const BROKEN = -2;
/** A longer frame means that the stream is broken: our messages are far smaller. */
const MAX_FRAME_BYTES = 64 * 1024 * 1024;

/** Types that are bytes of a given length, and types that contain a given number of values (twice as many in maps). */
const BULKS = new Set([...'$=!'].map(codeOf));
const AGGREGATES = new Map([...'*~>%'].map((type) => [codeOf(type), type === '%' ? 2 : 1]));
/** The first byte of every type. */
const TYPES = new Set([...'+-:$*_#,(!=%~>'].map(codeOf));
const PUSH = codeOf('>');
const ARRAY = codeOf('*');

/**
 * Passes on the messages of a connection's channels; no command may be pending on it yet. If ioredis reads its stream in another way than
 * today, its own events are used, at twice the cost, and a line is logged.
 */
export function takeMessages(redis: Redis, sharded: boolean, take: MessageSink): void {
  const { stream } = redis;
  const listeners = stream.listeners('data') as ((chunk: Buffer) => void)[];
  const [parse] = listeners;
  if (parse === undefined || listeners.length > 1) {
    Logger.warn(
      'This version of ioredis reads in a way of its own: messages take its events, at twice the cost',
      'Redis',
    );
    redis.on(
      sharded ? 'smessageBuffer' : 'messageBuffer',
      walled('redis', (channel: Buffer, message: Buffer) => {
        const bytes = Buffer.concat([channel, message]);
        take(bytes, 0, channel.length, channel.length, bytes.length);
      }),
    );
    return;
  }
  const reader = new PushReader(
    (bytes, channelStart, channelEnd, start, end) => {
      try {
        take(bytes, channelStart, channelEnd, start, end);
      } catch (error) {
        // An error while handling a message concerns that message alone; the stream continues at the next frame.
        contain('redis', error);
      }
    },
    (frames) => parse.call(stream, frames),
  );
  stream.removeListener('data', parse);
  stream.on('data', (chunk: Buffer) => {
    try {
      if (!reader.read(chunk)) {
        stream.destroy(new Error(`no RESP frame of at most ${MAX_FRAME_BYTES} bytes from Redis`));
      }
    } catch (error) {
      // The position in the stream is unknown: a new connection replaces this one.
      contain('redis', error);
      stream.destroy(new Error('what came from Redis could not be read'));
    }
  });
}

/** Receives a channel and a message as ranges of `bytes`, valid only during the call. */
export type MessageSink = (
  bytes: Buffer,
  channelStart: number,
  channelEnd: number,
  start: number,
  end: number,
) => void;

/**
 * Sits between a subscriber connection and the parser of ioredis. Messages of channels, which are the flood, are cut out here in place;
 * everything else (answers, confirmations) is passed on unchanged, in whole frames and in order. See docs/decisions/012.
 */
export class PushReader {
  /** The beginning of an incomplete frame in its chunks; their length, and the length needed to continue. */
  private rest: Buffer[] = [];
  private restBytes = 0;
  private wantedBytes = 0;

  /** @param pass receives whole frames that are no messages */
  constructor(
    private readonly message: MessageSink,
    private readonly pass: (frames: Buffer) => void,
    private readonly maxFrameBytes = MAX_FRAME_BYTES,
  ) {}

  /** @returns false when a frame is too long or malformed: the connection is unusable */
  read(chunk: Buffer): boolean {
    let bytes = chunk;
    if (this.restBytes > 0) {
      this.rest.push(chunk);
      this.restBytes += chunk.length;
      if (this.restBytes < this.wantedBytes) {
        return this.restBytes <= this.maxFrameBytes;
      }
      bytes = Buffer.concat(this.rest, this.restBytes);
      this.rest = [];
      this.restBytes = 0;
    }
    this.wantedBytes = 0;
    let at = 0;
    /** Start of the frames that are not passed on yet. */
    let passFrom = 0;
    while (at < bytes.length) {
      if (!TYPES.has(bytes[at] as number)) {
        return false;
      }
      const head = messageHead(bytes, at);
      const end = head === 0 ? frameEnd(bytes, at) : this.readMessage(bytes, at, at + head, passFrom);
      if (end === BROKEN) {
        return false;
      }
      if (end < 0) {
        break;
      }
      at = end;
      if (head > 0) {
        passFrom = at;
      }
    }
    if (at > passFrom) {
      this.pass(bytes.subarray(passFrom, at));
    }
    if (at < bytes.length) {
      // A copy: a view would keep the whole chunk of 64 KiB alive.
      this.rest = [Buffer.from(bytes.subarray(at))];
      this.restBytes = bytes.length - at;
    }
    return bytes.length - at <= this.maxFrameBytes;
  }

  /** @returns where it ends; -1 when it is incomplete; {@link BROKEN} */
  private readMessage(bytes: Buffer, frame: number, at: number, passFrom: number): number {
    const channelStart = afterLine(bytes, at);
    if (channelStart < 0) {
      return -1;
    }
    const channelEnd = channelStart + lengthAt(bytes, at);
    if (!(channelEnd >= channelStart)) {
      return BROKEN;
    }
    const start = afterLine(bytes, channelEnd + 3); // after its line end, and the `$` of the message
    if (start < 0) {
      return -1;
    }
    const end = start + lengthAt(bytes, channelEnd + 3);
    if (!(end >= start) || bytes[channelEnd + 2] !== DOLLAR) {
      return BROKEN;
    }
    if (end + 2 > bytes.length) {
      this.wantedBytes = end + 2 - frame;
      return -1;
    }
    if (frame > passFrom) {
      this.pass(bytes.subarray(passFrom, frame));
    }
    this.message(bytes, channelStart, channelEnd, start, end);
    return end + 2;
  }
}

function codeOf(character: string): number {
  return character.charCodeAt(0);
}

/** @returns bytes up to the digits of the channel's length; 0 if it is no message, or incomplete */
function messageHead(bytes: Buffer, at: number): number {
  const first = bytes[at];
  if (first === PUSH || first === ARRAY) {
    for (const head of MESSAGE_HEADS) {
      if (isAt(bytes, at, head)) {
        return head.length;
      }
    }
  }
  return 0;
}

function isAt(bytes: Buffer, at: number, head: Buffer): boolean {
  for (let index = 0; index < head.length; index += 1) {
    if (bytes[at + index] !== head[index]) {
      return false;
    }
  }
  return true;
}

/** The number that a line is; negative where it says so, NaN where it is none. */
function lengthAt(bytes: Buffer, at: number): number {
  const isNegative = bytes[at] === MINUS;
  let length = 0;
  for (let pos = isNegative ? at + 1 : at; bytes[pos] !== CR; pos += 1) {
    const digit = (bytes[pos] as number) - ZERO;
    if (!(digit >= 0 && digit <= 9)) {
      return Number.NaN;
    }
    length = length * 10 + digit;
  }
  return isNegative ? -length : length;
}

/** @returns where the next line begins; -1 when this line is incomplete */
function afterLine(bytes: Buffer, at: number): number {
  for (let pos = at; pos + 1 < bytes.length; pos += 1) {
    if (bytes[pos] === CR && bytes[pos + 1] === LF) {
      return pos + 2;
    }
  }
  return -1;
}

/** @returns where the frame that begins here ends; -1 when it is incomplete; {@link BROKEN} */
function frameEnd(bytes: Buffer, start: number): number {
  let at = start;
  for (let values = 1; values > 0; values -= 1) {
    const type = bytes[at] as number;
    const length = at + 1;
    at = afterLine(bytes, length);
    if (at < 0) {
      return -1;
    }
    if (BULKS.has(type)) {
      const bytesLong = lengthAt(bytes, length);
      if (Number.isNaN(bytesLong)) {
        return BROKEN;
      }
      at += bytesLong < 0 ? 0 : bytesLong + 2;
    } else if (AGGREGATES.has(type)) {
      const count = lengthAt(bytes, length);
      if (Number.isNaN(count)) {
        return BROKEN;
      }
      values += Math.max(0, count) * (AGGREGATES.get(type) as number);
    }
    if (at > bytes.length) {
      return -1;
    }
  }
  return at;
}
