import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

const POLL_MS = 25;
const TERMINATION_MS = 5_000;

/** Everything that this run has started and not yet ended, so that nothing outlives it. */
const running = new Set();

process.on('exit', () => {
  for (const child of running) {
    child.kill('SIGKILL');
  }
});
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => process.exit(130));
}

/**
 * Starts a program on one core. `taskset` replaces itself by the program, so the child's pid is the program's.
 *
 * @param {number} core
 * @param {string[]} command
 * @param {import('node:child_process').SpawnOptions} [options]
 */
export function startPinned(core, command, options = {}) {
  const child = spawn('taskset', ['-c', String(core), ...command], {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...options,
  });
  running.add(child);
  child.output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk) => (child.output = (child.output + chunk).slice(-4_000)));
  }
  child.on('error', (error) => (child.output += error.message));
  child.on('exit', () => running.delete(child));
  return child;
}

/** Asks a process to end, and makes it. */
export async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) {
    return;
  }
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  await Promise.race([gone, pause(TERMINATION_MS, undefined, { ref: false })]);
  if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGKILL');
    await gone;
  }
}

/** @returns {Promise<number>} a port that was free a moment ago */
export async function freePort() {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/**
 * Waits until something listens.
 *
 * @param {number} port
 * @param {import('node:child_process').ChildProcess} child whose end ends the waiting
 * @param {number} timeoutMs
 */
export async function waitForPort(port, child, timeoutMs) {
  await waitUntil(() => canConnect(port), child, timeoutMs, `port ${port}`);
}

/**
 * @param {() => Promise<boolean>} condition
 * @param {import('node:child_process').ChildProcess} child
 * @param {number} timeoutMs
 * @param {string} what
 */
export async function waitUntil(condition, child, timeoutMs, what) {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`ended while starting: ${child.output}`);
    }
    if (Date.now() > deadline) {
      throw new Error(`not there after ${timeoutMs} ms: ${what}\n${child.output}`);
    }
    await pause(POLL_MS);
  }
}

function canConnect(port) {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.on('connect', () => socket.destroy());
    socket.on('connect', () => resolve(true));
    socket.on('error', () => resolve(false));
  });
}
