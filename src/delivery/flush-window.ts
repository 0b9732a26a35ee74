import { contain } from '../logging/walls.js';
import { bodyStart, frameMemory, textFrameOf } from './text-frame.js';

const NOTHING = Buffer.alloc(0);

/** What a window flushes. */
export interface Flushable {
  flush(): void;
  /** Flushing has thrown. */
  fail(error: unknown): void;
}

/**
 * Collects what connections get within one turn of the event loop (or within a span that they asked for), so that each of them pays one
 * system call for it. Measured: a write per delivery costs 8 us of CPU, a write per turn 1 us (docs/benchmarks.md).
 */
export class FlushWindow {
  private due: Flushable[] = [];
  private rootFrame: Buffer | null = null;
  private root: Batch | null = null;
  /**
   * First node of a window's first path, used again by the next window. Where a publication comes alone, its receivers then refer to an
   * object that is as old as they are, and the collector need not remember that each of them did.
   */
  private readonly kept = new Batch(null, NOTHING, false);
  private keptInUse = false;
  private readonly run = (): void => {
    try {
      this.flushAll();
    } catch (error) {
      contain('delivery', error);
    }
  };

  /**
   * @param spanMs 0 for the current turn of the event loop
   * @param afterFlush called once per window, after everything was written: the moment latency is measured at
   */
  constructor(
    private readonly spanMs = 0,
    private readonly afterFlush: () => void = () => {},
  ) {}

  /** The connection has something to write at the end of this window. */
  schedule(connection: Flushable): void {
    if (this.due.length === 0) {
      if (this.spanMs === 0) {
        setImmediate(this.run);
      } else {
        setTimeout(this.run, this.spanMs);
      }
    }
    this.due.push(connection);
  }

  /** Whether anything is to be written at its end. */
  get isDue(): boolean {
    return this.due.length > 0;
  }

  /** First node of a path. One entry is enough: receivers of one publication come in one loop. */
  first(frame: Buffer, isTelemetry: boolean): Batch {
    if (this.rootFrame !== frame) {
      this.rootFrame = frame;
      this.root = this.keptInUse
        ? new Batch(null, frame, isTelemetry)
        : this.kept.restart(frame, isTelemetry);
      this.keptInUse = true;
    }
    return this.root as Batch;
  }

  private flushAll(): void {
    const due = this.due;
    this.due = [];
    this.keptInUse = true; // also where nobody has asked for it: it is emptied below, and a path may begin before that
    // Paths end with their window: nothing keeps its frames alive beyond it.
    this.rootFrame = null;
    this.root = null;
    let at = 0;
    while (at < due.length) {
      try {
        for (; at < due.length; at += 1) {
          (due[at] as Flushable).flush();
        }
      } catch (error) {
        (due[at] as Flushable).fail(error);
        at += 1;
      }
    }
    this.kept.restart(NOTHING, false);
    this.keptInUse = false;
    this.afterFlush();
  }
}

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
