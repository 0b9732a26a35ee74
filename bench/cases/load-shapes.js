import { setTimeout as pause } from 'node:timers/promises';

/** At saturation there is so much work a second that the compilers are done by then. */
const WARM_UP_MS = 3_000;
/**
 * Measured at 300 publications/s: after 3 s a fifteenth of all samples, of Sluice and of uWebSockets.js alike, is still the
 * compiler's; in some runs V8 collected old space between the 12th and the 18th second, a tenth of the samples then.
 * A server runs for weeks. At 10 publications/s no wait is long enough: the warm-up is one at saturation there.
 */
const WARM_UP_AT_RATE_MS = 25_000;
const TURNS = 8;
/** A server that others had the core before: its caches are cold at first, as they are not in a server that is always busy. */
const SETTLE_MS = 500;
/** Most servers need a few; one that makes every delivery three times has a backlog, which must not burden the next one's turn. */
const DRAIN_MS = 15_000;
export const PAYLOAD_BYTES = 120;

/**
 * Publications in flight per MQTT connection. With few of them a server waits for the generator, with very many it reads
 * so much in one turn of its event loop that coalescing looks better than it is.
 */
export const FAN_OUT_WINDOW = 400;
export const INGEST_WINDOW = 4_000;

/** 1 000 dashboards with 10 rooms each of 100 devices: 100 receivers a publication. */
export const FAN_OUT = Object.freeze({
  count: 1_000,
  plan: { kind: 'block', rooms: 10, devices: 100 },
});

/**
 * @typedef {object} Load
 * @property {{count: number, plan: object}} dashboards none when count is 0
 * @property {number} devices
 * @property {number} [topics] of each device, with one value each
 * @property {number} [payloadBytes]
 * @property {number | null} rate publications per second; null is saturation
 * @property {number} window
 * @property {number} seconds
 * @property {number} sampleEvery
 * @property {number | null} [warmUpRate] if it is not `rate`
 * @property {boolean} [isPooled] latency is that of all turns together
 */

/** See {@link Load.isPooled}. */
export const LATENCY_METRICS = ['p50Ms', 'p99Ms', 'p999Ms'];

/**
 * Dashboards, a flood, and a stretch of it measured.
 *
 * @param {import('../lib/trial.js').Trial} trial
 * @param {Load} load
 */
export async function floodAndMeasure(trial, load) {
  await openAll(trial, load);
  return await floodFor(trial, load, warmUpMs(load));
}

/**
 * The same for servers that take turns: each opens its dashboards and runs until its code is compiled, then floods come and go.
 *
 * @param {(options: {seconds: number}) => Load} loadOf of an entry
 * @param {(flood: object) => Record<string, number>} [metricsOf] a flood
 * @returns {import('./index.js').Turns}
 */
export function inTurns(loadOf, metricsOf = deliveryMetrics) {
  return {
    count: TURNS,
    async begin(trial, options) {
      const load = loadOf(options);
      await openAll(trial, load);
      const { rate, warmUpRate = rate } = load;
      const warmUp = { ...load, rate: warmUpRate, seconds: 0, isPooled: false };
      await floodFor(trial, warmUp, warmUpMs(warmUp));
    },
    take: async (trial, options) => metricsOf(await floodFor(trial, loadOf(options), SETTLE_MS)),
  };
}

function warmUpMs({ rate }) {
  return rate === null ? WARM_UP_MS : WARM_UP_AT_RATE_MS;
}

async function openAll(trial, { dashboards }) {
  if (dashboards.count > 0) {
    await trial.openDashboards(dashboards);
  }
}

/** A flood of the dashboards that are open, measured after a while. */
export async function floodFor(trial, load, beforeMs) {
  const { seconds, sampleEvery, isPooled } = load;
  await startFlood(trial, { ...load, seconds: seconds + 40 });
  await pause(beforeMs);
  const measured = await trial.load.call('measure', {
    pids: trial.pids,
    ms: seconds * 1000,
    sampleEvery,
    isPooled,
  });
  const end = await trial.load.call('stopFlood', { drainMs: DRAIN_MS });
  return { measured, end };
}

/** @param {import('../lib/trial.js').Trial} trial */
export async function startFlood(
  trial,
  { devices, topics, payloadBytes = PAYLOAD_BYTES, rate, window, seconds },
) {
  await trial.load.call('startFlood', {
    devices,
    ...(topics === undefined ? { payloadBytes } : { topics }),
    qos: 1,
    window,
    maxOutstanding: 200_000,
    rate,
    maxMs: seconds * 1000,
  });
}

/** @param {number[]} values */
export function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

/** The usual metrics of a flood with receivers. */
export function deliveryMetrics({ measured, end }, name = 'all') {
  const group = measured.groups[name];
  const seconds = measured.ms / 1000;
  const cpu = sum(measured.cpuMicros);
  return {
    usPerDelivery: cpu / group.deliveries,
    deliveriesPerS: group.deliveries / seconds,
    publicationsPerS: measured.published / seconds,
    bytesPerDelivery: group.bytes / group.deliveries,
    cpuPercent: cpu / seconds / 10_000,
    generatorPercent: measured.generatorMicros / seconds / 10_000,
    rssMib: sum(measured.rssKib) / 1024,
    calmPercent: 100 * measured.calmShare,
    ...lossAndLatency(measured, end, name),
  };
}

export function lossAndLatency(measured, end, name) {
  const { latencyMicros } = measured.groups[name];
  const { expected, deliveries } = end.groups[name];
  return {
    lossPercent: expected > 0 ? (100 * (expected - deliveries)) / expected : 0,
    p50Ms: latencyMicros.p50 / 1000,
    p99Ms: latencyMicros.p99 / 1000,
    p999Ms: latencyMicros.p999 / 1000,
  };
}
