import { build } from 'esbuild';
import { cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './paths.js';
import { mustRun } from './run-command.js';

const source = join(root, 'client', 'src');
/** Fields are set in the constructor, which is shorter. */
const compilerOptions = { target: 'es2022', useDefineForClassFields: false, jsx: 'react-jsx' };
const common = {
  bundle: true,
  sourcemap: true,
  sourcesContent: true,
  target: 'es2022',
  tsconfigRaw: { compilerOptions },
  logLevel: 'warning',
};

/** The client library as one minified file: a script with the global `Sluice`, and a module. */
export async function bundleClient(folder) {
  const shared = { ...common, entryPoints: [join(source, 'index.ts')], minify: true };
  await build({ ...shared, format: 'iife', globalName: 'Sluice', outfile: join(folder, 'client.js') });
  await build({ ...shared, format: 'esm', outfile: join(folder, 'client.mjs') });
}

/** Other entries of the package import the first one, so that there is one class of each name. */
const indexIsShared = {
  name: 'index-is-shared',
  setup: ({ onResolve }) =>
    onResolve({ filter: /^\.\/index\.js$/ }, ({ path }) => ({ path, external: true })),
};

/** The package `sluice-client`: modules for both systems, each with its types. */
export async function packageClient(folder) {
  rmSync(folder, { recursive: true, force: true });
  const entryPoints = readdirSync(source)
    .filter((name) => /^(index|legacy|react)\.tsx?$/.test(name))
    .map((name) => join(source, name));
  const shared = { ...common, entryPoints, external: ['react'], plugins: [indexIsShared] };
  await build({ ...shared, format: 'esm', outdir: folder });
  await build({ ...shared, format: 'cjs', outdir: join(folder, 'cjs') });
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const types = ['--declaration', '--emitDeclarationOnly', '--sourceMap', 'false', '--outDir', folder];
  const project = ['-p', join(root, 'client', 'tsconfig.json')];
  await mustRun('The types of the client library', process.execPath, [compiler, ...project, ...types]);
  mkdirSync(join(folder, 'cjs'), { recursive: true });
  for (const name of readdirSync(folder).filter((file) => file.endsWith('.d.ts'))) {
    cpSync(join(folder, name), join(folder, 'cjs', name));
  }
  writeFileSync(join(folder, 'cjs', 'package.json'), '{"type":"commonjs"}\n');
}
