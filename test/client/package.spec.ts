import { jest } from '@jest/globals';
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';

jest.setTimeout(120_000);

const root = fileURLToPath(new URL('../../', import.meta.url));
const run = promisify(execFile);

describe('the package sluice-client', () => {
  let folder: string;
  let home: string;

  beforeAll(async () => {
    home = mkdtempSync(join(tmpdir(), 'sluice-client-'));
    folder = join(home, 'node_modules', 'sluice-client');
    mkdirSync(folder, { recursive: true });
    await run(process.execPath, [join(root, 'client', 'build.js'), join(folder, 'dist')]);
    for (const name of ['package.json', 'README.md']) {
      cpSync(join(root, 'client', name), join(folder, name));
    }
    cpSync(join(root, 'LICENSE'), join(folder, 'LICENSE'));
    symlinkSync(join(root, 'node_modules', 'react'), join(home, 'node_modules', 'react'));
  });
  afterAll(() => rmSync(home, { recursive: true, force: true }));

  it.each([
    ['module', (name: string) => `await import('${name}')`],
    ['commonjs', (name: string) => `require('${name}')`],
  ])('can be loaded by Node.js as %s, with one class of each name', async (type, load) => {
    const names = ['sluice-client', 'sluice-client/legacy', 'sluice-client/react'];
    const script = `
      const all = [${names.map(load).join()}];
      all.forEach((one) => console.log(Object.keys(one).sort().join(' ')));
      console.log(all[0].SluiceError === all[1].SluiceError);`;
    const { stdout } = await run(process.execPath, [`--input-type=${type}`, '--eval', script], { cwd: home });
    expect(stdout.trim().split('\n')).toEqual([
      'SluiceClient SluiceError Subscription',
      'SluiceClient SluiceError',
      'SluiceProvider useCommand useDevice useFleet useHistory useSluice useSluiceState',
      'true',
    ]);
  });

  it('carries the sources of its source maps, and depends on nothing', () => {
    const map = JSON.parse(readFileSync(join(folder, 'dist', 'index.js.map'), 'utf8')) as {
      sources: string[];
      sourcesContent: string[];
    };
    expect(map.sourcesContent.every((text) => text.length > 0)).toBe(true);
    const { dependencies } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
      dependencies?: unknown;
    };
    expect(dependencies).toBeUndefined();
  });

  // It was 10.2 KB.
  it('is under 8 KB compressed, as the file that every instance serves', () => {
    const served = (name: string): Buffer => readFileSync(join(root, 'dist', 'client-library', name));
    for (const name of ['client.js', 'client.mjs']) {
      expect(gzipSync(served(name), { level: 9 }).length).toBeLessThan(8_192);
    }
    const { sourcesContent } = JSON.parse(served('client.js.map').toString()) as { sourcesContent: string[] };
    expect(sourcesContent.join()).toContain('class SluiceClient');
  });

  it('is found right by publint and by attw', async () => {
    const bin = (name: string) => join(root, 'node_modules', '.bin', name);
    await run('npm', ['pack', '--ignore-scripts', '--pack-destination', home], { cwd: folder });
    const archive = join(home, 'sluice-client-0.2.0.tgz');
    const publint = await run(bin('publint'), ['run', folder, '--strict', '--pack', 'false']);
    expect(publint.stdout).toMatch(/All good/);
    const attw = await run(bin('attw'), [archive, '--no-color', '--format', 'ascii']);
    expect(attw.stdout).toMatch(/No problems found/);
  });
});
