import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { bodyStart } from '../../src/delivery/text-frame.js';

/** A socket whose peer reads only when told to: the backpressure of a slow client without a network. */
export class FakeSocket extends EventEmitter {
  writable = true;
  destroyed = false;
  writableLength = 0;
  /** Bytes that it takes before it says "no more". */
  room = Number.POSITIVE_INFINITY;
  readonly chunks: Buffer[] = [];

  write(chunk: Buffer): boolean {
    this.chunks.push(chunk);
    this.room -= chunk.length;
    if (this.room < 0) {
      this.writableLength += chunk.length;
      return false;
    }
    return true;
  }

  /** The peer reads: `bytes` more are taken. */
  read(bytes = Number.POSITIVE_INFINITY): void {
    this.room = bytes;
    this.writableLength = 0;
    this.emit('drain');
  }

  asSocket(): Socket {
    return this as unknown as Socket;
  }

  /** All messages written so far, parsed. */
  messages(): Record<string, unknown>[] {
    return framesOf(Buffer.concat(this.chunks)).map((text) => JSON.parse(text) as Record<string, unknown>);
  }
}

/** The bodies of a run of unmasked text frames. */
export function framesOf(bytes: Buffer): string[] {
  const bodies: string[] = [];
  let at = 0;
  while (at < bytes.length) {
    const frame = bytes.subarray(at);
    const start = bodyStart(frame);
    const length =
      start === 2
        ? (frame[1] as number)
        : start === 4
          ? frame.readUInt16BE(2)
          : Number(frame.readBigUInt64BE(2));
    bodies.push(frame.subarray(start, start + length).toString());
    at += start + length;
  }
  return bodies;
}
