import { execFile } from 'node:child_process';
import { mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../', import.meta.url));

/**
 * What somebody does who has the document and a generator: a client in TypeScript, a program that uses it, both compiled.
 * @param program its text; it imports the client from `./client/index.js`
 * @returns runs it; its output is JSON
 */
export async function programWithGeneratedClient(
  program: string,
): Promise<(env: Record<string, string>) => Promise<unknown>> {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-generated-client-'));
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'));
  writeFileSync(join(directory, 'package.json'), '{"type":"module"}');
  writeFileSync(join(directory, 'program.ts'), program);
  const compilerOptions = {
    ...{ target: 'es2022', module: 'nodenext', lib: ['es2022', 'dom', 'dom.iterable'], types: ['node'] },
    ...{ strict: true, skipLibCheck: true, outDir: 'out', rootDir: '.' },
  };
  writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['program.ts'] }));
  const node = (...args: string[]): Promise<unknown> =>
    run(process.execPath, args, { cwd: directory }).catch((error: { stdout: string; stderr: string }) => {
      throw new Error(`${error.stdout}${error.stderr}`);
    });
  const bin = (path: string): string => join(root, 'node_modules', path);
  const document = join(root, 'src/api/openapi.json');
  await node(bin('@hey-api/openapi-ts/bin/run.js'), '-i', document, '-o', 'client', '--silent');
  await node(bin('typescript/bin/tsc'), '-p', '.');
  return async (env) => {
    const { stdout } = await run(process.execPath, ['out/program.js'], { cwd: directory, env });
    return JSON.parse(stdout);
  };
}
