/** What a dialect makes of a data frame, from its first bytes. */
export const FrameKind = Object.freeze({
  /** Neither a delivery nor anything to answer. */
  OTHER: 0,
  /** Exactly one delivery. */
  DELIVERY: 1,
  /** Any number of deliveries, to be counted by their markers. */
  BATCH: 2,
  /** Handed to the dashboard: the opening, engine pings, acknowledgements. */
  CONTROL: 3,
});

/** So many payload bytes are enough for a dialect to tell what a frame is. */
export const CLASSIFY_BYTES = 40;

const OPCODE_CLOSE = 8;
const NOTHING = null;

/**
 * Reads the frames a server sends, by their lengths alone: payloads are neither copied nor decoded, apart from control
 * frames and the first bytes of a data frame.
 */
export class FrameReader {
  #remaining = 0;
  #kind = FrameKind.OTHER;
  /** @type {Buffer | null} the beginning of a frame that the last read ended in */
  #carry = NOTHING;

  /**
   * @param {Buffer} chunk may be reused by the caller after the call
   * @param {number} length
   * @param {{
   *   sink: import('./delivery-sink.js').DeliverySink,
   *   classify: (buffer: Buffer, start: number, length: number) => number,
   *   onControl: (opcode: number, buffer: Buffer, start: number, end: number) => void,
   * }} owner onControl gets control frames whole, and of data frames classified CONTROL what is there of them
   */
  push(chunk, length, owner) {
    const { sink } = owner;
    let buffer = chunk;
    let end = length;
    sink.bytes += length;
    if (this.#carry !== NOTHING) {
      buffer = Buffer.concat([this.#carry, chunk.subarray(0, length)]);
      end = buffer.length;
      this.#carry = NOTHING;
    }
    let position = 0;
    if (this.#remaining > 0) {
      position = Math.min(this.#remaining, end);
      this.#remaining -= position;
      if (this.#kind === FrameKind.BATCH) {
        sink.countMarkers(buffer, 0, position);
      }
    }
    while (position < end) {
      const next = this.#readFrame(buffer, position, end, owner);
      if (next < 0) {
        this.#carry = Buffer.from(buffer.subarray(position, end));
        return;
      }
      position = next;
    }
  }

  /** @returns {number} where the next frame begins, -1 if too little of this one is there */
  #readFrame(buffer, position, end, owner) {
    if (position + 2 > end) {
      return -1;
    }
    const opcode = buffer[position] & 0x0f;
    let payloadLength = buffer[position + 1] & 0x7f;
    let start = position + 2;
    if (payloadLength === 126) {
      if (start + 2 > end) {
        return -1;
      }
      payloadLength = (buffer[start] << 8) | buffer[start + 1];
      start += 2;
    } else if (payloadLength === 127) {
      if (start + 8 > end) {
        return -1;
      }
      payloadLength = buffer.readUInt32BE(start) * 2 ** 32 + buffer.readUInt32BE(start + 4);
      start += 8;
    }
    const frameEnd = start + payloadLength;
    if (opcode >= OPCODE_CLOSE) {
      if (frameEnd > end) {
        return -1;
      }
      owner.onControl(opcode, buffer, start, frameEnd);
      return frameEnd;
    }
    if (end < frameEnd && end - start < CLASSIFY_BYTES) {
      return -1;
    }
    this.#countData(opcode, buffer, start, payloadLength, Math.min(frameEnd, end), owner);
    this.#remaining = frameEnd > end ? frameEnd - end : 0;
    return Math.min(frameEnd, end);
  }

  #countData(opcode, buffer, start, payloadLength, available, owner) {
    const { sink } = owner;
    sink.frames++;
    const kind = owner.classify(buffer, start, payloadLength);
    this.#kind = kind;
    if (kind === FrameKind.DELIVERY) {
      sink.countOne(buffer, start, available);
    } else if (kind === FrameKind.BATCH) {
      sink.countMarkers(buffer, start, available);
    } else if (kind === FrameKind.CONTROL) {
      owner.onControl(opcode, buffer, start, available);
    }
  }
}
