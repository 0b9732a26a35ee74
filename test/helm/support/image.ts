import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { baseRootfs, cacheFolder, must } from './base-image.js';
import { root } from './helm.js';

const { withLock } = (await import(`${root}scripts/setup/setup-lock.js`)) as {
  withLock<T>(folder: string, step: () => Promise<T>): Promise<T>;
};

const STORAGE = join(cacheFolder, 'storage');
const npmrc = join(cacheFolder, `npmrc-${process.pid}`);
const TAG = 'sluice:test';
/** The base and a few builds; older ones are thrown away. */
const MAX_IMAGES = 4;

export interface ImageConfig {
  User: string;
  WorkingDir: string;
  Entrypoint: string[];
  Cmd: string[] | null;
  Env: string[];
  Labels: Record<string, string>;
  ExposedPorts: Record<string, object>;
  Healthcheck: { Test: string[] };
}

/** The image as `docker build .` makes it, built by buildah, which needs no daemon. Needs root. */
export class Image {
  private constructor(
    readonly config: ImageConfig,
    /** Its root file system, mounted. */
    readonly rootfs: string,
    private readonly container: string,
  ) {}

  static build(): Promise<Image> {
    mkdirSync(STORAGE, { recursive: true });
    // Other checkouts on this machine use the same cache.
    return withLock(join(cacheFolder, 'lock'), async () => {
      const kept = (await buildah('images', '--all', '--quiet')).split('\n');
      if (kept.length > MAX_IMAGES) {
        await buildah('rmi', '--prune', '--force');
      }
      await provideBase();
      const id = await bud();
      const container = (await buildah('from', '--pull-never', id)).trim();
      const rootfs = (await buildah('mount', container)).trim();
      const { Docker } = JSON.parse(await buildah('inspect', '--type', 'image', id)) as {
        Docker: { config: ImageConfig };
      };
      return new Image(Docker.config, rootfs, container);
    });
  }

  async stop(): Promise<void> {
    await buildah('umount', this.container);
    await buildah('rm', this.container);
  }
}

/** @returns the image's id */
async function bud(): Promise<string> {
  const idFile = join(cacheFolder, 'image-id');
  const options = [
    '--isolation',
    'chroot',
    '--pull-never',
    '--network',
    'host',
    '--format',
    'docker',
    // To keep the layer of each step costs as much as the step, and any change of a source asks for most of them anew.
    '--layers=false',
    // Its default of 1 024 is too few for what npm opens at once.
    '--ulimit',
    'nofile=16384:16384',
  ];
  try {
    const surroundings = await buildSurroundings();
    const result = ['--build-arg', 'REVISION=0123abc', '--iidfile', idFile, '-t', TAG];
    await buildah('bud', ...options, ...surroundings, ...result, root);
    return readFileSync(idFile, 'utf8').trim();
  } finally {
    // Registry credentials, if there were any.
    rmSync(npmrc, { force: true });
  }
}

function buildah(...args: string[]): Promise<string> {
  return must('buildah', ['--root', STORAGE, '--runroot', `${STORAGE}.run`, ...args]);
}

/** The name that the Dockerfile says leads to an image of our own making, from an OCI archive that is kept. */
async function provideBase(): Promise<void> {
  const name = /^ARG NODE_IMAGE=(\S+)$/m.exec(readFileSync(`${root}Dockerfile`, 'utf8'))?.[1] ?? '';
  const rootfs = await baseRootfs();
  const archive = rootfs.replace(/\.tar$/, '.oci');
  if (!existsSync(archive)) {
    const container = (await buildah('from', 'scratch')).trim();
    await buildah('add', container, rootfs, '/');
    const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
    await buildah('config', '--env', path, '--cmd', 'node', container);
    await buildah('commit', '--rm', container, `oci-archive:${archive}`);
  }
  const marker = join(cacheFolder, 'base-in-storage');
  if (!existsSync(marker) || readFileSync(marker, 'utf8') !== archive) {
    const id = (await buildah('pull', '--quiet', `oci-archive:${archive}`)).trim();
    await buildah('tag', id, `docker.io/library/${name}`);
    writeFileSync(marker, archive);
  }
}

/** This machine's registry, certificate authority and npm cache, none of which gets into a layer. */
async function buildSurroundings(): Promise<string[]> {
  const setting = async (name: string): Promise<string> => {
    const lines = (await must('npm', ['config', 'get', name])).trim().split('\n');
    return lines.filter((line) => !line.startsWith('npm warn')).join('');
  };
  const file = await setting('userconfig');
  const user = existsSync(file) ? readFileSync(file, 'utf8') : '';
  const kept = user.split('\n').filter((line) => !/^\s*(cafile|nodedir|prefix|cache)\s*=/.test(line));
  writeFileSync(npmrc, [...kept, `registry=${await setting('registry')}`, ''].join('\n'), { mode: 0o600 });
  const authority = process.env['NODE_EXTRA_CA_CERTS'] ?? '';
  return [
    ...['--secret', `id=npmrc,src=${npmrc}`],
    ...(existsSync(authority) ? ['--secret', `id=ca,src=${authority}`] : []),
    ...['--volume', `${await setting('cache')}:/root/.npm`],
  ];
}
