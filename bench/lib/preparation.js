import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism, platform } from 'node:os';
import { fileURLToPath } from 'node:url';

import { ensureBuild } from '../../scripts/setup/build.js';
import { ensureDependencies } from '../../scripts/setup/dependencies.js';
import { getCommands } from '../../scripts/setup/system-packages.js';

const BENCH = fileURLToPath(new URL('../', import.meta.url));

/**
 * Makes sure that everything to be measured is there: Mosquitto and Redis, the peers' own packages, which nobody else needs, and the
 * product as built from the sources.
 *
 * @param {boolean} needsProduct
 * @param {(text: string) => void} log
 */
export async function prepare(needsProduct, log) {
  if (platform() !== 'linux' || availableParallelism() < 2) {
    throw new Error('the benchmark needs Linux (it reads /proc) and two cores');
  }
  await ensureDependencies();
  const missing = await getCommands(['mosquitto', 'redis-server']);
  if (missing.length > 0) {
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
