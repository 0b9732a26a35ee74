import { createHash } from 'node:crypto';
import { Command, type Redis } from 'ioredis';
import { writeEnd, writeLength } from './kept-rooms.js';

/** Bytes kept free before finished arguments: what comes before them, if it is not long, is written there, and they need not be copied. */
export const ROOM_FOR_HEAD = 1_024;
/** Most bytes of `$<length>\r\n` and the `\r\n` after an argument, and of `*<count>\r\n`. */
const FRAME_BYTES = 16;

/** Arguments of a call as Redis reads them, from {@link ROOM_FOR_HEAD} on. */
interface Finished {
  readonly bytes: Buffer;
  readonly end: number;
}

/** Calls of a script whose last arguments are bytes as Redis reads them already: ioredis would take up each of them. */
export class FinishedCalls {
  private readonly sha: string;
  /** Connections whose server has the script; it is called by its hash there. */
  private readonly loaded = new WeakSet<Redis>();

  constructor(private readonly lua: string) {
    this.sha = createHash('sha1').update(lua).digest('hex');
  }

  /**
   * @param first arguments after the key
   * @param count of the arguments that are finished
   * @returns the answer, with bytes for strings
   */
  async call(
    redis: Redis,
    key: string,
    first: readonly (string | Buffer)[],
    count: number,
    finished: Finished,
  ): Promise<unknown> {
    const args = ['1', key, ...first];
    if (this.loaded.has(redis)) {
      try {
        return await redis.sendCommand(new FinishedCommand('evalsha', [this.sha, ...args], count, finished));
      } catch (error) {
        if (!/^NOSCRIPT/.test((error as Error).message)) {
          throw error;
        }
      }
    }
    this.loaded.add(redis);
    return redis.sendCommand(new FinishedCommand('eval', [this.lua, ...args], count, finished));
  }
}

class FinishedCommand extends Command {
  constructor(
    name: string,
    private readonly first: readonly (string | Buffer)[],
    private readonly count: number,
    private readonly finished: Finished,
  ) {
    super(name, [], {});
  }

  override toWritable(): Buffer {
    const { bytes, end } = this.finished;
    const args = [this.name, ...this.first];
    const size = args.reduce((sum, arg) => sum + Buffer.byteLength(arg) + FRAME_BYTES, FRAME_BYTES);
    if (size <= ROOM_FOR_HEAD) {
      const start = ROOM_FOR_HEAD - this.writeHead(args, bytes);
      bytes.copyWithin(start, 0, ROOM_FOR_HEAD - start);
      return bytes.subarray(start, end);
    }
    const head = Buffer.allocUnsafe(size);
    return Buffer.concat([head.subarray(0, this.writeHead(args, head)), bytes.subarray(ROOM_FOR_HEAD, end)]);
  }

  /** @returns where it ends */
  private writeHead(args: readonly (string | Buffer)[], bytes: Buffer): number {
    let at = bytes.write(`*${args.length + this.count}\r\n`, 'latin1');
    for (const arg of args) {
      at = writeLength(bytes, at, Buffer.byteLength(arg));
      at = writeEnd(bytes, at + (typeof arg === 'string' ? bytes.write(arg, at) : arg.copy(bytes, at)));
    }
    return at;
  }
}
