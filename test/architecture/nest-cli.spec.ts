import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const { compilerOptions: build } = (await import(join(root, 'scripts/setup/compile.js'))) as {
  compilerOptions: { jsc: { transform: { legacyDecorator: boolean; decoratorMetadata: boolean } } };
};

describe('nest-cli.json', () => {
  const { sourceRoot, entryFile, compilerOptions } = JSON.parse(
    readFileSync(join(root, 'nest-cli.json'), 'utf8'),
  ) as {
    sourceRoot: string;
    entryFile: string;
    compilerOptions: { tsConfigPath: string; assets: string[] };
  };

  it('names the entry file, and settings with the decorators that npm run build compiles', () => {
    expect(existsSync(join(root, sourceRoot, `${entryFile}.ts`))).toBe(true);
    const read = (name: string): { extends?: string; compilerOptions: object } =>
      JSON.parse(readFileSync(join(root, name), 'utf8'));
    const own = read(compilerOptions.tsConfigPath);
    const { legacyDecorator, decoratorMetadata } = build.jsc.transform;
    expect({ ...read(own.extends ?? '').compilerOptions, ...own.compilerOptions }).toMatchObject({
      experimentalDecorators: legacyDecorator,
      emitDecoratorMetadata: decoratorMetadata,
    });
  });

  it('copies every kind of file that is no TypeScript, as npm run build does', () => {
    const files = readdirSync(join(root, sourceRoot), { recursive: true, withFileTypes: true });
    const kinds = new Set(files.filter((entry) => entry.isFile()).map(({ name }) => extname(name).slice(1)));
    kinds.delete('ts');
    expect(compilerOptions.assets).toEqual([`**/*.{${[...kinds].sort().join(',')}}`]);
  });
});
