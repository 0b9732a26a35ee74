import {
  deliveryMetrics,
  FAN_OUT,
  FAN_OUT_WINDOW,
  floodAndMeasure,
  floodFor,
  inTurns,
  LATENCY_METRICS,
} from './load-shapes.js';

const columns = [
  'usPerDelivery',
  'deliveriesPerS',
  'lossPercent',
  'p50Ms',
  'p99Ms',
  'p999Ms',
  'cpuPercent',
  'rssMib',
];

/** Whoever asks for batches must not cost more for it, however many messages there are to collect. */
const BATCH_PAYS = {
  kind: 'atMost',
  entry: 'sluice-batch5',
  than: 'sluice',
  metric: 'usPerDelivery',
  factor: 1,
};

/** No two connections watch the same ten devices. */
const MIXED = { kind: 'mixed', rooms: 10, devices: 100 };

/** One of 40 publications is no p99. */
const POOLED = { isPooled: true, warmUpRate: null };

function loadOf({ plan = FAN_OUT.plan, ...load }) {
  return {
    dashboards: { ...FAN_OUT, plan },
    devices: plan.devices,
    window: FAN_OUT_WINDOW,
    ...load,
  };
}

function alone(load) {
  return async (trial, options) =>
    deliveryMetrics(await floodAndMeasure(trial, loadOf({ ...load, ...options })));
}

const META_BYTES = 200;
/** Until metadata and the snapshots that bring it are read. */
const META_SETTLE_MS = 500;

/** Bytes on the wire do not depend on warm caches. */
async function bytesOfDelivery(trial, { seconds }) {
  const { devices, rooms } = FAN_OUT.plan;
  await trial.openDashboards({ count: 100, plan: { kind: 'block', rooms, devices } });
  await trial.load.call('publishMeta', { devices, bytes: META_BYTES });
  const load = { devices, rate: 300, window: FAN_OUT_WINDOW, sampleEvery: 4, seconds };
  return deliveryMetrics(await floodFor(trial, load, META_SETTLE_MS));
}

/** @type {import('./index.js').Case[]} */
export const fanOutCases = [
  {
    name: 'fan-out-saturation',
    title: 'Fan-out at saturation',
    about:
      '1 000 connections with 10 rooms each, 100 receivers a publication, QoS 1, as fast as the server acknowledges.',
    entries: [
      { peer: 'hand' },
      { peer: 'hand-redis' },
      { peer: 'nest' },
      { peer: 'socket.io' },
      { peer: 'mosquitto' },
      { peer: 'rabbitmq' },
      { peer: 'nats' },
      { peer: 'ws' },
      { peer: 'ws-cork' },
      { peer: 'uws' },
      { peer: 'sluice' },
      { peer: 'sluice-batch5' },
      { peer: 'sluice-redis' },
    ],
    seconds: 3,
    columns,
    chart: 'usPerDelivery',
    run: alone({ rate: null, sampleEvery: 64 }),
    targets: [
      { kind: 'cheaperBy', entry: 'sluice', than: 'hand', metric: 'usPerDelivery', factor: 9 },
      { kind: 'atMost', entry: 'sluice', than: 'uws', metric: 'usPerDelivery', factor: 1.15 },
      { kind: 'cheaperBy', entry: 'sluice-redis', than: 'hand-redis', metric: 'usPerDelivery', factor: 8 },
      { kind: 'atMost', entry: 'sluice-redis', than: 'uws', metric: 'usPerDelivery', factor: 1.3 },
      BATCH_PAYS,
    ],
  },
  {
    name: 'fan-out-mixed',
    title: 'Fan-out at saturation, every connection with a set of rooms of its own',
    about:
      'As above, but no two connections watch the same ten devices, so that no two receive the same bytes.',
    entries: [
      { peer: 'nats' },
      { peer: 'ws-cork' },
      { peer: 'uws' },
      { peer: 'sluice' },
      { peer: 'sluice-batch5' },
    ],
    seconds: 3,
    columns,
    chart: 'usPerDelivery',
    run: alone({ rate: null, plan: MIXED, sampleEvery: 64 }),
    targets: [
      { kind: 'atMost', entry: 'sluice', than: 'uws', metric: 'usPerDelivery', factor: 1 },
      BATCH_PAYS,
    ],
  },
  {
    name: 'fan-out-mixed-700',
    title: 'Fan-out at 700 publications/s, every connection with a set of rooms of its own',
    about: 'The mixed audience, 70 messages a second for each connection.',
    entries: [{ peer: 'uws' }, { peer: 'sluice' }, { peer: 'sluice-batch5' }, { peer: 'sluice-batch50' }],
    seconds: 2,
    columns,
    chart: 'usPerDelivery',
    turns: inTurns((options) => loadOf({ rate: 700, plan: MIXED, sampleEvery: 8, ...options })),
    targets: [
      { kind: 'atMost', entry: 'sluice-batch50', than: 'uws', metric: 'usPerDelivery', factor: 0.5 },
      BATCH_PAYS,
    ],
  },
  {
    name: 'fan-out-700',
    title: 'Fan-out at 700 publications/s',
    about: 'The same audience, 70 messages a second for each connection.',
    entries: [
      { peer: 'nats' },
      { peer: 'rabbitmq' },
      { peer: 'nest' },
      { peer: 'ws' },
      { peer: 'ws-cork' },
      { peer: 'uws' },
      { peer: 'sluice' },
      { peer: 'sluice-batch5' },
      { peer: 'sluice-batch50' },
    ],
    seconds: 2,
    columns,
    chart: 'usPerDelivery',
    turns: inTurns((options) => loadOf({ rate: 700, sampleEvery: 8, ...options })),
    targets: [
      { kind: 'atMost', entry: 'sluice', than: 'uws', metric: 'usPerDelivery', factor: 1.1 },
      { kind: 'atMost', entry: 'sluice-batch50', than: 'uws', metric: 'usPerDelivery', factor: 0.5 },
      BATCH_PAYS,
    ],
  },
  {
    name: 'fan-out-300',
    title: 'Fan-out at 300 publications/s',
    about: 'The same audience, 30 messages a second for each connection: little to coalesce.',
    entries: [
      { peer: 'hand' },
      { peer: 'hand-redis' },
      { peer: 'uws' },
      { peer: 'sluice' },
      { peer: 'sluice-batch5' },
      { peer: 'sluice-redis' },
    ],
    seconds: 2,
    columns,
    chart: 'usPerDelivery',
    turns: inTurns((options) => loadOf({ rate: 300, sampleEvery: 4, ...options })),
    targets: [
      { kind: 'atMost', entry: 'sluice', than: 'hand', metric: 'usPerDelivery', factor: 0.8 },
      { kind: 'atMost', entry: 'sluice-batch5', than: 'hand', metric: 'usPerDelivery', factor: 0.6 },
      BATCH_PAYS,
    ],
  },
  {
    name: 'latency',
    title: 'Latency at 10 publications/s',
    about:
      'The same audience, one publication at a time: nothing to gain by waiting. Percentiles are of all turns together, 640 publications a run, without those in whose time the machine gave CPU time to others ("counted %"); before them 3 s at saturation, since a server that runs for weeks has compiled code.',
    entries: [{ peer: 'hand' }, { peer: 'ws' }, { peer: 'uws' }, { peer: 'sluice' }],
    seconds: 8,
    columns: ['p50Ms', 'p99Ms', 'p999Ms', 'calmPercent', 'usPerDelivery', 'lossPercent'],
    chart: 'p99Ms',
    turns: {
      ...inTurns((options) => loadOf({ rate: 10, sampleEvery: 1, ...POOLED, ...options })),
      pooled: LATENCY_METRICS,
    },
    targets: [
      { kind: 'atMost', entry: 'sluice', than: 'uws', metric: 'p99Ms', factor: 1 },
      { kind: 'atMost', entry: 'sluice', than: 'ws', metric: 'p50Ms', factor: 1.1 },
      { kind: 'atMost', entry: 'sluice', than: 'ws', metric: 'p99Ms', factor: 1.5 },
    ],
  },
  {
    name: 'bytes',
    title: 'Bytes of a delivery',
    about:
      'What a delivery is on the wire: 120 bytes of payload of a device with an id of 12 characters and 200 bytes of metadata, of which uWebSockets.js and the hand-written server know nothing.',
    entries: [{ peer: 'hand' }, { peer: 'uws' }, { peer: 'sluice' }, { peer: 'sluice-once' }],
    seconds: 2,
    maxRuns: 1,
    columns: ['bytesPerDelivery', 'deliveriesPerS', 'lossPercent'],
    run: bytesOfDelivery,
    // 262 with the ids of 20 characters that docs/scaling.md reckons with.
    targets: [{ kind: 'noMoreThan', entry: 'sluice-once', metric: 'bytesPerDelivery', limit: 254 }],
  },
];
