/** The format that asks for exemplars, and that Prometheus asks for first. */
export const OPEN_METRICS_TYPE = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

/** Whether a scraper takes it. Others get the text of Prometheus. */
export function takesOpenMetrics(accept: string | undefined): boolean {
  return accept !== undefined && /\bapplication\/openmetrics-text\b/.test(accept);
}

/** A value of a histogram that a trace belongs to. */
interface Exemplar {
  readonly traceId: string;
  readonly value: number;
  /** Unix s. */
  readonly at: number;
}

/** The newest exemplar of each bucket of one histogram without labels. */
export class Exemplars {
  private readonly byBucket = new Map<string, Exemplar>();

  constructor(
    readonly name: string,
    private readonly buckets: readonly number[],
  ) {}

  /** @param traceparent of the span that took as long */
  note(value: number, traceparent: string): void {
    const bucket = this.buckets.find((bound) => value <= bound);
    const [, traceId = ''] = traceparent.split('-');
    this.byBucket.set(bucket === undefined ? '+Inf' : String(bucket), {
      traceId,
      value,
      at: Date.now() / 1_000,
    });
  }

  /** What follows a sample's line; empty without one. */
  of(line: string): string {
    const [, bucket] = /_bucket\{le="([^"]+)"\} /.exec(line) ?? [];
    const exemplar = bucket === undefined ? undefined : this.byBucket.get(bucket);
    return exemplar === undefined
      ? ''
      : ` # {trace_id="${exemplar.traceId}"} ${exemplar.value} ${exemplar.at.toFixed(3)}`;
  }
}

/**
 * OpenMetrics from the text of Prometheus. By hand, since prom-client renames its counters for good when it writes the other format: from then
 * on the text of Prometheus would have them under other names.
 */
export function toOpenMetrics(text: string, exemplars: readonly Exemplars[] = []): string {
  const counters = new Set([...text.matchAll(/^# TYPE (\S+) counter$/gm)].map(([, name]) => name ?? ''));
  const lines = text.split('\n').flatMap((line) => {
    if (line === '') {
      return [];
    }
    const [, kind = '', name = '', rest = ''] = /^# (HELP|TYPE) (\S+)(.*)$/.exec(line) ?? [];
    if (kind === '') {
      const own = exemplars.find((one) => line.startsWith(`${one.name}_bucket{`));
      return own === undefined ? line : line + own.of(line);
    }
    if (!counters.has(name)) {
      return line;
    }
    // OpenMetrics names a counter without the `_total` of its samples. A counter without that ending is declared as unknown.
    return name.endsWith('_total')
      ? `# ${kind} ${name.slice(0, -'_total'.length)}${rest}`
      : `# ${kind} ${name}${kind === 'TYPE' ? ' unknown' : rest}`;
  });
  return `${lines.join('\n')}\n# EOF\n`;
}
