import { floodAndMeasure, INGEST_WINDOW, inTurns, sum } from './load-shapes.js';

const DEVICES = 10_000;
/** One receiver for each device. */
export const ONE_RECEIVER = {
  dashboards: { count: 1_000, plan: { kind: 'block', rooms: 10, devices: DEVICES } },
  devices: DEVICES,
  rate: null,
  window: INGEST_WINDOW,
  sampleEvery: 16,
};

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
      { kind: 'fasterBy', entry: 'sluice-redis', than: 'hand-redis', metric: 'deliveriesPerS', factor: 2.7 },
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
    async run(trial, { seconds }) {
      const { measured } = await floodAndMeasure(trial, {
        dashboards: { count: 0, plan: { kind: 'none' } },
        devices: DEVICES,
        rate: null,
        window: INGEST_WINDOW,
        seconds,
        sampleEvery: 1,
      });
      const cpu = sum(measured.cpuMicros);
      return {
        messagesPerS: (measured.acknowledged * 1000) / measured.ms,
        usPerMessage: cpu / measured.acknowledged,
        cpuPercent: cpu / measured.ms / 10,
        rssMib: sum(measured.rssKib) / 1024,
      };
    },
    targets: [
      { kind: 'fasterBy', entry: 'sluice', than: 'uws', metric: 'messagesPerS', factor: 2.7 },
      { kind: 'fasterBy', entry: 'sluice-redis', than: 'hand-redis', metric: 'messagesPerS', factor: 2.4 },
    ],
  },
];
