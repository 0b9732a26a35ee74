import {
  diag,
  DiagLogLevel,
  type Link,
  ROOT_CONTEXT,
  type Span as OtelSpan,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  trace,
  TraceFlags,
  type Tracer as OtelTracer,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import {
  BasicTracerProvider,
  BatchSpanProcessor,
  type ReadableSpan,
  type SpanExporter,
  type SpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { Logger } from '@nestjs/common';
import { version } from '../logging/version.js';
import { walled } from '../logging/walls.js';
import type { Facts, Span, SpanOptions, Tracer } from './tracing.js';

const KINDS: Readonly<Record<SpanOptions['kind'], SpanKind>> = {
  server: SpanKind.SERVER,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
};
/** Version, trace id, span id, flags; later versions may have more behind them. */
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/;
const MAX_WAITING = 2_048;
/** Spans in one request to the collector. */
const MAX_BATCH = 512;
/** Of @opentelemetry/core, which is no dependency of its own. */
const EXPORTED = 0;
const LOG_EVERY_MS = 60_000;
/** Longest wait for the collector at the end of the process. */
const STOP_TIMEOUT_MS = 2_000;

/**
 * OpenTelemetry by its standard environment, which its packages read themselves: OTEL_EXPORTER_OTLP_ENDPOINT and _HEADERS,
 * OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_BSP_…. This file is loaded only where there is an endpoint.
 * @param maxWaiting spans that wait for the collector, OTEL_BSP_MAX_QUEUE_SIZE
 */
export function openTelemetry(maxWaiting = MAX_WAITING): Tracer {
  logFaults();
  const resource = resourceFromAttributes({ 'service.name': 'sluice', 'service.version': version }).merge(
    detectResources({ detectors: [envDetector] }),
  );
  const waiting = new WaitingSpans(new OTLPTraceExporter(), maxWaiting);
  const provider = new BasicTracerProvider({ resource, spanProcessors: [waiting] });
  const tracer = provider.getTracer('sluice', version);
  return {
    start: (name, options) => new SpanOfOtel(begin(tracer, name, options)),
    counts: waiting.counts,
    stop: async () => {
      const late = new Promise<void>((resolve) => setTimeout(resolve, STOP_TIMEOUT_MS).unref());
      await Promise.race([provider.shutdown().catch(() => undefined), late]);
      diag.disable();
    },
  };
}

function begin(tracer: OtelTracer, name: string, options: SpanOptions): OtelSpan {
  const { kind, parent, startMs, facts, links } = options;
  const remote = parent === undefined ? null : contextOf(parent);
  const context = remote === null ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, remote);
  return tracer.startSpan(
    name,
    {
      kind: KINDS[kind],
      ...(startMs !== undefined && { startTime: startMs }),
      ...(facts !== undefined && { attributes: facts }),
      ...(links !== undefined && { links: links.flatMap(linkTo) }),
    },
    context,
  );
}

const linkTo = (traceparent: string): Link[] => {
  const context = contextOf(traceparent);
  return context === null ? [] : [{ context }];
};

/**
 * OpenTelemetry's own queue of ended spans, whose bound nobody sees: what waits in it, what found it full and what the collector did not take
 * is counted here.
 */
class WaitingSpans implements SpanProcessor {
  readonly counts = { waiting: 0, full: 0, failed: 0 };
  private readonly queue: BatchSpanProcessor;

  /** @param max spans that wait */
  constructor(
    exporter: SpanExporter,
    private readonly max: number,
  ) {
    this.queue = new BatchSpanProcessor(new FromQueue(exporter, this.counts), {
      maxQueueSize: max,
      maxExportBatchSize: Math.min(max, MAX_BATCH),
    });
  }

  onStart(): void {
    // it waits from its end on
  }

  onEnd(span: ReadableSpan): void {
    if ((span.spanContext().traceFlags & TraceFlags.SAMPLED) === 0) {
      return;
    }
    if (this.counts.waiting >= this.max) {
      this.counts.full += 1;
      return;
    }
    this.counts.waiting += 1;
    this.queue.onEnd(span);
  }

  forceFlush(): Promise<void> {
    return this.queue.forceFlush();
  }

  shutdown(): Promise<void> {
    return this.queue.shutdown();
  }
}

/** What leaves the queue on its way to the collector. */
class FromQueue implements SpanExporter {
  constructor(
    private readonly exporter: SpanExporter,
    private readonly counts: { waiting: number; failed: number },
  ) {}

  export(spans: ReadableSpan[], done: Parameters<SpanExporter['export']>[1]): void {
    this.counts.waiting -= spans.length;
    this.exporter.export(
      spans,
      walled('lifecycle', (result: Parameters<typeof done>[0]) => {
        this.counts.failed += Number(result.code) === EXPORTED ? 0 : spans.length;
        done(result);
      }),
    );
  }

  async forceFlush(): Promise<void> {
    await this.exporter.forceFlush?.();
  }

  shutdown(): Promise<void> {
    return this.exporter.shutdown();
  }
}

class SpanOfOtel implements Span {
  private isEnded = false;

  constructor(private readonly span: OtelSpan) {}

  get traceparent(): string {
    const { traceId, spanId, traceFlags } = this.span.spanContext();
    return `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`;
  }

  event(name: string): void {
    this.span.addEvent(name);
  }

  end(facts?: Facts, fault?: string): void {
    if (this.isEnded) {
      return;
    }
    this.isEnded = true;
    if (facts !== undefined) {
      this.span.setAttributes(facts);
    }
    if (fault !== undefined) {
      this.span.setStatus({ code: SpanStatusCode.ERROR, message: fault });
    }
    this.span.end();
  }
}

/** Reads a traceparent that somebody else wrote; null if it is none (W3C Trace Context, 3.2.2.3). */
function contextOf(traceparent: string): SpanContext | null {
  const [, release, traceId, spanId, flags] = TRACEPARENT.exec(traceparent) ?? [];
  if (release === undefined || traceId === undefined || spanId === undefined || flags === undefined) {
    return null;
  }
  const isNone = release === 'ff' || /^0+$/.test(traceId) || /^0+$/.test(spanId);
  return isNone ? null : { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & 1, isRemote: true };
}

/** A collector that is away is said once a minute. */
function logFaults(): void {
  const logger = new Logger('OpenTelemetry');
  let saidMs = Number.NEGATIVE_INFINITY;
  const say = (): void => {
    const nowMs = performance.now();
    if (nowMs - saidMs >= LOG_EVERY_MS) {
      saidMs = nowMs;
      logger.warn('Spans cannot be sent: look at OTEL_EXPORTER_OTLP_ENDPOINT and its collector');
    }
  };
  const nothing = (): void => undefined;
  diag.setLogger(
    { error: walled('lifecycle', say), warn: nothing, info: nothing, debug: nothing, verbose: nothing },
    DiagLogLevel.ERROR,
  );
}
