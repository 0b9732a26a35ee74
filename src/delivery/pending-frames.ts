import { viewOf } from '../protocol/view-of.js';
import { bodyStart, frameMemory, headerLength, writeHeader } from './text-frame.js';

/** Stands for no frame. */
export const NO_FRAMES = Buffer.alloc(0);

/**
 * What a connection is sent within one flush window. {@link SharedFrames} while others are sent the same, so that its bytes are joined once
 * for all of them; {@link OwnFrames} from the step on at which it was alone.
 */
export interface PendingFrames {
  /** Bytes of all frames, with their headers. */
  readonly bytes: number;
  readonly count: number;
  /** Frames that are telemetry. */
  readonly telemetry: number;
  /** With one frame more. The connection goes on with the result. */
  then(frame: Buffer, isTelemetry: boolean): PendingFrames;
  /** All frames in order, as one chunk for one system call; may be in reused memory, see {@link isReused}. Called once, at the end. */
  chunk(): Buffer;
  /** All messages in order, in one `batch` message. As {@link chunk}. */
  batchFrame(): Buffer;
}

/** Bytes joined into reused memory: a larger chunk goes through the stream, which keeps it, and gets memory of its own. */
const REUSED_BYTES = 16 * 1024;
let reused: ArrayBufferLike = Buffer.allocUnsafeSlow(REUSED_BYTES).buffer;

/** Whether the next chunk will overwrite this one. */
export function isReused(chunk: Buffer): boolean {
  return chunk.buffer === reused;
}

/** The kernel has not read this chunk yet: the next one gets other memory. */
export function keepMemory(chunk: Buffer): void {
  if (isReused(chunk)) {
    reused = Buffer.allocUnsafeSlow(REUSED_BYTES).buffer;
  }
}

/** Frames of one window that connections with a list of their own refer to by their index. */
export class FrameTable {
  readonly frames: Buffer[] = [];
  private bytes = 0;
  private newest: Buffer | null = null;
  private newestIndex = -1;

  /** @param onFull called when the frames exceed `maxBytes`; may be called again */
  constructor(
    private readonly maxBytes = Number.POSITIVE_INFINITY,
    private readonly onFull: () => void = () => {},
  ) {}

  get isEmpty(): boolean {
    return this.frames.length === 0;
  }

  /** The index of a frame that is being sent now. The receivers of a publication come in one loop: only the newest is looked for. */
  indexOf(frame: Buffer): number {
    if (frame !== this.newest) {
      this.newest = frame;
      this.newestIndex = this.add(frame);
    }
    return this.newestIndex;
  }

  /** Adds a frame that was sent before. @returns its index */
  add(frame: Buffer): number {
    this.bytes += frame.length;
    if (this.bytes > this.maxBytes) {
      this.onFull();
    }
    return this.frames.push(frame) - 1;
  }
}

/**
 * A path in a tree that connections share: two connections with the same frames in the same order are at the same node. Appending costs one
 * comparison and one pointer if the path exists.
 */
export class SharedFrames implements PendingFrames {
  bytes: number;
  readonly count: number;
  telemetry: number;
  /** More than one connection has come here. */
  private shared = false;
  private nextFrame: Buffer | null = null;
  private next: SharedFrames | null = null;
  /** Its frame's index in the table, once it is there. */
  private tableIndex = -1;
  private joined: Buffer | null = null;
  private message: Buffer | null = null;

  /** @param table for the connections that go on alone */
  constructor(
    readonly previous: SharedFrames | null,
    private frame: Buffer,
    isTelemetry: boolean,
    private table: FrameTable,
  ) {
    this.bytes = frame.length + (previous === null ? 0 : previous.bytes);
    this.count = previous === null ? 1 : previous.count + 1;
    this.telemetry = (previous === null ? 0 : previous.telemetry) + (isTelemetry ? 1 : 0);
  }

  /** Reuses the first node of a finished path for a new one. */
  restart(frame: Buffer, isTelemetry: boolean, table: FrameTable): this {
    this.frame = frame;
    this.bytes = frame.length;
    this.telemetry = isTelemetry ? 1 : 0;
    this.shared = false;
    this.nextFrame = null;
    this.next = null;
    this.tableIndex = -1;
    this.message = null;
    this.table = table;
    return this;
  }

  /** Another connection comes to this node. */
  join(): this {
    this.shared = true;
    return this;
  }

  then(frame: Buffer, isTelemetry: boolean): PendingFrames {
    if (this.nextFrame === frame) {
      const next = this.next as SharedFrames;
      next.shared = true;
      return next;
    }
    // A frame goes to all its receivers before the next one does: a connection that is alone here stays alone.
    if (!this.shared) {
      return OwnFrames.after(this, this.table).then(frame, isTelemetry);
    }
    const next = new SharedFrames(this, frame, isTelemetry, this.table);
    this.nextFrame = frame;
    this.next = next;
    return next;
  }

  chunk(): Buffer {
    if (this.previous === null) {
      return this.frame;
    }
    if (this.joined === null) {
      const joined = frameMemory(this.bytes);
      let end = this.bytes - this.frame.length;
      joined.set(this.frame, end);
      for (let node: SharedFrames | null = this.previous; node !== null; node = node.previous) {
        end -= node.frame.length;
        joined.set(node.frame, end);
      }
      this.joined = joined;
    }
    return this.joined;
  }

  batchFrame(): Buffer {
    return (this.message ??= batchOf(this.frames(), null, this.count, frameMemory));
  }

  /** The index of this node's frame in the table. */
  index(): number {
    if (this.tableIndex < 0) {
      this.tableIndex = this.table.add(this.frame);
    }
    return this.tableIndex;
  }

  /** The frames of the path, oldest first. */
  frames(): Buffer[] {
    const frames = new Array<Buffer>(this.count);
    let at = this.count - 1;
    frames[at] = this.frame;
    for (let node: SharedFrames | null = this.previous; node !== null; node = node.previous) {
      at -= 1;
      frames[at] = node.frame;
    }
    return frames;
  }
}

/** Lists that are kept for the next window; further ones are left to the collector. */
const MAX_SPARE = 1_024;
const spare: OwnFrames[] = [];

/**
 * The frames of a connection that receives what no other does, as indexes into the window's table: appending stores a small integer, for
 * which the collector has nothing to do. Joined once, into reused memory, when the window ends.
 */
export class OwnFrames implements PendingFrames {
  bytes = 0;
  count = 0;
  telemetry = 0;
  private readonly indexes: number[] = [];
  private table: FrameTable | null = null;

  /** A list that begins with the frames of `path`. */
  static after(path: SharedFrames, table: FrameTable): OwnFrames {
    const list = spare.pop() ?? new OwnFrames();
    const { indexes } = list;
    const { count } = path;
    list.table = table;
    list.bytes = path.bytes;
    list.count = count;
    list.telemetry = path.telemetry;
    let at = count;
    for (let node: SharedFrames | null = path; node !== null; node = node.previous) {
      at -= 1;
      indexes[at] = node.index();
    }
    return list;
  }

  then(frame: Buffer, isTelemetry: boolean): this {
    this.indexes[this.count] = (this.table as FrameTable).indexOf(frame);
    this.count += 1;
    this.bytes += frame.length;
    if (isTelemetry) {
      this.telemetry += 1;
    }
    return this;
  }

  chunk(): Buffer {
    const { bytes, count, indexes } = this;
    const { frames } = this.table as FrameTable;
    const chunk = bytes > REUSED_BYTES ? Buffer.allocUnsafeSlow(bytes) : viewOf(reused, 0, bytes);
    let at = 0;
    for (let index = 0; index < count; index += 1) {
      const frame = frames[indexes[index] as number] as Buffer;
      chunk.set(frame, at);
      at += frame.length;
    }
    this.release();
    return chunk;
  }

  batchFrame(): Buffer {
    const { frames } = this.table as FrameTable;
    const message = batchOf(frames, this.indexes, this.count, (length) =>
      length > REUSED_BYTES ? Buffer.allocUnsafeSlow(length) : viewOf(reused, 0, length),
    );
    this.release();
    return message;
  }

  private release(): void {
    this.table = null;
    if (spare.length < MAX_SPARE) {
      spare.push(this);
    }
  }
}

const BATCH_OPEN = Buffer.from('{"type":"batch","messages":[');
const BATCH_CLOSE = Buffer.from(']}');
const COMMA = 0x2c;

/**
 * One `batch` message of the messages in `frames`, in the order of `indexes` (null: as they are).
 *
 * Written from its end: a frame is copied with its header, which the text before it overwrites. A view of each body alone would cost more
 * than the copy.
 */
function batchOf(
  frames: readonly Buffer[],
  indexes: readonly number[] | null,
  count: number,
  allocate: (length: number) => Buffer,
): Buffer {
  const frameAt = (place: number): Buffer =>
    frames[indexes === null ? place : (indexes[place] as number)] as Buffer;
  let length = BATCH_OPEN.length + count - 1 + BATCH_CLOSE.length;
  for (let place = 0; place < count; place += 1) {
    const frame = frameAt(place);
    length += frame.length - bodyStart(frame);
  }
  const message = allocate(headerLength(length) + length);
  let at = message.length - BATCH_CLOSE.length;
  message.set(BATCH_CLOSE, at);
  for (let place = count - 1; place >= 0; place -= 1) {
    const frame = frameAt(place);
    at -= frame.length - bodyStart(frame);
    message.set(frame, at - bodyStart(frame));
    at -= 1;
    message[at] = COMMA; // before the first message, [ overwrites it
  }
  message.set(BATCH_OPEN, at + 1 - BATCH_OPEN.length);
  writeHeader(message, length);
  return message;
}
