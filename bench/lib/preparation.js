import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism, platform } from 'node:os';
import { fileURLToPath } from 'node:url';

import { ensureBuild } from '../../scripts/setup/build.js';
import { ensureDependencies } from '../../scripts/setup/dependencies.js';
import { getCommands } from '../../scripts/setup/system-packages.js';

const BENCH = fileURLToPath(new URL('../', import.meta.url));

/** Brokers that are measured and that no test needs. One that cannot be installed is left out of the tables, with the reason. */
const PEER_PACKAGES = {
  nats: { command: 'nats-server', apt: ['nats-server'], for: 'the peer NATS' },
  rabbitmq: {
    command: '/usr/lib/rabbitmq/bin/rabbitmq-server',
    apt: ['rabbitmq-server'],
    for: 'the peer RabbitMQ',
  },
};

/**
 * Makes sure that everything to be measured is there: Mosquitto and Redis, the peers' own packages, which nobody else needs, and the
 * product as built from the sources.
 *
 * @param {boolean} needsProduct
 * @param {readonly string[]} programs that are measured, see Peer
 * @param {(text: string) => void} log
 */
export async function prepare(needsProduct, programs, log) {
  if (platform() !== 'linux' || availableParallelism() < 2) {
    throw new Error('the benchmark needs Linux (it reads /proc) and two cores');
  }
  await ensureDependencies();
  const needed = ['mosquitto', 'redis-server'];
  const optional = programs.map((program) => PEER_PACKAGES[program]).filter((entry) => entry !== undefined);
  const missing = await getCommands(needed, optional);
  if (missing.some((command) => needed.includes(command))) {
    throw new Error(`the benchmark needs ${missing.join(' and ')}`);
  }
  if (!existsSync(`${BENCH}node_modules/socket.io`)) {
    log('installing the peers');
    execFileSync('npm', ['ci', '--ignore-scripts'], { cwd: BENCH, stdio: 'inherit' });
  }
  if (needsProduct) {
    await ensureBuild();
  }
}
