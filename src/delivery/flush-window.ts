import { contain } from '../logging/walls.js';
import { Batch } from './batch.js';

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
