/** What a span says of its work: ids and outcomes, never payloads or tokens. */
export type Facts = Readonly<Record<string, string | number | boolean>>;

/** A piece of work that is being traced. */
export interface Span {
  /** W3C `traceparent` for whoever continues it; undefined where nothing is traced. */
  readonly traceparent: string | undefined;
  /** Something happened in it now. */
  event(name: string): void;
  /** It has ended. The first call counts. @param fault why it failed, in general words */
  end(facts?: Facts, fault?: string): void;
}

export interface SpanOptions {
  readonly kind: 'server' | 'producer' | 'consumer';
  /** `traceparent` of whoever asked for it, as it came: one that is none is ignored. */
  readonly parent?: string | undefined;
  /** Unix ms at which it began; now by default. */
  readonly startMs?: number | undefined;
  readonly facts?: Facts;
  /** `traceparent` of spans that this work is a part of, beside its own trace. */
  readonly links?: readonly string[];
}

/** Spans that have ended and wait for their collector, and those that never got there: by a full queue, or not taken by the collector. */
export interface SpanCounts {
  readonly waiting: number;
  readonly full: number;
  readonly failed: number;
}

/** What makes spans, see otel.ts. */
export interface Tracer {
  start(name: string, options: SpanOptions): Span;
  readonly counts: SpanCounts;
  /** Sends what waits. */
  stop(): Promise<void>;
}

const NO_COUNTS: SpanCounts = { waiting: 0, full: 0, failed: 0 };
/** The last of a `traceparent` of which a span is sent. */
const SAMPLED = '-01';
const NONE: Span = { traceparent: undefined, event: () => undefined, end: () => undefined };
/** Publications that are traced in a second; a trace of each would cost more than the publication. */
export const MAX_PUBLICATIONS_PER_S = 50;

/**
 * Spans of this process, or nothing: without a tracer each call is one comparison, and no package is loaded. Per process, as the API of
 * OpenTelemetry itself is.
 */
class Tracing {
  private tracer: Tracer | null = null;
  private lastCounts = NO_COUNTS;
  private second = 0;
  private taken = 0;
  /** Of work that passes through ports which know nothing of traces. */
  private readonly carried = new WeakMap<object, string>();

  get on(): boolean {
    return this.tracer !== null;
  }

  /** @returns takes it away again, and sends what waits */
  use(tracer: Tracer): () => Promise<void> {
    this.tracer = tracer;
    this.lastCounts = tracer.counts;
    return async () => {
      this.tracer = null;
      await tracer.stop();
    };
  }

  start(name: string, options: SpanOptions): Span {
    return this.tracer === null ? NONE : this.tracer.start(name, options);
  }

  get counts(): SpanCounts {
    return this.lastCounts;
  }

  /** What is done with this work elsewhere can be linked to its span. */
  carry(work: object, { traceparent }: Span): void {
    if (traceparent?.endsWith(SAMPLED) === true) {
      this.carried.set(work, traceparent);
    }
  }

  /** What was made of this work counts as traced with it. */
  handOn(work: object, result: object): void {
    const traceparent = this.of(work);
    if (traceparent !== undefined) {
      this.carried.set(result, traceparent);
    }
  }

  /** `traceparent` of the span that {@link carry} named. */
  of(work: object): string | undefined {
    return this.tracer === null ? undefined : this.carried.get(work);
  }

  /** Whether one more publication is traced in this second. @param nowMs monotonic */
  takesPublication(nowMs: number): boolean {
    if (this.tracer === null) {
      return false;
    }
    const second = Math.floor(nowMs / 1_000);
    if (second !== this.second) {
      this.second = second;
      this.taken = 0;
    }
    this.taken += 1;
    return this.taken <= MAX_PUBLICATIONS_PER_S;
  }
}

export const tracing = new Tracing();
