import { deliveryMetrics, FAN_OUT, FAN_OUT_WINDOW, floodAndMeasure } from './load-shapes.js';

const DELIVERIES_PER_S = 30_000;
const columns = [
  'usPerDelivery',
  'deliveriesPerS',
  'publicationsPerS',
  'lossPercent',
  'p50Ms',
  'p99Ms',
  'rssMib',
];

async function atConstantDeliveries(trial, { seconds, count, plan, deliveriesPerS = DELIVERIES_PER_S }) {
  const receivers = (count * plan.rooms) / plan.devices;
  const result = await floodAndMeasure(trial, {
    dashboards: { count, plan },
    devices: plan.devices,
    rate: deliveriesPerS / receivers,
    window: FAN_OUT_WINDOW,
    seconds,
    sampleEvery: 4,
  });
  return deliveryMetrics(result);
}

function size(key, label, count, rooms, devices) {
  return {
    key,
    peer: 'sluice',
    label,
    load: { count, plan: { kind: 'block', rooms, devices } },
  };
}

function onInstances(key, instances, label, audiences) {
  return {
    key,
    peer: 'sluice-redis',
    label: `Sluice with Redis, ${label}`,
    trial: { instances },
    load: {
      ...FAN_OUT,
      count: FAN_OUT.count * audiences,
      deliveriesPerS: DELIVERIES_PER_S * audiences,
    },
  };
}

/** @type {import('./index.js').Case[]} */
export const growthCases = [
  {
    name: 'growth',
    title: 'How cost grows with connections and rooms',
    about: 'Sluice alone, always 30 000 deliveries/s.',
    entries: [
      size('connections-250', '250 connections, 10 of 100 rooms', 250, 10, 100),
      size('connections-1000', '1 000 connections, 10 of 100 rooms', 1_000, 10, 100),
      size('connections-4000', '4 000 connections, 10 of 100 rooms', 4_000, 10, 100),
      size('rooms-1', '1 000 connections, 1 of 10 rooms', 1_000, 1, 10),
      size('rooms-100', '1 000 connections, 100 of 1 000 rooms', 1_000, 100, 1_000),
    ],
    seconds: 3,
    maxRuns: 1,
    columns,
    chart: 'usPerDelivery',
    run: atConstantDeliveries,
    targets: [],
  },
  {
    name: 'instances',
    title: 'One and three instances with Redis',
    about:
      '300 publications/s; the audience of the fan-out cases, and one of three times as many connections, on one instance and spread over three. All instances share one core, their CPU is added up.',
    entries: [
      onInstances('instances-1', 1, 'one instance', 1),
      onInstances('instances-3', 3, 'three instances', 1),
      onInstances('instances-1-full', 1, 'one instance, 3 000 connections', 3),
      onInstances('instances-3-full', 3, 'three instances, 3 000 connections', 3),
    ],
    seconds: 5,
    columns: [...columns.slice(0, 3), 'cpuPercent', ...columns.slice(3)],
    chart: 'usPerDelivery',
    run: atConstantDeliveries,
    targets: [
      { kind: 'atMost', entry: 'instances-3', than: 'instances-1', metric: 'usPerDelivery', factor: 1.1 },
      {
        kind: 'atMost',
        entry: 'instances-3-full',
        than: 'instances-1-full',
        metric: 'usPerDelivery',
        factor: 1.1,
      },
    ],
  },
];
