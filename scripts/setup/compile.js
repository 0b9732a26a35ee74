import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';

/** What TypeScript becomes, in what is built as in what Jest runs. Decorators with metadata: Nest injects by them. */
export const compilerOptions = {
  jsc: {
    parser: { syntax: 'typescript', decorators: true },
    transform: { legacyDecorator: true, decoratorMetadata: true },
    target: 'es2022',
  },
  module: { type: 'es6' },
};

/**
 * Compiles each file by itself, types unchecked, which is the task of `npm run typecheck`.
 *
 * @param {string[]} files TypeScript, below `source`
 * @param {string} source
 * @param {string} target gets `.js` and `.js.map`
 */
export async function compile(files, source, target) {
  // Loaded here, since this file is also read before anything is installed.
  const { transformFile } = await import('@swc/core');
  await Promise.all(
    files.map(async (file) => {
      const output = join(target, relative(source, file).replace(/\.ts$/, '.js'));
      const { code, map } = await transformFile(file, {
        ...compilerOptions,
        swcrc: false,
        sourceMaps: true,
        sourceFileName: relative(dirname(output), file).split(sep).join('/'),
      });
      const name = output.slice(dirname(output).length + 1);
      mkdirSync(dirname(output), { recursive: true });
      writeFileSync(output, `${code}//# sourceMappingURL=${name}.map\n`);
      writeFileSync(`${output}.map`, map);
    }),
  );
}
