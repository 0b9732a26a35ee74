import { viewOf } from '../protocol/view-of.js';

/** Frames are cut from blocks of this size. A frame that is kept keeps its block: larger blocks save no time, and would keep more. */
const BLOCK_BYTES = 8 * 1024;

let block: ArrayBufferLike = Buffer.allocUnsafeSlow(BLOCK_BYTES).buffer;
let used = 0;

/** How often memory was asked for since the start: what bench/guard holds the cost of a delivery to. */
export const frameCounter = { made: 0 };

/** Memory for a frame, with whatever was there before: as `Buffer.allocUnsafe`, in two thirds of its time. */
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
