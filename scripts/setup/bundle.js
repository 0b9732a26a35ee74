import { build } from 'esbuild';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { root } from './paths.js';

const ENTRIES = ['main.js', 'cli.js'];
/** What both bundles have in common. */
const ESM = {
  // Flat: see ownModules.
  chunkNames: '[name]-[hash]',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  logLevel: 'warning',
  // Packages in CommonJS call require for what Node.js brings.
  banner: {
    js: "import { createRequire as bundleRequire } from 'node:module';\nconst require = bundleRequire(import.meta.url);",
  },
  // Before everything else: files that share code are evaluated before the one that imports them, and decorators need it.
  inject: ['reflect-metadata'],
};

/**
 * The compiled modules and every package they use as a few files. Node.js resolves, reads and compiles 1 600 files otherwise, which is more
 * than half of what a start costs. Names and lines stay readable, since they are in the stacks that the log shows.
 *
 * @param {string} modules folder with what the compiler wrote
 * @param {string} folder where the bundle goes; files that a module reads beside itself are at the same place in it
 */
export async function bundleProduct(modules, folder) {
  const { outputFiles } = await build({
    write: false,
    entryPoints: ENTRIES.map((name) => join(modules, name)),
    outdir: folder,
    ...ESM,
    sourcemap: true,
    sourcesContent: false,
    plugins: [ownModules(modules), nestAdapter, optionalPackages],
  });
  for (const { path, text } of outputFiles) {
    writeFileSync(path, path.endsWith('.js') ? withClassNames(text) : text);
  }
}

/**
 * Each of these packages as a module of that name, with what they share in files of their own.
 *
 * @param {string[]} names as they are imported
 * @param {string} folder where the files go
 */
export async function bundlePackages(names, folder) {
  const entries = await Promise.all(names.map(async (name) => [name, await exportsOf(name)]));
  const contents = new Map(
    entries.map(([name, exported]) => [
      `entry:${name}`,
      exported.length === 0 ? `import '${name}';` : `export { ${exported.join(', ')} } from '${name}';`,
    ]),
  );
  const { outputFiles } = await build({
    write: false,
    entryPoints: names.map((name) => ({ in: `entry:${name}`, out: name })),
    outdir: folder,
    ...ESM,
    plugins: [virtualEntries(contents), nestAdapter, optionalPackages],
  });
  for (const { path, text } of outputFiles) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, withClassNames(text));
  }
}

/** Names under which Node.js shows what a package exports. */
async function exportsOf(name) {
  const names = Object.keys(await import(name));
  return names.filter((key) => /^[A-Za-z_$][\w$]*$/.test(key) && key !== '__esModule');
}

const virtualEntries = (contents) => ({
  name: 'virtual-entries',
  setup(bundle) {
    bundle.onResolve({ filter: /^entry:/ }, ({ path }) => ({ path, namespace: 'entry' }));
    bundle.onLoad({ filter: /.*/, namespace: 'entry' }, ({ path }) => ({
      contents: contents.get(path),
      loader: 'js',
      resolveDir: root,
    }));
  },
});

/**
 * Of `let Room = class Room` or `let Room = Room_1 = class Room`, as compilers write a decorated class or one that names itself, the bundler
 * renames the second name (`Room2`, `_Room`), which is the one that the log shows. A static name keeps the first; the bundler's own option does it
 * by a call for each function, at each of its closures.
 */
function withClassNames(text) {
  const renamed = /\b([A-Z]\w*) = (?:\w+_1 = )?class (?:_\1|\1\d+)\b[^{\n]*\{/g;
  return text.replaceAll(renamed, (found, name) => `${found} static name = "${name}";`);
}

/** A module finds the files beside it by `import.meta.url`, which would be the bundle's: it is given the place where it would be in the bundle's folder. */
const ownModules = (modules) => ({
  name: 'own-modules',
  setup(bundle) {
    bundle.onLoad({ filter: /\.js$/ }, ({ path }) => {
      const place = relative(modules, path).split(sep).join('/');
      if (place.startsWith('..')) {
        return undefined;
      }
      const contents = readFileSync(path, 'utf8').replaceAll(
        'import.meta.url',
        `new URL(${JSON.stringify(`./${place}`)}, import.meta.url).href`,
      );
      return { contents, loader: 'js', resolveDir: dirname(path) };
    });
  },
});

/** Nest's adapter asks for ws in a way that no bundler sees, and its constructor ends the process without it. */
const nestAdapter = {
  name: 'nest-adapter',
  setup(bundle) {
    bundle.onLoad({ filter: /platform-ws\/adapters\/ws-adapter\.js$/ }, ({ path }) => {
      const hidden = "createRequire(import.meta.url)('ws')";
      const text = readFileSync(path, 'utf8');
      if (!text.includes(hidden)) {
        throw new Error(`${path} does not ask for ws as it did: see scripts/setup/bundle.js`);
      }
      return { contents: text.replace(hidden, "require('ws')"), loader: 'js', resolveDir: dirname(path) };
    });
  },
};

const RESOLVED = Symbol('resolved');

/** What a package would use if it were installed (Nest's transports of others, native helpers of ws) is left to be asked for at run time. */
const optionalPackages = {
  name: 'optional-packages',
  setup(bundle) {
    bundle.onResolve({ filter: /^[^./]/ }, async ({ path, pluginData, ...from }) => {
      if (pluginData === RESOLVED || from.kind === 'entry-point' || !from.importer.includes('node_modules')) {
        return undefined;
      }
      const { importer, kind, resolveDir } = from;
      const found = await bundle.resolve(path, { importer, kind, resolveDir, pluginData: RESOLVED });
      return found.errors.length > 0 ? { path, external: true } : found;
    });
  },
};
