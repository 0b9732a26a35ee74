import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';
import { root } from './paths.js';
import { runCommand } from './run-command.js';

/** Where daemons lie on Debian; the PATH of a user who is not root lacks it. */
const ADMIN_FOLDERS = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

/**
 * One program that tests need.
 * @typedef {object} SystemPackage
 * @property {string} command name on the PATH, or the path of a file where it is no program
 * @property {string[]} [apt] Debian packages that bring it
 * @property {string} [script] plain Node script that gets it where no package does; exit 0 means it is there
 * @property {string} for what it is needed for
 * @property {string} mention text by which a spec that needs it is known (where it is missing, that spec is left out)
 */

/** @returns {SystemPackage[]} */
export function systemPackages() {
  return JSON.parse(readFileSync(join(root, 'scripts', 'system-packages.json'), 'utf8'));
}

/** Makes the programs' folders part of the PATH of everything that this process starts. */
export function extendPath() {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  process.env['PATH'] = [...folders, ...ADMIN_FOLDERS.filter((folder) => !folders.includes(folder))].join(
    delimiter,
  );
}

/**
 * Installs what is missing of what is wanted, if it can be (Debian, root or password-less sudo).
 * @returns {Promise<SystemPackage[]>} what is missing all the same
 */
async function ensureSystemPackages(wanted) {
  extendPath();
  const toInstall = wanted.filter((entry) => entry.apt && !onPath(entry.command));
  if (toInstall.length > 0) {
    await aptInstall([...new Set(toInstall.flatMap((entry) => entry.apt))]);
  }
  const missing = toInstall.filter((entry) => !onPath(entry.command));
  for (const entry of wanted.filter(({ script }) => script)) {
    const { code } = await runCommand(process.execPath, [join(root, entry.script)], { quiet: true });
    if (code !== 0) {
      missing.push(entry);
    }
  }
  return missing;
}

/**
 * {@link ensureSystemPackages}, and one line about what is missing all the same; with CI=true that ends the process.
 * @returns {Promise<SystemPackage[]>} what is missing
 */
export async function demandSystemPackages() {
  const missing = await ensureSystemPackages(systemPackages());
  if (missing.length > 0) {
    console.error(
      `Not to be had here: ${missing.map((entry) => `${entry.command} (${entry.for})`).join(', ')}.`,
    );
    if (process.env['CI'] === 'true') {
      process.exit(1);
    }
  }
  return missing;
}

/**
 * Installs the packages of these commands, if it can be.
 * @param {readonly string[]} commands of those that tests need
 * @param {readonly Omit<SystemPackage, 'mention'>[]} [more] that no test needs
 * @returns {Promise<string[]>} those that are missing all the same
 */
export async function getCommands(commands, more = []) {
  const known = systemPackages().filter(({ command }) => commands.includes(command));
  const missing = await ensureSystemPackages([...known, ...more]);
  return missing.map(({ command }) => command);
}

function onPath(command) {
  if (isAbsolute(command)) {
    return existsSync(command);
  }
  return (process.env['PATH'] ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, command), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/**
 * Debian starts a daemon when its package is installed; a policy-rc.d that says no keeps a Mosquitto or Redis that
 * nobody asked for off the machine. One that is already there is the administrator's and stays.
 */
const APT_SCRIPT = `
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\\nexit 101\\n' > "$policy" && chmod 755 "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q || echo "apt-get update failed, going on with the lists that are here"
  apt-get install -q -y --no-install-recommends "$@" && exit 0
  for package in "$@"; do apt-get install -q -y --no-install-recommends "$package"; done
`;

async function aptInstall(packages) {
  const root = process.getuid?.() === 0;
  if (!existsSync('/usr/bin/apt-get') || (!root && !(await canSudo()))) {
    return;
  }
  console.error(`Installing ${packages.join(', ')} with apt-get (once) ...`);
  const shell = ['sh', '-c', APT_SCRIPT, 'sh', ...packages];
  const [command, ...args] = root ? shell : ['sudo', '-n', ...shell];
  const { code, output } = await runCommand(command, args, { quiet: true });
  if (code !== 0) {
    console.error(output.trimEnd().split('\n').slice(-5).join('\n'));
  }
}

async function canSudo() {
  return (await runCommand('sudo', ['-n', 'true'], { quiet: true })).code === 0;
}
