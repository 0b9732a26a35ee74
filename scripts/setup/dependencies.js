import {
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { root } from './paths.js';
import { mustRun, npmCommand, runCommand } from './run-command.js';
import { isAlive, withSetupLock } from './setup-lock.js';

const LEAST_NODE = [20, 19];
/** Folder of an install under way, with the number of its process. */
const INSTALL_FOLDER = /^\.install-(?:(\d+)-)?\w+$/;

/** Installs node_modules from the lock file, unless they are what it says. */
export async function ensureDependencies() {
  demandNode();
  if (installFolders(root).length > 0) {
    // Not beside an install: its folder is its own.
    await withSetupLock(() => removeRemains(root));
  }
  if (dependenciesMatch()) {
    return;
  }
  await withSetupLock(async () => {
    if (dependenciesMatch()) {
      return;
    }
    console.error('Installing the dependencies from package-lock.json (once, about a minute) ...');
    if (!(await installWithAddresses())) {
      await mustRun('npm ci', ...npmCi());
    }
  });
}

/** Command and arguments of `npm ci`, in the folder of the clone or in another one. */
function npmCi(...more) {
  const [command, ...prefix] = npmCommand();
  // Development dependencies hold the compiler: NODE_ENV=production must not leave them out.
  return [command, [...prefix, 'ci', '--include=dev', '--prefer-offline', '--loglevel=error', ...more]];
}

/**
 * `npm ci` in a folder beside, with a copy of the lock file that has an address for each package. The lock file itself has none, and npm then
 * reads the list of all versions of each of 800 packages first, which takes longer than the packages do.
 *
 * @returns {Promise<boolean>} false where that is not possible: at a registry with other addresses, or where node_modules is a mount
 */
async function installWithAddresses() {
  const registry = await registryAddress();
  if (registry === undefined) {
    return false;
  }
  const folder = mkdtempSync(join(root, `.install-${process.pid}-`));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  process.once('exit', remove);
  try {
    for (const name of ['package.json', '.npmrc']) {
      copyFileSync(join(root, name), join(folder, name));
    }
    const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
    writeFileSync(join(folder, 'package-lock.json'), JSON.stringify(withAddresses(lock, registry)));
    const { code } = await runCommand(...npmCi('--prefix', folder), { quiet: true });
    if (code >= 128) {
      process.exit(code); // ended by a signal, as this process is to be
    }
    if (code !== 0) {
      return false;
    }
    rmSync(join(root, 'node_modules'), { recursive: true, force: true });
    renameSync(join(folder, 'node_modules'), join(root, 'node_modules'));
    return true;
  } catch {
    return false;
  } finally {
    process.off('exit', remove);
    remove();
  }
}

function installFolders(folder) {
  return readdirSync(folder).filter((name) => INSTALL_FOLDER.test(name));
}

/**
 * Removes what installs have left that were killed, which nothing else does. In a container a process may have the number of the one
 * before it, so its own number says nothing: it has not begun to install.
 *
 * @param {string} folder of the clone
 */
export function removeRemains(folder) {
  for (const name of installFolders(folder)) {
    const pid = Number(INSTALL_FOLDER.exec(name)?.[1] ?? process.pid);
    if (pid === process.pid || !isAlive(pid)) {
      try {
        rmSync(join(folder, name), { recursive: true, force: true });
      } catch {
        // The npm of the install that was killed still writes there: the next start removes it.
      }
    }
  }
}

/** The registry that npm is configured for; undefined where its address holds a password, which belongs into no file. */
async function registryAddress() {
  const [command, ...prefix] = npmCommand();
  const { code, output } = await runCommand(command, [...prefix, 'config', 'get', 'registry'], {
    quiet: true,
  });
  const address = output.trim();
  const url = code === 0 && URL.canParse(address) ? new URL(address) : undefined;
  return url === undefined || url.password !== '' ? undefined : url.href.replace(/\/*$/, '/');
}

/** Gives each package the address that registries have it under. @param {string} registry ends with a slash */
export function withAddresses(lock, registry) {
  for (const [path, entry] of Object.entries(lock.packages)) {
    if (entry.integrity !== undefined) {
      const name = entry.name ?? path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
      const file = `${name.slice(name.lastIndexOf('/') + 1)}-${entry.version}.tgz`;
      entry.resolved ??= `${registry}${name}/-/${file}`;
    }
  }
  return lock;
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
