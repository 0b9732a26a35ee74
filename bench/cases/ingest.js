import { deliveryMetrics, floodAndMeasure, INGEST_WINDOW, inTurns, sum } from './load-shapes.js';

const DEVICES = 10_000;
/** One receiver for each device. */
export const ONE_RECEIVER = {
  dashboards: { count: 1_000, plan: { kind: 'block', rooms: 10, devices: DEVICES } },
  devices: DEVICES,
  rate: null,
  window: INGEST_WINDOW,
  sampleEvery: 16,
};

const wholeFleet = (dashboards, seconds) => ({
  dashboards,
  devices: DEVICES,
  rate: null,
  window: INGEST_WINDOW,
  seconds,
  sampleEvery: 1,
});

/** Of a flood, whoever receives it. */
function messageMetrics({ measured }) {
  const cpu = sum(measured.cpuMicros);
  return {
    messagesPerS: (measured.acknowledged * 1000) / measured.ms,
    usPerMessage: cpu / measured.acknowledged,
    cpuPercent: cpu / measured.ms / 10,
    rssMib: sum(measured.rssKib) / 1024,
  };
}

/** @type {import('./index.js').Case[]} */
export const ingestCases = [
  {
    name: 'ingest',
    title: 'Ingest, one receiver for each of 10 000 devices',
    about: '1 000 connections with 10 rooms each, no room shared; QoS 1, as fast as the server acknowledges.',
    entries: [
      { peer: 'hand' },
      { peer: 'hand-redis' },
      { peer: 'nest' },
      { peer: 'socket.io' },
      { peer: 'uws' },
      { peer: 'sluice' },
      { peer: 'sluice-redis' },
    ],
    seconds: 1,
    columns: ['deliveriesPerS', 'usPerDelivery', 'lossPercent', 'p50Ms', 'p99Ms', 'p999Ms', 'rssMib'],
    chart: 'deliveriesPerS',
    turns: inTurns(({ seconds }) => ({ ...ONE_RECEIVER, seconds })),
    targets: [
      { kind: 'fasterBy', entry: 'sluice', than: 'uws', metric: 'deliveriesPerS', factor: 2.3 },
      { kind: 'fasterBy', entry: 'sluice-redis', than: 'hand-redis', metric: 'deliveriesPerS', factor: 5 },
    ],
  },
  {
    name: 'nobody-watching',
    title: 'Ingest, nobody watching',
    about: '10 000 devices publish and no dashboard is connected.',
    entries: [
      { peer: 'hand' },
      { peer: 'hand-redis' },
      { peer: 'nest' },
      { peer: 'uws' },
      { peer: 'sluice' },
      { peer: 'sluice-redis' },
    ],
    seconds: 3,
    columns: ['messagesPerS', 'usPerMessage', 'cpuPercent', 'rssMib'],
    chart: 'messagesPerS',
    run: async (trial, { seconds }) =>
      messageMetrics(await floodAndMeasure(trial, wholeFleet({ count: 0, plan: { kind: 'none' } }, seconds))),
    targets: [
      { kind: 'fasterBy', entry: 'sluice', than: 'uws', metric: 'messagesPerS', factor: 2.7 },
      { kind: 'fasterBy', entry: 'sluice-redis', than: 'hand-redis', metric: 'messagesPerS', factor: 8 },
      { kind: 'noLessThan', entry: 'sluice-redis', metric: 'messagesPerS', limit: 150_000 },
    ],
  },
  {
    name: 'few-watched',
    title: 'Ingest, one device of a hundred watched',
    about: '10 000 devices publish; ten connections watch ten of them each.',
    entries: [
      { peer: 'hand' },
      { peer: 'hand-redis' },
      { peer: 'uws' },
      { peer: 'sluice' },
      { peer: 'sluice-redis' },
    ],
    seconds: 3,
    columns: ['messagesPerS', 'usPerMessage', 'deliveriesPerS', 'lossPercent', 'cpuPercent', 'rssMib'],
    chart: 'messagesPerS',
    async run(trial, { seconds }) {
      const plan = { kind: 'block', rooms: 10, devices: DEVICES };
      const { measured, end } = await floodAndMeasure(trial, wholeFleet({ count: 10, plan }, seconds));
      return { ...deliveryMetrics({ measured, end }), ...messageMetrics({ measured }) };
    },
    targets: [
      { kind: 'fasterBy', entry: 'sluice-redis', than: 'hand-redis', metric: 'messagesPerS', factor: 6 },
    ],
  },
];
