/**
 * The least that a Node.js process pays for a message that it is woken for: it subscribes to one channel of Redis, reads what comes, and
 * counts. `node bench/micro/woken-process.js [messages a second]`; docs/decisions/026 rests on it. No instance can take part in a publication
 * for less, whatever it then does with it.
 */
import { fork } from 'node:child_process';
import { connect } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { startRedis } from '../lib/services.js';

const SERVER_CORE = 0;
const LOAD_CORE = 1;
const RATE = Number(process.argv[2] ?? 300);
const WARM_UP_MS = 10_000;
const MEASURED_MS = 10_000;
/** A publication of 120 bytes, as instances get it. */
const MESSAGE_BYTES = 270;
const CHANNEL = 'room';

function subscribe(port) {
  let bytes = 0;
  const socket = connect(port, '127.0.0.1', () => socket.write(`SUBSCRIBE ${CHANNEL}\r\n`));
  socket.on('data', (chunk) => (bytes += chunk.length));
  process.on('message', () => {
    const { user, system } = process.cpuUsage();
    process.send({ bytes, micros: user + system });
  });
}

async function measure() {
  const redis = await startRedis(LOAD_CORE);
  const port = Number(new URL(redis.url).port);
  const command = ['taskset', '-c', String(SERVER_CORE), process.execPath];
  const child = fork(fileURLToPath(import.meta.url), [], {
    execPath: command[0],
    execArgv: command.slice(1),
    env: { ...process.env, SUBSCRIBE_PORT: String(port) },
  });
  const ask = () =>
    new Promise((resolve) => {
      child.once('message', resolve);
      child.send('usage');
    });
  const publisher = connect(port, '127.0.0.1');
  publisher.resume();
  const body = 'x'.repeat(MESSAGE_BYTES);
  const publish = `*3\r\n$7\r\nPUBLISH\r\n$${CHANNEL.length}\r\n${CHANNEL}\r\n$${body.length}\r\n${body}\r\n`;
  const received = `*3\r\n$7\r\nmessage\r\n$${CHANNEL.length}\r\n${CHANNEL}\r\n$${body.length}\r\n${body}\r\n`
    .length;
  const startedAt = performance.now();
  let sent = 0;
  const timer = setInterval(() => {
    for (; sent < ((performance.now() - startedAt) * RATE) / 1000; sent++) {
      publisher.write(publish);
    }
  }, 1);
  await pause(WARM_UP_MS);
  const before = await ask();
  await pause(MEASURED_MS);
  const after = await ask();
  clearInterval(timer);
  const micros = after.micros - before.micros;
  const messages = (after.bytes - before.bytes) / received;
  process.stdout.write(
    `${Math.round((messages * 1000) / MEASURED_MS)} messages/s: ${(micros / messages).toFixed(0)} us of CPU each, ${(micros / MEASURED_MS).toFixed(1)} ms/s\n`,
  );
  child.kill();
  await redis.stop();
}

if (process.env.SUBSCRIBE_PORT) {
  subscribe(Number(process.env.SUBSCRIBE_PORT));
} else {
  await measure();
  process.exit(0);
}
