import { frameMemory } from './frame-memory.js';
import { bodyStart, textFrameOf } from './text-frame.js';

const BATCH_OPEN = Buffer.from('{"type":"batch","messages":[');
const BATCH_CLOSE = Buffer.from(']}');
const COMMA = Buffer.from(',');

/**
 * What a connection gets within one flush window, as a path in a tree that connections share: two connections that
 * receive the same frames in the same order stand on the same node, and its bytes are joined once for both.
 * Appending is one comparison and one pointer where the path is known, and one small object where it is not.
 */
export class Batch {
  bytes: number;
  /** Frames on the path. */
  readonly count: number;
  /** Frames on the path that are telemetry. */
  telemetry: number;
  private nextFrame: Buffer | null = null;
  private next: Batch | null = null;
  private joined: Buffer | null = null;
  private message: Buffer | null = null;

  constructor(
    private readonly previous: Batch | null,
    private frame: Buffer,
    isTelemetry: boolean,
  ) {
    this.bytes = frame.length + (previous === null ? 0 : previous.bytes);
    this.count = previous === null ? 1 : previous.count + 1;
    this.telemetry = (previous === null ? 0 : previous.telemetry) + (isTelemetry ? 1 : 0);
  }

  /** Makes the first node of a path that is over the first node of another one. */
  restart(frame: Buffer, isTelemetry: boolean): this {
    this.frame = frame;
    this.bytes = frame.length;
    this.telemetry = isTelemetry ? 1 : 0;
    this.nextFrame = null;
    this.next = null;
    this.message = null;
    return this;
  }

  /** The path that goes on with `frame`. */
  then(frame: Buffer, isTelemetry: boolean): Batch {
    if (this.nextFrame === frame) {
      return this.next as Batch;
    }
    const next = new Batch(this, frame, isTelemetry);
    this.nextFrame = frame;
    this.next = next;
    return next;
  }

  /** All frames of the path in order, as one chunk for one system call. */
  chunk(): Buffer {
    if (this.previous === null) {
      return this.frame;
    }
    if (this.joined === null) {
      const joined = frameMemory(this.bytes);
      let end = this.bytes - this.frame.length;
      joined.set(this.frame, end);
      for (let node: Batch | null = this.previous; node !== null; node = node.previous) {
        end -= node.frame.length;
        joined.set(node.frame, end);
      }
      this.joined = joined;
    }
    return this.joined;
  }

  /** All messages of the path in order, in one `batch` message. */
  batchFrame(): Buffer {
    if (this.message === null) {
      const chunks: Buffer[] = [BATCH_OPEN];
      for (const frame of this.frames()) {
        if (chunks.length > 1) {
          chunks.push(COMMA);
        }
        chunks.push(frame.subarray(bodyStart(frame)));
      }
      chunks.push(BATCH_CLOSE);
      this.message = textFrameOf(chunks);
    }
    return this.message;
  }

  /** The frames of the path, oldest first. */
  frames(): Buffer[] {
    const frames = new Array<Buffer>(this.count);
    let at = this.count - 1;
    frames[at] = this.frame;
    for (let node: Batch | null = this.previous; node !== null; node = node.previous) {
      at -= 1;
      frames[at] = node.frame;
    }
    return frames;
  }
}
