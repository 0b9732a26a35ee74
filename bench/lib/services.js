import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { freePort, startPinned, stop, waitForPort } from './child-processes.js';

const START_TIMEOUT_MS = 10_000;

function temporaryDirectory(name) {
  return mkdtempSync(join(tmpdir(), `sluice-bench-${name}-`));
}

/**
 * @param {number} core
 * @returns {Promise<{url: string, pid: number, stop: () => Promise<void>}>}
 */
export async function startRedis(core) {
  const port = await freePort();
  const directory = temporaryDirectory('redis');
  const settings = ['--bind', '127.0.0.1', '--port', String(port), '--dir', directory];
  const child = startPinned(core, ['redis-server', ...settings, '--save', '', '--appendonly', 'no']);
  await waitForPort(port, child, START_TIMEOUT_MS);
  return {
    url: `redis://127.0.0.1:${port}`,
    pid: child.pid,
    async stop() {
      await stop(child);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/**
 * Mosquitto with a listener for devices and one for browsers, and no limit that would make it drop.
 *
 * @param {number} core
 * @returns {Promise<{mqttPort: number, port: number, pid: number, stop: () => Promise<void>}>}
 */
export async function startMosquitto(core) {
  const [mqttPort, port] = [await freePort(), await freePort()];
  const directory = temporaryDirectory('mosquitto');
  const configuration = [
    `listener ${mqttPort} 127.0.0.1`,
    `listener ${port} 127.0.0.1`,
    'protocol websockets',
    'allow_anonymous true',
    'persistence false',
    'max_queued_messages 0',
    'max_inflight_messages 0',
    'set_tcp_nodelay true',
    'log_dest none',
  ];
  const file = join(directory, 'mosquitto.conf');
  writeFileSync(file, `${configuration.join('\n')}\n`);
  const child = startPinned(core, ['mosquitto', '-c', file]);
  await waitForPort(mqttPort, child, START_TIMEOUT_MS);
  await waitForPort(port, child, START_TIMEOUT_MS);
  return {
    mqttPort,
    port,
    pid: child.pid,
    async stop() {
      await stop(child);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
