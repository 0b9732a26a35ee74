import { contain } from '../logging/walls.js';
import { bodyStart, frameMemory, textFrameOf } from './text-frame.js';

const NOTHING = Buffer.alloc(0);

/** Something that a window flushes. */
export interface Flushable {
  flush(): void;
  /** Called when flushing has thrown. */
  fail(error: unknown): void;
}

/**
 * Collects what connections are sent within one turn of the event loop (or within the span they asked for), so that each pays one system
 * call for it. Measured: a write per delivery costs 8 us of CPU, a write per turn 1 us (docs/benchmarks.md).
 */
export class FlushWindow {
  private due: Flushable[] = [];
  private rootFrame: Buffer | null = null;
  private root: Batch | null = null;
  /** Reused by the next window. A young Batch stored in 100 old connections would put each of them into V8's remembered set. */
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
   * @param afterFlush called once per window when everything is written; latency is measured then
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

  /** Whether a flush is scheduled. */
  get isDue(): boolean {
    return this.due.length > 0;
  }

  /** The first node of a path. One entry is enough: the receivers of a publication come in one loop. */
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
    this.keptInUse = true; // Set even if no path was begun: the node is emptied below, and a new path may begin before that.
    // Paths end with their window, so that nothing keeps its frames alive longer.
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
 * What a connection is sent within one flush window, as a path in a tree that connections share: two connections with the same frames in
 * the same order are at the same node, and its bytes are joined once for both. Appending costs one comparison and one pointer if the path
 * exists, else one small object.
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

  /** Reuses the first node of a finished path for a new one. */
  restart(frame: Buffer, isTelemetry: boolean): this {
    this.frame = frame;
    this.bytes = frame.length;
    this.telemetry = isTelemetry ? 1 : 0;
    this.nextFrame = null;
    this.next = null;
    this.message = null;
    return this;
  }

  /** The node reached from here by `frame`. */
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
