import { Exemplars, takesOpenMetrics, toOpenMetrics } from './open-metrics.js';
import { Metrics } from './metrics.js';

describe(toOpenMetrics.name, () => {
  it('names families of counters without _total, keeps samples, and ends with EOF', () => {
    const text =
      '# HELP a_total Things\n# TYPE a_total counter\na_total{x="1"} 3\n\n# HELP b Level\n# TYPE b gauge\nb 2\n\n# HELP odd Old\n# TYPE odd counter\nodd 1\n';
    expect(toOpenMetrics(text)).toBe(
      '# HELP a Things\n# TYPE a counter\na_total{x="1"} 3\n# HELP b Level\n# TYPE b gauge\nb 2\n# HELP odd Old\n# TYPE odd unknown\nodd 1\n# EOF\n',
    );
  });

  it('has the newest trace of a bucket behind its line, and nothing behind others', async () => {
    const metrics = new Metrics();
    metrics.observeLatency(0.004, `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`);
    metrics.observeLatency(0.003, `00-${'c'.repeat(32)}-${'d'.repeat(16)}-01`);
    metrics.observeLatency(20, `00-${'e'.repeat(32)}-${'f'.repeat(16)}-01`);
    metrics.observeLatency(0.2, undefined);
    const text = await metrics.openMetricsText();
    const lines = text.split('\n').filter((line) => line.includes(' # {'));
    expect(lines).toEqual([
      expect.stringMatching(
        /^sluice_delivery_latency_seconds_bucket\{le="0.005"\} 2 # \{trace_id="c{32}"\} 0.003 \d+\.\d{3}$/,
      ),
      expect.stringMatching(
        /^sluice_delivery_latency_seconds_bucket\{le="\+Inf"\} 4 # \{trace_id="e{32}"\} 20 /,
      ),
    ]);
    expect(await metrics.registry.metrics()).not.toContain(' # {');
    expect(await metrics.registry.metrics()).toContain('# TYPE sluice_connections_total counter');
  });

  it('keeps one exemplar a bucket', () => {
    const exemplars = new Exemplars('x', [1, 2]);
    Array.from({ length: 100 }, (_, at) => exemplars.note(at / 10, `00-${at}-0-01`));
    const shown = ['1', '2', '+Inf'].map((le) => exemplars.of(`x_bucket{le="${le}"} 1`));
    expect(shown.map((text) => text.split('"')[1])).toEqual(['10', '20', '99']);
  });
});

describe(takesOpenMetrics.name, () => {
  it('is where it is asked for', () => {
    expect(
      takesOpenMetrics('application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5'),
    ).toBe(true);
    expect(takesOpenMetrics('text/plain')).toBe(false);
    expect(takesOpenMetrics(undefined)).toBe(false);
  });
});
