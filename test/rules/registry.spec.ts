import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const NOT_OURS = new Set(['node_modules', 'dist', 'coverage', '.git']);
/** Hosts of public registries of packages, in parts, so that this file names none. */
const HOSTS = ['npmjs', 'yarnpkg', 'npmmirror'].map((name) => new RegExp(`registry\\.${name}\\.`));

function filesUnder(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      return NOT_OURS.has(entry.name) ? [] : filesUnder(path);
    }
    return entry.isFile() ? [path] : [];
  });
}

describe('the registry of packages', () => {
  it('is the one that npm is configured for: no file names another', () => {
    const naming = filesUnder(root).filter((path) => {
      const text = readFileSync(path, 'latin1');
      return HOSTS.some((host) => host.test(text));
    });
    expect(naming).toEqual([]);
  });

  it('is not in the lock file either', () => {
    const lock = readFileSync(join(root, 'package-lock.json'), 'utf8');
    expect(lock.match(/"resolved": "https?:.*/g)).toBeNull();
  });
});
