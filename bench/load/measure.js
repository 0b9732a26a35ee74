import { setTimeout as pause } from 'node:timers/promises';

import { cpuMicros, rssKib, stolenTicks } from './process-usage.js';

/** One publication, where latency is measured. */
const SLICE_MS = 100;

/**
 * What happens in a stretch of time: the servers' CPU, the deliveries and their latency, read in the same place at the
 * same moment.
 *
 * @param {object} options
 * @param {number[]} options.pids the measured servers
 * @param {number} options.ms
 * @param {number} options.sampleEvery one latency sample per so many deliveries
 * @param {Map<string, import('./dashboard-group.js').DashboardGroup>} options.groups
 * @param {import('./flood.js').Flood} [options.flood]
 * @param {boolean} [options.isPooled] latency of all such stretches so far together: a short one has too few publications for a p99. What comes while, or just
 *   after, the machine gave CPU time to others is left out: a hundredth of all is what they did, and nothing of the server
 */
export async function measure({ pids, ms, sampleEvery, groups, flood, isPooled = false }) {
  for (const { sink } of groups.values()) {
    sink.startSampling(sampleEvery);
  }
  const before = read(pids, groups, flood);
  let calmShare = 1;
  if (isPooled) {
    calmShare = await poolCalm(ms, [...groups.values()]);
  } else {
    await pause(ms);
  }
  const after = read(pids, groups, flood);
  return {
    ms: after.at - before.at,
    calmShare,
    cpuMicros: after.cpu.map((cpu, index) => cpu - before.cpu[index]),
    generatorMicros: after.generator - before.generator,
    rssKib: pids.map(rssKib),
    published: after.published - before.published,
    acknowledged: after.acknowledged - before.acknowledged,
    groups: Object.fromEntries(
      [...groups].map(([name, { sink }]) => [
        name,
        {
          deliveries: sink.deliveries - before.groups[name].deliveries,
          frames: sink.frames - before.groups[name].frames,
          bytes: sink.bytes - before.groups[name].bytes,
          latencyMicros: percentiles(isPooled ? sink.pooledLatency : sink.latency),
        },
      ]),
    ),
  };
}

/** @returns {Promise<number>} share of the time that counts */
async function poolCalm(ms, groups) {
  const until = performance.now() + ms;
  let stolen = stolenTicks();
  let wasCalm = true;
  let slices = 0;
  let counted = 0;
  while (performance.now() < until) {
    await pause(Math.min(SLICE_MS, until - performance.now()));
    const stolenNow = stolenTicks();
    const isCalm = stolenNow === stolen;
    slices += 1;
    for (const { sink } of groups) {
      if (isCalm && wasCalm) {
        sink.pooledLatency.add(sink.latency);
      }
      sink.latency.reset();
    }
    counted += isCalm && wasCalm ? 1 : 0;
    stolen = stolenNow;
    wasCalm = isCalm;
  }
  return counted / slices;
}

function read(pids, groups, flood) {
  const { user, system } = process.cpuUsage();
  return {
    at: performance.now(),
    cpu: pids.map(cpuMicros),
    generator: user + system,
    published: flood?.published ?? 0,
    acknowledged: flood?.acknowledged ?? 0,
    groups: Object.fromEntries(
      [...groups].map(([name, { sink }]) => [
        name,
        { deliveries: sink.deliveries, frames: sink.frames, bytes: sink.bytes },
      ]),
    ),
  };
}

function percentiles(histogram) {
  return {
    samples: histogram.count,
    p50: histogram.percentile(0.5),
    p99: histogram.percentile(0.99),
    p999: histogram.percentile(0.999),
  };
}
