import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './paths.js';
import { mustRun, npmCommand } from './run-command.js';
import { withSetupLock } from './setup-lock.js';

const LEAST_NODE = [20, 19];

/** Installs node_modules from the lock file, unless they are what it says. */
export async function ensureDependencies() {
  demandNode();
  if (dependenciesMatch()) {
    return;
  }
  await withSetupLock(async () => {
    if (dependenciesMatch()) {
      return;
    }
    console.error('Installing the dependencies from package-lock.json (once, about a minute) ...');
    const [command, ...prefix] = npmCommand();
    // Development dependencies hold the compiler: NODE_ENV=production must not leave them out.
    const options = ['--include=dev', '--prefer-offline', '--loglevel=error'];
    await mustRun('npm ci', command, [...prefix, 'ci', ...options]);
  });
}

/** Says what is wrong in one line, where an old Node would end in a syntax error of some dependency. */
function demandNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < LEAST_NODE[0] || (major === LEAST_NODE[0] && minor < LEAST_NODE[1])) {
    console.error(`Sluice needs Node.js ${LEAST_NODE.join('.')} or newer, this is ${process.versions.node}.`);
    process.exit(1);
  }
}

/**
 * Compares the lock file with the one npm keeps inside node_modules. A stamp of our own would call the
 * result of a developer's `npm install` stale and wipe it.
 */
function dependenciesMatch() {
  try {
    const wanted = packagesOf(join(root, 'package-lock.json'));
    const installed = packagesOf(join(root, 'node_modules', '.package-lock.json'));
    return Object.entries(wanted).every(
      ([path, entry]) => path === '' || entry.optional || installed[path]?.version === entry.version,
    );
  } catch {
    return false;
  }
}

function packagesOf(lockFile) {
  return JSON.parse(readFileSync(lockFile, 'utf8')).packages;
}
