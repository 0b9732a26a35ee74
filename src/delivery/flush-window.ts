import { contain } from '../logging/walls.js';
import { FrameTable, NO_FRAMES, SharedFrames } from './pending-frames.js';

/** A window of some milliseconds ends early when the frames that its connections share exceed this. */
const MAX_SHARED_BYTES = 4 * 1024 * 1024;

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
  private root: SharedFrames | null = null;
  private table = this.newTable();
  /** Reused by the next window. A young node stored in 100 old connections would put each of them into V8's remembered set. */
  private readonly kept = new SharedFrames(null, NO_FRAMES, false, this.table);
  private keptInUse = false;
  private timer: NodeJS.Timeout | null = null;
  private readonly run = (): void => {
    try {
      this.timer = null;
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
        this.timer = setTimeout(this.run, this.spanMs);
      }
    }
    this.due.push(connection);
  }

  /** Whether a flush is scheduled. */
  get isDue(): boolean {
    return this.due.length > 0;
  }

  /** The first node of a path. One entry is enough: the receivers of a publication come in one loop. */
  first(frame: Buffer, isTelemetry: boolean): SharedFrames {
    if (this.rootFrame === frame) {
      return (this.root as SharedFrames).join();
    }
    this.rootFrame = frame;
    this.root = this.keptInUse
      ? new SharedFrames(null, frame, isTelemetry, this.table)
      : this.kept.restart(frame, isTelemetry, this.table);
    this.keptInUse = true;
    return this.root;
  }

  private flushAll(): void {
    const { due } = this;
    this.due = [];
    this.keptInUse = true; // Set even if no path was begun: the node is emptied below, and a new path may begin before that.
    // Paths end with their window, so that nothing keeps its frames alive longer.
    this.rootFrame = null;
    this.root = null;
    if (!this.table.isEmpty) {
      this.table = this.newTable();
    }
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
    this.kept.restart(NO_FRAMES, false, this.table);
    this.keptInUse = false;
    this.afterFlush();
  }

  private newTable(): FrameTable {
    const table = new FrameTable(MAX_SHARED_BYTES, () => {
      if (this.table === table) {
        this.table = this.newTable();
        this.endSoon();
      }
    });
    return table;
  }

  /** A window of some milliseconds ends with this turn. */
  private endSoon(): void {
    if (this.timer !== null) {
      clearTimeout(this.timer);
      this.timer = null;
      setImmediate(this.run);
    }
  }
}
