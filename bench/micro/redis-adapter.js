/**
 * What the Redis adapter costs: publications a second that are stored (with nobody watching, and with one instance that receives
 * all of them), and CPU per publication of the publishing instance, of Redis and of the receiving one. Input: 120 byte JSON, spread
 * evenly over the devices, up to 4 096 unacknowledged, in event-loop turns of 350 messages (one read of 64 KiB from a broker).
 * Build first, then: node bench/micro/redis-adapter.js [seconds per case, default 5]; UNFENCED=1 publishes as MQTT_INGEST=shared does.
 */
import { fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { startRedis } from '../lib/services.js';

const dist = process.env.DIST
  ? pathToFileURL(`${process.env.DIST}/`)
  : new URL('../../dist/modules/', import.meta.url);
const { loadConfig } = await import(new URL('config/load-config.js', dist));
const { Metrics } = await import(new URL('metrics/metrics.js', dist));
const { createRedisAdapter } = await import(new URL('redis/redis-adapter.js', dist));

const SECONDS = Number(process.argv[2] ?? 5);
const WARM_UP_S = 1;
const WINDOW = 4_096;
const PER_TURN = 350;
const CASES = [
  { devices: 10_000, receiver: false },
  { devices: 1_000, receiver: false },
  { devices: 1_000, receiver: true },
  { devices: 50, receiver: false },
  { devices: 50, receiver: true },
];
let fences = 0;
const QUIET = { log: () => undefined, warn: (message) => console.error(message) };

const idOf = (n) => `plant-7.sensor-${n}`;

async function createAdapter(url, receiver) {
  const config = loadConfig({ REDIS_URL: url, NAMESPACE: 'bench', REDIS_TIMEOUT_MS: '30000' });
  const adapter = createRedisAdapter(config, new Metrics(), QUIET);
  adapter.bind(receiver);
  await adapter.start();
  return adapter;
}

function nothing() {}
const DEAF = {
  onPublication: nothing,
  onStatus: nothing,
  onMeta: nothing,
  onReset: nothing,
  onDevice: nothing,
};

if (process.send) {
  let received = 0;
  const adapter = await createAdapter(process.env.REDIS, { ...DEAF, onPublication: () => received++ });
  await adapter.attach(Array.from({ length: Number(process.env.DEVICES) }, (_, n) => idOf(n)));
  process.on('message', () => process.send({ received, cpuUs: cpuUs() }));
  process.send('ready');
} else {
  const redis = await startRedis(1);
  try {
    for (const { devices, receiver } of CASES) {
      await run(redis, devices, receiver);
    }
  } finally {
    await redis.stop();
  }
}

async function run(redis, devices, withReceiver) {
  const adapter = await createAdapter(redis.url, DEAF);
  if (!process.env.UNFENCED) {
    await adapter.raiseFence((fences += 1)); // as the reader of device messages does
  }
  const child = withReceiver ? await startReceiver(redis.url, devices) : undefined;
  const ids = Array.from({ length: devices }, (_, n) => idOf(n));
  const payload = Buffer.from(`{"ts":1700000000000,"temperature":21.53,"pad":"${'x'.repeat(120 - 48)}"}`);
  let stored = 0;
  let sent = 0;
  let stopped = false;
  let scheduled = false;
  // As a broker would: the next chunk comes when there is room in the window.
  const settle = () => {
    stored++;
    if (!scheduled && sent - stored <= WINDOW - PER_TURN) {
      schedule();
    }
  };
  const schedule = () => {
    scheduled = true;
    setImmediate(turn);
  };
  const turn = () => {
    scheduled = false;
    for (let n = 0; n < PER_TURN && sent - stored < WINDOW; n++) {
      const receivedAt = Date.now();
      adapter.publish({
        deviceId: ids[sent % devices],
        payload,
        receivedAt,
        receivedMono: 0,
        packetId: (sent % 65_535) + 1,
        dup: false,
        settle,
      });
      sent++;
    }
    if (!stopped && sent - stored <= WINDOW - PER_TURN) {
      schedule();
    }
  };
  turn();
  await pause(WARM_UP_S);
  const before = await sample(redis, child, stored);
  await pause(SECONDS);
  const after = await sample(redis, child, stored);
  stopped = true;
  const count = after.stored - before.stored;
  const per = (key) => ((after[key] - before[key]) / count).toFixed(2);
  const parts = [
    `${devices} devices, ${withReceiver ? 'one receiver' : 'nobody watching'}`,
    `${Math.round(count / ((after.at - before.at) / 1_000)).toLocaleString('en')} publications/s`,
    `CPU us each: publisher ${per('cpuUs')}, Redis ${per('redisUs')}`,
  ];
  if (child) {
    const received = after.received - before.received;
    parts.push(
      `receiver ${((after.receiverUs - before.receiverUs) / received).toFixed(2)} (${received} received)`,
    );
  }
  console.log(parts.join('; '));
  await adapter.stop();
  child?.kill();
}

async function startReceiver(url, devices) {
  const child = fork(fileURLToPath(import.meta.url), {
    env: { ...process.env, REDIS: url, DEVICES: String(devices) },
  });
  await once(child, 'message');
  return child;
}

async function sample(redis, child, stored) {
  const row = { at: performance.now(), stored, cpuUs: cpuUs(), redisUs: processUs(redis.pid) };
  if (child) {
    child.send('sample');
    const [{ received, cpuUs: receiverUs }] = await once(child, 'message');
    Object.assign(row, { received, receiverUs });
  }
  return row;
}

function cpuUs() {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** CPU time of another process; the kernel counts in hundredths of a second. */
function processUs(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

function pause(seconds) {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
}
