import { minify } from '@swc/core';
import { build } from 'esbuild';
import { cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './paths.js';
import { privateNames } from './private-names.js';
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

/**
 * The client library as one minified file: a script with the global `Sluice`, and a module. Its private names are shortened, and a second
 * minifier finds what the first one has left. The server names the source maps in a header.
 */
export async function bundleClient(folder) {
  mkdirSync(folder, { recursive: true });
  const mangleProps = new RegExp(`^(${privateNames(source).join('|')})$`);
  const entryPoints = [join(source, 'index.ts')];
  const shared = { ...common, entryPoints, minify: true, mangleProps, write: false, outdir: folder };
  const [map, module] = (await build({ ...shared, format: 'esm', sourcemap: 'external' })).outputFiles;
  const small = await minify(module.text, {
    ...{ module: true, ecma: 2022, mangle: { toplevel: true }, sourceMap: { content: map.text } },
    compress: { passes: 3, ecma: 2022, unsafe: true, toplevel: true, pure_getters: true },
  });
  writeFileSync(join(folder, 'client.mjs'), small.code);
  writeFileSync(join(folder, 'client.mjs.map'), small.map);
  const body = small.code.replace(/export\{(.*)\};/, (_all, names) => `return{${asMembers(names)}}`);
  writeFileSync(join(folder, 'client.js'), `var Sluice=(()=>{\n${body}})();`);
  const { mappings, ...rest } = JSON.parse(small.map);
  writeFileSync(join(folder, 'client.js.map'), JSON.stringify({ ...rest, mappings: `;${mappings}` }));
}

/** What a module exports, as members of an object. */
function asMembers(names) {
  return names.replace(/(\w+) as (\w+)/g, '$2:$1');
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
