import { setTimeout as pause } from 'node:timers/promises';

import { sum } from './load-shapes.js';

const ROOMS = 10;
const FLEET = 10_000;
const SETTLE_MS = 3_000;
const WARM_UP = 200;
/**
 * So many that what is measured is compiled code, as in a storm that a running server meets: the cost of a connect falls for the first
 * five thousand, from 500 to 120 us for Sluice and from 270 to 90 for the hand-written server.
 */
const CONNECT_WARM_UP = 5_000;
const CONNECT_TURNS = 9;
/** At the start of a turn: another server had the core, and with it the caches. */
const CONNECT_NOT_COUNTED = 200;
const CONNECT_COUNTED = 1_000;
/** Until a server is done with what it does after its last answer. */
const LAST_ANSWER_MS = 10;
const plan = { kind: 'block', rooms: ROOMS, devices: FLEET };

async function usage(trial) {
  const { cpuMicros, rssKib } = await trial.load.call('usage', { pids: trial.pids });
  return { cpu: sum(cpuMicros), rss: sum(rssKib) };
}

async function idle(trial) {
  await trial.openDashboards({ name: 'warm-up', count: WARM_UP, plan });
  await pause(SETTLE_MS);
  const before = await usage(trial);
  const open = { name: 'idle', plan, timeoutMs: 60_000 };
  await trial.openDashboards({ ...open, count: 10_000 });
  await pause(SETTLE_MS);
  const at10k = await usage(trial);
  await trial.openDashboards({ ...open, count: 9_000 - WARM_UP });
  await pause(SETTLE_MS);
  const at19k = await usage(trial);
  return {
    kibAt10k: (at10k.rss - before.rss) / 10_000,
    kibAt19k: (at19k.rss - before.rss) / (19_000 - WARM_UP),
    rssMib: at19k.rss / 1024,
  };
}

async function idleOverInstances(trial, { connections }) {
  await trial.openDashboards({ name: 'warm-up', count: WARM_UP * trial.instances, plan });
  await pause(SETTLE_MS);
  const before = await usage(trial);
  const share = Math.floor(connections / trial.allLoads.length);
  const startedAt = performance.now();
  for (const [index, load] of trial.allLoads.entries()) {
    const open = { name: `idle-${index}`, plan, count: share, timeoutMs: 60_000 };
    await trial.openDashboards({ ...open, ports: [trial.ports[index % trial.ports.length]] }, load);
  }
  const openedS = (performance.now() - startedAt) / 1000;
  await pause(SETTLE_MS);
  const after = await usage(trial);
  return {
    connections: share * trial.allLoads.length,
    kibPerConnection: (after.rss - before.rss) / (share * trial.allLoads.length),
    rssMib: after.rss / 1024,
    openedS,
  };
}

/** @type {import('./index.js').Turns} */
const connectCost = {
  count: CONNECT_TURNS,
  async begin(trial) {
    await trial.openDashboards({ name: 'warm-up', count: CONNECT_WARM_UP, plan });
  },
  async take(trial) {
    const count = CONNECT_COUNTED;
    const open = { name: 'new', plan, concurrency: 20 };
    await trial.openDashboards({ ...open, count: CONNECT_NOT_COUNTED });
    const before = await usage(trial);
    const { ms } = await trial.openDashboards({ ...open, count });
    await pause(LAST_ANSWER_MS);
    const after = await usage(trial);
    return {
      usPerConnect: (after.cpu - before.cpu) / count,
      connectsPerS: (count * 1000) / ms,
    };
  },
};

/** @type {import('./index.js').Case[]} */
export const connectionCases = [
  {
    name: 'idle',
    title: 'Idle connections',
    about:
      '10 000 and then 19 000 connections with 10 rooms each that receive nothing; resident memory of the server.',
    entries: [
      { peer: 'hand' },
      { peer: 'nest' },
      { peer: 'socket.io' },
      { peer: 'mosquitto' },
      { peer: 'nats' },
      { peer: 'uws' },
      { peer: 'sluice' },
    ],
    seconds: 0,
    maxRuns: 3,
    columns: ['kibAt10k', 'kibAt19k', 'rssMib'],
    chart: 'kibAt19k',
    run: idle,
    targets: [
      { kind: 'atMost', entry: 'sluice', than: 'hand', metric: 'kibAt10k', factor: 1 },
      { kind: 'atMost', entry: 'sluice', than: 'hand', metric: 'kibAt19k', factor: 1 },
    ],
  },
  {
    name: 'idle-50k',
    title: '50 000 idle connections over three instances',
    about: 'Three instances and a Redis, 10 rooms a connection; resident memory of all three together.',
    entries: [
      {
        peer: 'sluice-redis',
        label: 'Sluice with Redis, three instances',
        trial: { instances: 3, generators: 3 },
        load: { connections: 50_000 },
      },
    ],
    seconds: 0,
    maxRuns: 1,
    columns: ['connections', 'kibPerConnection', 'rssMib', 'openedS'],
    run: idleOverInstances,
    targets: [{ kind: 'noMoreThan', entry: 'sluice-redis', metric: 'kibPerConnection', limit: 7 }],
  },
  {
    name: 'connect',
    title: 'Cost of a connect',
    about:
      'TCP, upgrade, a new HS256 token each time, 10 rooms; CPU of the server, in turns of 1 000 connects, after 200 that are not counted; 5 000 more come before.',
    entries: [
      { peer: 'hand' },
      { peer: 'hand-key' },
      { peer: 'nest' },
      { peer: 'socket.io' },
      { peer: 'uws' },
      { peer: 'sluice' },
    ],
    seconds: 0,
    columns: ['usPerConnect', 'connectsPerS'],
    chart: 'usPerConnect',
    turns: connectCost,
    targets: [{ kind: 'atMost', entry: 'sluice', than: 'hand-key', metric: 'usPerConnect', factor: 1.3 }],
  },
];
