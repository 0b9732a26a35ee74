import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { root } from './paths.js';
import { withSetupLock } from './setup-lock.js';

/**
 * The packages that the product uses as a few files, for Jest, as dist/ has them for the product. Jest reads, links and runs every module anew
 * for each spec file: 1 300 modules of an instance took it more than a second of CPU each time.
 */
const folder = join(root, 'node_modules', '.cache', 'sluice-test-packages');
const stamp = join(folder, 'stamp.json');

/** For `moduleNameMapper`; nothing where the files are not there, or are of other packages: then Jest takes node_modules. */
export function bundledPackages() {
  const made = read();
  return made?.hash === hashOfPackages()
    ? { [`^(${made.names.map(escaped).join('|')})$`]: join(folder, '$1.js') }
    : {};
}

/** Makes the files if they are not there, or are of other packages. */
export async function ensureTestPackages() {
  const names = packageNames();
  const isMade = () => {
    const made = read();
    return made?.hash === hashOfPackages() && names.every((name) => made.names.includes(name));
  };
  if (!isMade()) {
    try {
      await withSetupLock(async () => {
        if (!isMade()) {
          await bundle(names);
        }
      });
    } catch (error) {
      console.error(`Jest takes the packages as they are, which takes longer: ${error.message}`);
    }
  }
}

async function bundle(names) {
  const hash = hashOfPackages();
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  // Loaded here, since this file is also read before anything is installed.
  const { bundlePackages } = await import('./bundle.js');
  await bundlePackages(names, folder);
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n');
  writeFileSync(stamp, JSON.stringify({ hash, names }));
}

function read() {
  try {
    return JSON.parse(readFileSync(stamp, 'utf8'));
  } catch {
    return undefined;
  }
}

function hashOfPackages() {
  const hash = createHash('sha256');
  for (const file of [
    join(root, 'package-lock.json'),
    ownFile('./test-packages.js'),
    ownFile('./bundle.js'),
  ]) {
    hash.update(readFileSync(file));
  }
  return hash.digest('hex');
}

function ownFile(name) {
  return fileURLToPath(new URL(name, import.meta.url));
}

/** What sources and tests import of the packages that the product brings, for more than types. */
function packageNames() {
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const known = [...Object.keys(dependencies), '@nestjs/testing'];
  const names = new Set();
  for (const file of ['src', 'test'].flatMap(sources)) {
    for (const [, name] of readFileSync(file, 'utf8').matchAll(
      /^(?:import (?!type)|\} from ).*?'([^'.][^']*)';$/gm,
    )) {
      if (known.some((one) => name === one || name.startsWith(`${one}/`)) && !name.startsWith('@types/')) {
        names.add(name);
      }
    }
  }
  return [...names].sort();
}

function sources(name) {
  return readdirSync(join(root, name), { recursive: true })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => join(root, name, file));
}

function escaped(text) {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');
}
