import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { compile } from './compile.js';
import { root } from './paths.js';
import { withSetupLock } from './setup-lock.js';

const dist = join(root, 'dist');
const modules = join(dist, 'modules');
const stamp = join(dist, '.build-hash');

/** Builds dist/ if it is not there or not from these sources. */
export async function ensureBuild() {
  if (builtFrom() === sourceHash()) {
    return;
  }
  await withSetupLock(async () => {
    if (builtFrom() !== sourceHash()) {
      console.error('Building (a few seconds) ...');
      await build();
    }
  });
}

/**
 * dist/ is what runs: src/ and the packages it uses as a few files (bundle.js), what is no TypeScript (Lua scripts), the client
 * library and the dashboard's page. dist/modules/ is src/ file by file, for scripts and tests that want one part of it.
 */
export async function build() {
  const hash = sourceHash();
  rmSync(dist, { recursive: true, force: true });
  const files = sourceFiles();
  const isScript = (path) => path.endsWith('.ts');
  await compile(files.filter(isScript), join(root, 'src'), modules);
  for (const file of files.filter((path) => !isScript(path))) {
    for (const folder of [dist, modules]) {
      const target = join(folder, relative(join(root, 'src'), file));
      mkdirSync(join(target, '..'), { recursive: true });
      cpSync(file, target);
    }
  }
  // Modules in dist/modules find the version where the bundle, a folder above, finds it.
  cpSync(join(root, 'package.json'), join(dist, 'package.json'));
  // Loaded here, since this file also runs before anything is installed.
  const { bundleProduct } = await import('./bundle.js');
  await bundleProduct(modules, dist);
  const { bundleClient } = await import('./client.js');
  await bundleClient(join(dist, 'client-library'));
  const { bundlePage } = await import('./page.js');
  await bundlePage(join(dist, 'page'));
  writeFileSync(stamp, hash);
}

function builtFrom() {
  try {
    return readFileSync(stamp, 'utf8');
  } catch {
    return undefined;
  }
}

/** Contents, not times: a checkout or a copy changes the times of everything. */
function sourceHash() {
  const hash = createHash('sha256');
  const inputs = ['package-lock.json', 'tsconfig.json', 'scripts/setup/compile.js'].map((name) =>
    join(root, name),
  );
  const folders = ['src', join('client', 'src'), 'page'];
  for (const file of [...inputs, ...folders.flatMap((folder) => sourceFiles(folder))]) {
    hash.update(`${relative(root, file).split(sep).join('/')}\0`).update(readFileSync(file));
  }
  return hash.digest('hex');
}

function sourceFiles(folder = 'src') {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !/\.(spec|fixture)\.tsx?$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}
