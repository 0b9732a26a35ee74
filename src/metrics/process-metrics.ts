import { totalmem } from 'node:os';
import { collectDefaultMetrics, Counter, Gauge, type Registry } from 'prom-client';
import { version } from '../logging/version.js';
import { tracing } from '../tracing/tracing.js';
import { mirrorByLabel, mirrorGauge } from './hot-counters.js';

/** Precision of nodejs_eventloop_lag_*; each sample wakes the process, a hundred times per second with prom-client's default. */
const LAG_PRECISION_MS = 20;
/** Default metrics that list every open socket at each scrape, which blocks the event loop: 40 ms at 10 000 connections. */
const LISTS_OF_SOCKETS = [
  'nodejs_active_handles',
  'nodejs_active_handles_total',
  'nodejs_active_requests',
  'nodejs_active_requests_total',
  'nodejs_active_resources',
  'nodejs_active_resources_total',
  'process_open_fds',
];

/** What is measured of the process itself: the defaults of prom-client, its memory limit, and what it was built from. */
export function addProcessMetrics(registry: Registry, prefix: string): void {
  const registers = [registry];
  new Gauge({
    name: `${prefix}build_info`,
    help: '1; the version and the release of Node.js are its labels',
    labelNames: ['version', 'node'],
    registers,
  }).set({ version, node: process.versions.node }, 1);
  new Gauge({
    name: `${prefix}process_memory_limit_bytes`,
    help: 'Memory this process may use: the limit of its container, else that of the machine',
    registers,
  }).set(memoryLimitBytes());
  mirrorGauge(
    new Gauge({
      name: `${prefix}trace_spans_waiting`,
      help: 'Spans that wait for the collector of OpenTelemetry',
      registers,
    }),
    () => tracing.counts.waiting,
  );
  mirrorByLabel(
    new Counter({
      name: `${prefix}trace_spans_dropped_total`,
      help: 'Spans that no collector has got, by reason: full (too many waited), failed (the collector did not take them)',
      labelNames: ['reason'],
      registers,
    }),
    'reason',
    { full: () => tracing.counts.full, failed: () => tracing.counts.failed },
  );
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: LAG_PRECISION_MS });
  LISTS_OF_SOCKETS.forEach((name) => registry.removeSingleMetric(name));
}

/** Without a limit Node reports none, or a number far beyond the machine's memory. */
function memoryLimitBytes(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}
