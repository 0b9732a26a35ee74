import { setTimeout as pause } from 'node:timers/promises';
import { WebSocket } from 'ws';

import { deviceId } from '../load/payload.js';
import { ONE_RECEIVER } from './ingest.js';
import {
  FAN_OUT,
  FAN_OUT_WINDOW,
  floodAndMeasure,
  INGEST_WINDOW,
  inTurns,
  startFlood,
  sum,
} from './load-shapes.js';

const FIELD_DEVICES = 1_000;
const TOPICS = 20;
/** A burst of 800 devices: acknowledgements come when windows end. */
const FIELDS_WINDOW = 16_000;
/** The whole state of such a device, in one message. */
const STATE_BYTES = 541;
const TEN_RECEIVERS = {
  dashboards: { count: 1_000, plan: { kind: 'block', rooms: 10, devices: FIELD_DEVICES } },
  devices: FIELD_DEVICES,
  rate: null,
  sampleEvery: 16,
};

const SILENT_DEVICES = 100_000;
/** As peers/silence.yaml has it. */
const SILENCE_MS = 10_000;
const SPEAK_RATE = 20_000;
/** Of so many devices one is watched by a dashboard. */
const WATCHED_OF = 100;
const IDLE_MS = 2_000;

function messageMetrics({ measured }) {
  const cpu = sum(measured.cpuMicros);
  return {
    messagesPerS: (measured.acknowledged * 1000) / measured.ms,
    usPerMessage: cpu / measured.acknowledged,
    deliveriesPerS: (measured.groups.all.deliveries * 1000) / measured.ms,
    cpuPercent: cpu / measured.ms / 10,
    rssMib: sum(measured.rssKib) / 1024,
  };
}

/** A fleet speaks once and then never again: when does each become offline? */
async function silence(trial) {
  const watched = Array.from({ length: SILENT_DEVICES / WATCHED_OF }, (_, at) => deviceId(at * WATCHED_OF));
  const late = new Map();
  const socket = await watch(trial, watched, (status) => {
    if (status.reason === 'silence') {
      late.set(status.deviceId, status.serverTs - status.lastSeen - SILENCE_MS);
    }
  });
  const [pid] = trial.pids;
  const total = async () => {
    const response = await fetch(`http://127.0.0.1:${trial.ports[0]}/metrics`);
    return Number(/^sluice_silence_offline_total (\S+)/m.exec(await response.text())?.[1] ?? 0);
  };
  try {
    // A second more than the fleet needs: who speaks twice is heard last at the second time.
    const speakMs = (SILENT_DEVICES / SPEAK_RATE) * 1000 + 1_000;
    await startFlood(trial, {
      ...{ devices: SILENT_DEVICES, rate: SPEAK_RATE, window: INGEST_WINDOW, seconds: 60 },
    });
    await pause(speakMs);
    await trial.load.call('stopFlood', { drainMs: 1_000 });
    const before = await trial.load.call('usage', { pids: [pid] });
    await pause(IDLE_MS);
    const after = await trial.load.call('usage', { pids: [pid] });
    const isOver = async () => late.size === watched.length && (await total()) >= SILENT_DEVICES;
    const deadline = performance.now() + 3 * SILENCE_MS;
    while (!(await isOver()) && performance.now() < deadline) {
      await pause(250);
    }
    const values = [...late.values()].sort((a, b) => a - b);
    return {
      silent: await total(),
      missed: watched.length - late.size,
      p50Ms: values[Math.floor(values.length / 2)],
      earliestMs: values[0],
      latestMs: values.at(-1),
      cpuPercent: (after.cpuMicros[0] - before.cpuMicros[0]) / IDLE_MS / 10,
      rssMib: after.rssKib[0] / 1024,
    };
  } finally {
    socket.terminate();
  }
}

/** A dashboard of many rooms that hears of statuses alone. */
async function watch(trial, deviceIds, onStatus) {
  const token = trial.token({ userId: 'watcher', deviceIds: ['*'] });
  const socket = new WebSocket(`ws://127.0.0.1:${trial.ports[0]}/ws?subscribe=none`, [
    'sluice.v1',
    `bearer.${token}`,
  ]);
  let subscribed = 0;
  socket.on('error', () => undefined);
  socket.on('message', (data) => {
    const message = JSON.parse(data);
    if (message.type === 'subscribed') {
      subscribed += message.rooms.length;
    } else if (message.type === 'device_status') {
      onStatus(message);
    }
  });
  await new Promise((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('close', (code) => reject(new Error(`the watcher was closed with ${code}`)));
  });
  for (let at = 0; at < deviceIds.length; at += 500) {
    socket.send(JSON.stringify({ type: 'subscribe', deviceIds: deviceIds.slice(at, at + 500) }));
  }
  const deadline = performance.now() + 20_000;
  while (subscribed < deviceIds.length) {
    if (performance.now() > deadline) {
      throw new Error(`${subscribed} of ${deviceIds.length} rooms were given`);
    }
    await pause(20);
  }
  return socket;
}

/** @type {import('./index.js').Case[]} */
export const layoutCases = [
  {
    name: 'layout-ingest',
    title: 'A layout of whole JSON beside the built-in one, ingest',
    about: 'The case ingest, by the built-in layout and by the same topics as LAYOUT_FILE says them.',
    entries: [{ peer: 'sluice' }, { peer: 'sluice-layout' }],
    seconds: 1,
    columns: ['usPerDelivery', 'deliveriesPerS', 'lossPercent', 'p50Ms', 'p99Ms', 'rssMib'],
    turns: inTurns(({ seconds }) => ({ ...ONE_RECEIVER, seconds })),
    targets: [
      { kind: 'atMost', entry: 'sluice-layout', than: 'sluice', metric: 'usPerDelivery', factor: 1.03 },
    ],
  },
  {
    name: 'layout-fan-out',
    title: 'A layout of whole JSON beside the built-in one, fan-out at saturation',
    about: 'The case fan-out-saturation, by both, in turns.',
    entries: [{ peer: 'sluice' }, { peer: 'sluice-layout' }],
    seconds: 2,
    columns: ['usPerDelivery', 'deliveriesPerS', 'lossPercent', 'p50Ms', 'p99Ms', 'rssMib'],
    turns: inTurns(({ seconds }) => ({
      dashboards: FAN_OUT,
      devices: FAN_OUT.plan.devices,
      rate: null,
      window: FAN_OUT_WINDOW,
      sampleEvery: 64,
      seconds,
    })),
    targets: [
      { kind: 'atMost', entry: 'sluice-layout', than: 'sluice', metric: 'usPerDelivery', factor: 1.03 },
    ],
  },
  {
    name: 'fields',
    title: 'A topic for each value',
    about:
      '1 000 devices with 20 topics of one value each; the whole state of a device goes to its ten receivers, once in 50 ms, or (the merge without a window) with every value. 1 000 connections with 10 rooms each; QoS 1, as fast as the server acknowledges.',
    entries: [
      { peer: 'hand-fields' },
      { peer: 'hand-fields-window' },
      { peer: 'sluice-fields' },
      { peer: 'sluice-fields-redis' },
    ],
    seconds: 3,
    columns: ['messagesPerS', 'usPerMessage', 'deliveriesPerS', 'cpuPercent', 'rssMib'],
    chart: 'messagesPerS',
    async run(trial, { seconds }) {
      const load = { ...TEN_RECEIVERS, topics: TOPICS, window: FIELDS_WINDOW, seconds };
      return messageMetrics(await floodAndMeasure(trial, load));
    },
    targets: [
      { kind: 'cheaperBy', entry: 'sluice-fields', than: 'hand-fields', metric: 'usPerMessage', factor: 5 },
    ],
  },
  {
    name: 'fields-each',
    title: 'A topic for each value, each a publication',
    about:
      '1 000 devices with 20 topics of one value each and no window, so that every message is a publication of the whole state; beside the same state in one message of 541 bytes. Ten receivers a publication; QoS 1, as fast as the server acknowledges.',
    entries: [
      {
        peer: 'sluice-layout',
        key: 'whole',
        label: 'Sluice, whole JSON',
        load: { payloadBytes: STATE_BYTES },
      },
      { peer: 'sluice-fields-each', key: 'fields', load: { topics: TOPICS } },
    ],
    seconds: 2,
    columns: ['usPerMessage', 'messagesPerS', 'deliveriesPerS', 'cpuPercent', 'rssMib'],
    turns: inTurns((load) => ({ ...TEN_RECEIVERS, window: INGEST_WINDOW, ...load }), messageMetrics),
    targets: [{ kind: 'atMost', entry: 'fields', than: 'whole', metric: 'usPerMessage', factor: 1.5 }],
  },
  {
    name: 'silence',
    title: 'Silence of 100 000 devices',
    about:
      '100 000 devices speak once, 20 000 a second, and then no more; their layout has a silence of 10 s. A dashboard hears of every hundredth when it was told to be offline: milliseconds after its silence was over. CPU is that of 2 s in which all of them are waited for.',
    entries: [{ peer: 'sluice-silence' }],
    seconds: 0,
    maxRuns: 1,
    columns: ['silent', 'missed', 'p50Ms', 'earliestMs', 'latestMs', 'cpuPercent', 'rssMib'],
    run: silence,
    targets: [
      { kind: 'noMoreThan', entry: 'sluice-silence', metric: 'latestMs', limit: 1_000 },
      { kind: 'noMoreThan', entry: 'sluice-silence', metric: 'missed', limit: 0 },
    ],
  },
];
