import { setTimeout as pause } from 'node:timers/promises';

import { median } from '../lib/statistics.js';
import { INGEST_WINDOW, lossAndLatency, startFlood, sum } from './load-shapes.js';

const DRAIN_MS = 3_000;
const QUIET_MS = 5_000;

const SLOW_DEVICES = 20;
const SLOW_RATE = 2_000;
const PAUSE_WINDOWS = 4;
const PAUSE_WINDOW_MS = 5_000;

async function slowConsumer(trial) {
  await trial.openDashboards({
    name: 'others',
    count: 99,
    plan: { kind: 'block', rooms: 2, devices: SLOW_DEVICES },
  });
  await trial.openDashboards({
    name: 'slow',
    count: 1,
    plan: { kind: 'block', rooms: SLOW_DEVICES, devices: SLOW_DEVICES },
  });
  const flood = { devices: SLOW_DEVICES, rate: SLOW_RATE, window: INGEST_WINDOW, seconds: 60 };
  await startFlood(trial, flood);
  await pause(QUIET_MS);
  const measure = (ms) => trial.load.call('measure', { pids: trial.pids, ms, sampleEvery: 4 });
  const quiet = await measure(QUIET_MS);
  await trial.load.call('pauseDashboards', { name: 'slow', isPaused: true });
  const windows = [];
  for (let index = 0; index < PAUSE_WINDOWS; index++) {
    windows.push(await measure(PAUSE_WINDOW_MS));
  }
  await trial.load.call('pauseDashboards', { name: 'slow', isPaused: false });
  await pause(1_000);
  const end = await trial.load.call('stopFlood', { drainMs: DRAIN_MS });
  const rss = (measured) => sum(measured.rssKib) / 1024;
  const p99 = (measured) => measured.groups.others.latencyMicros.p99 / 1000;
  return {
    rssGrowthMib: Math.max(...windows.map(rss)) - rss(quiet),
    othersLossPercent: lossAndLatency(windows[0], end, 'others').lossPercent,
    quietP99Ms: p99(quiet),
    p99Ms: median(windows.map(p99)),
    p99Growth: median(windows.map(p99)) / p99(quiet),
    slowCloseCode: Number(Object.keys(end.groups.slow.closes)[0] ?? NaN),
  };
}

const STORM_CLIENTS = 10_000;
const STEADY_RATE = 100;
/** 5 000 publications: a quiet p99 of 500 of them is the luck of the moment, and the storm's is compared with it. */
const STORM_QUIET_MS = (5_000 * 1000) / STEADY_RATE;
const STORM_WATCH_MS = 15_000;
const STORM_TIMEOUT_MS = 45_000;
const STEADY_DEVICES = 100;

/** The clients of the storm live in a process of their own, so that their work does not show as latency of the others. */
async function reconnectStorm(trial) {
  const [steady, crowd] = trial.allLoads;
  const steadyPlan = { kind: 'block', rooms: 10, devices: STEADY_DEVICES };
  await trial.openDashboards({ name: 'others', count: 100, plan: steadyPlan });
  await trial.openDashboards(
    {
      name: 'crowd',
      count: STORM_CLIENTS,
      keepTokens: true,
      retryMs: 200,
      plan: { kind: 'block', rooms: 10, devices: 10_000, first: STEADY_DEVICES },
    },
    crowd,
  );
  await startFlood(trial, {
    devices: STEADY_DEVICES,
    rate: STEADY_RATE,
    window: INGEST_WINDOW,
    seconds: 150,
  });
  await pause(QUIET_MS);
  const measure = (ms) => steady.call('measure', { pids: trial.pids, ms, sampleEvery: 1 });
  const quiet = await measure(STORM_QUIET_MS);
  const [storm, during] = await Promise.all([
    crowd.call('storm', { name: 'crowd', timeoutMs: STORM_TIMEOUT_MS }),
    measure(STORM_WATCH_MS),
  ]);
  const end = await steady.call('stopFlood', { drainMs: DRAIN_MS });
  const p99 = (measured) => measured.groups.others.latencyMicros.p99 / 1000;
  return {
    back: storm.back,
    backS: storm.back === STORM_CLIENTS ? storm.backMs / 1000 : Infinity,
    attempts: storm.attempts,
    quietP99Ms: p99(quiet),
    p99Ms: p99(during),
    p99Growth: p99(during) / p99(quiet),
    othersLossPercent: lossAndLatency(during, end, 'others').lossPercent,
  };
}

/** The queue of a slow connection (WS_QUEUE_MAX_BYTES, 1 MiB) and what the runtime may need besides. */
const SLOW_RSS_MIB = 1 + 8;

/** @type {import('./index.js').Case[]} */
export const faultCases = [
  {
    name: 'slow-consumer',
    title: 'Slow consumer',
    about:
      'One of 100 dashboards watches all of 2 000 messages/s and stops reading for 20 s; the other 99 watch a tenth of them each.',
    entries: [{ peer: 'hand' }, { peer: 'nats' }, { peer: 'uws' }, { peer: 'sluice' }],
    seconds: 0,
    maxRuns: 1,
    columns: ['rssGrowthMib', 'othersLossPercent', 'quietP99Ms', 'p99Ms', 'slowCloseCode'],
    chart: 'rssGrowthMib',
    run: slowConsumer,
    targets: [
      { kind: 'noMoreThan', entry: 'sluice', metric: 'rssGrowthMib', limit: SLOW_RSS_MIB },
      { kind: 'noMoreThan', entry: 'sluice', metric: 'othersLossPercent', limit: 0 },
    ],
  },
  {
    name: 'reconnect-storm',
    title: 'Reconnect storm',
    about:
      '10 000 dashboards lose their connection at once and come back with full jitter from a base of 1 s; 100 others watch 100 publications/s; the quiet p99 is that of the 5 000 before. Sluice keeps its default admission rate of 1 000 new connections a second here.',
    entries: [
      { peer: 'hand', trial: { generators: 2 } },
      {
        peer: 'sluice',
        trial: { generators: 2, env: { WS_MAX_CONNECTIONS_PER_SECOND: '1000' } },
      },
    ],
    seconds: 0,
    maxRuns: 3,
    columns: ['back', 'backS', 'attempts', 'quietP99Ms', 'p99Ms', 'p99Growth', 'othersLossPercent'],
    chart: 'p99Ms',
    run: reconnectStorm,
    targets: [
      { kind: 'noMoreThan', entry: 'sluice', metric: 'backS', limit: 15 },
      { kind: 'noMoreThan', entry: 'sluice', metric: 'p99Growth', limit: 4 },
    ],
  },
];
