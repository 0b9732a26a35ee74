import { viewOf } from '../protocol/view-of.js';

/** Builds unmasked WebSocket text frames (RFC 6455, section 5.2), one Buffer each: header and body together. */

const FIN_TEXT = 0x81;

/** Bytes of the frame header for a body of this length. */
export function headerLength(bodyLength: number): number {
  return bodyLength < 126 ? 2 : bodyLength < 65_536 ? 4 : 10;
}

/** Writes the header of a text frame at the start of `frame`. @returns where the body begins */
export function writeHeader(frame: Buffer, bodyLength: number): number {
  frame[0] = FIN_TEXT;
  if (bodyLength < 126) {
    frame[1] = bodyLength;
    return 2;
  }
  if (bodyLength < 65_536) {
    frame[1] = 126;
    frame[2] = bodyLength >>> 8;
    frame[3] = bodyLength & 0xff;
    return 4;
  }
  frame[1] = 127;
  frame.writeUInt32BE(Math.floor(bodyLength / 2 ** 32), 2);
  frame.writeUInt32BE(bodyLength >>> 0, 6);
  return 10;
}

/** A text frame of `text`. */
export function textFrame(text: string): Buffer {
  const length = Buffer.byteLength(text);
  const frame = frameMemory(headerLength(length) + length);
  frame.write(text, writeHeader(frame, length), 'utf8');
  return frame;
}

/** A text frame of chunks that are already UTF-8. */
export function textFrameOf(chunks: readonly Buffer[]): Buffer {
  let length = 0;
  for (const chunk of chunks) {
    length += chunk.length;
  }
  const frame = frameMemory(headerLength(length) + length);
  let at = writeHeader(frame, length);
  for (const chunk of chunks) {
    chunk.copy(frame, at);
    at += chunk.length;
  }
  return frame;
}

/** Index at which the body begins, in a frame built by this module. */
export function bodyStart(frame: Buffer): number {
  const length = frame[1] ?? 0;
  return length < 126 ? 2 : length === 126 ? 4 : 10;
}

/** Frames are slices of blocks of this size. A frame that is kept alive keeps its block: larger blocks save no time and would keep more. */
const BLOCK_BYTES = 8 * 1024;

let block: ArrayBufferLike = Buffer.allocUnsafeSlow(BLOCK_BYTES).buffer;
let used = 0;

/** Allocations of frames since the start; bench/guard checks the cost of a delivery by it. */
export const frameCounter = { made: 0 };

/** Uninitialised memory for a frame: like `Buffer.allocUnsafe`, in two thirds of its time. */
export function frameMemory(length: number): Buffer {
  frameCounter.made += 1;
  if (length > BLOCK_BYTES / 2) {
    return Buffer.allocUnsafeSlow(length);
  }
  if (used + length > BLOCK_BYTES) {
    block = Buffer.allocUnsafeSlow(BLOCK_BYTES).buffer;
    used = 0;
  }
  const start = used;
  used += length;
  return viewOf(block, start, length);
}
