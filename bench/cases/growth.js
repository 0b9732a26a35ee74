import { peers } from '../peers/index.js';
import { deliveryMetrics, FAN_OUT, FAN_OUT_WINDOW, floodAndMeasure, inTurns } from './load-shapes.js';

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

function receiversOf({ count, plan }) {
  return (count * plan.rooms) / plan.devices;
}

function loadOf({ count, plan, seconds, deliveriesPerS = DELIVERIES_PER_S }) {
  return {
    dashboards: { count, plan },
    devices: plan.devices,
    rate: deliveriesPerS / receiversOf({ count, plan }),
    window: FAN_OUT_WINDOW,
    sampleEvery: 4,
    seconds,
  };
}

async function atConstantDeliveries(trial, load) {
  return deliveryMetrics(await floodAndMeasure(trial, loadOf(load)));
}

const turns = inTurns(loadOf);

/**
 * By the delivery that is due: a server that makes it once for each instance is not the cheaper for it.
 *
 * @type {import('./index.js').Turns}
 */
const overInstances = {
  ...turns,
  async take(trial, load) {
    const metrics = await turns.take(trial, load);
    const copies = 1 - metrics.lossPercent / 100;
    // More copies than are due are no loss.
    const lossPercent = Math.max(0, metrics.lossPercent);
    return { ...metrics, lossPercent, copies, usPerDue: metrics.usPerDelivery * copies };
  },
};

function size(key, label, count, rooms, devices) {
  return {
    key,
    peer: 'sluice',
    label,
    load: { count, plan: { kind: 'block', rooms, devices } },
  };
}

/** @param {number} audiences how many times the connections of the fan-out cases */
function onInstances(peer, instances, audiences) {
  const count = instances === 1 ? 'one instance' : 'three instances';
  const connections = audiences === 1 ? '' : `, ${audiences} 000 connections`;
  return {
    key: `${peer}-${instances}-${audiences}`,
    peer,
    label: `${peers[peer].label}, ${count}${connections}`,
    trial: { instances },
    load: {
      ...FAN_OUT,
      count: FAN_OUT.count * audiences,
      deliveriesPerS: DELIVERIES_PER_S * audiences,
    },
  };
}

function growsNot(entry, than, factor = 1.1) {
  return { kind: 'atMost', entry, than, metric: 'usPerDue', factor };
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
      '300 publications/s; the audience of the fan-out cases, and one of three times as many connections, on one instance and spread over three. All instances share one core, their CPU is added up. A delivery is due once for each publication and receiver; "copies" is how often it is made.',
    entries: [
      onInstances('hand-redis', 1, 1),
      onInstances('hand-redis', 3, 1),
      onInstances('sluice-redis', 1, 1),
      onInstances('sluice-redis', 3, 1),
      onInstances('sluice-redis', 1, 3),
      onInstances('sluice-redis', 3, 3),
    ],
    seconds: 2,
    columns: ['usPerDue', 'copies', ...columns.slice(1, 3), 'cpuPercent', ...columns.slice(3)],
    chart: 'usPerDue',
    turns: overInstances,
    targets: [
      // As many connections for each instance as the one has.
      growsNot('sluice-redis-3-3', 'sluice-redis-1-1'),
      // The same connections, spread.
      growsNot('sluice-redis-3-1', 'sluice-redis-1-1', 1.05),
      growsNot('sluice-redis-3-3', 'sluice-redis-1-3'),
    ],
  },
];
