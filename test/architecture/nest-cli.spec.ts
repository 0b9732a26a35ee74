import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

describe('nest-cli.json', () => {
  const { sourceRoot, entryFile, compilerOptions } = JSON.parse(
    readFileSync(join(root, 'nest-cli.json'), 'utf8'),
  ) as {
    sourceRoot: string;
    entryFile: string;
    compilerOptions: { tsConfigPath: string; assets: string[] };
  };

  it('names the entry file and the settings that npm run build compiles with', () => {
    expect(existsSync(join(root, sourceRoot, `${entryFile}.ts`))).toBe(true);
    expect(readFileSync(join(root, 'scripts/setup/build.js'), 'utf8')).toContain(
      compilerOptions.tsConfigPath,
    );
  });

  it('copies every kind of file that is no TypeScript, as npm run build does', () => {
    const files = readdirSync(join(root, sourceRoot), { recursive: true, withFileTypes: true });
    const kinds = new Set(files.filter((entry) => entry.isFile()).map(({ name }) => extname(name).slice(1)));
    kinds.delete('ts');
    expect(compilerOptions.assets).toEqual([`**/*.{${[...kinds].sort().join(',')}}`]);
  });
});
