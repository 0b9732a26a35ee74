import { deliveryMetrics, FAN_OUT, FAN_OUT_WINDOW, floodAndMeasure, inTurns } from './load-shapes.js';

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

/** No two connections watch the same ten devices. */
const MIXED = { kind: 'mixed', rooms: 10, devices: 100 };

function loadOf({ rate, plan = FAN_OUT.plan, sampleEvery, seconds }) {
  return {
    dashboards: { ...FAN_OUT, plan },
    devices: plan.devices,
    rate,
    window: FAN_OUT_WINDOW,
    sampleEvery,
    seconds,
  };
}

function alone(load) {
  return async (trial, options) =>
    deliveryMetrics(await floodAndMeasure(trial, loadOf({ ...load, ...options })));
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
      { kind: 'atMost', entry: 'sluice-batch5', than: 'sluice', metric: 'usPerDelivery', factor: 1 },
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
      { kind: 'atMost', entry: 'sluice-batch5', than: 'sluice', metric: 'usPerDelivery', factor: 1 },
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
    ],
  },
  {
    name: 'latency',
    title: 'Latency at 10 publications/s',
    about: 'The same audience, one publication at a time: nothing to gain by waiting.',
    entries: [{ peer: 'hand' }, { peer: 'ws' }, { peer: 'uws' }, { peer: 'sluice' }],
    // 200 publications: of 80, the slowest hundredth would be one, and a halt of the machine all that is measured.
    seconds: 20,
    columns: ['p50Ms', 'p99Ms', 'p999Ms', 'usPerDelivery', 'lossPercent'],
    chart: 'p99Ms',
    run: alone({ rate: 10, sampleEvery: 1 }),
    targets: [
      { kind: 'atMost', entry: 'sluice', than: 'ws', metric: 'p50Ms', factor: 1.1 },
      { kind: 'atMost', entry: 'sluice', than: 'ws', metric: 'p99Ms', factor: 1.5 },
    ],
  },
];
