import { fileURLToPath } from 'node:url';
import { jest } from '@jest/globals';
import { runProgram } from '../support/program.js';

jest.setTimeout(120_000);

const cwd = fileURLToPath(new URL('../../clients/python', import.meta.url));
/** Debian's, which has the packages; another one on the PATH may not. */
const PYTHON = '/usr/bin/python3';
const env = {
  PATH: process.env['PATH'],
  NODE: process.execPath,
  PYTHONDONTWRITEBYTECODE: '1',
  LANG: 'C.UTF-8',
};

const python = (...args: string[]): Promise<{ code: number | null; output: string }> =>
  runProgram(PYTHON, ['-m', ...args], { cwd, env });

describe('the Python client', () => {
  it('passes its tests against the server, with a device of paho, a network that fails and a server that lies', async () => {
    const { code, output } = await python('pytest', '-q', '--tb=short', '-p', 'no:cacheprovider');
    expect(code === 0 ? '' : output).toBe('');
    expect(output).toMatch(/^\d+ passed in /m);
  });

  it('has the types that it says, where mypy is there to judge', async () => {
    const isThere = (await python('mypy', '--version')).code === 0;
    const { code, output } = isThere
      ? await python('mypy', '--cache-dir=/dev/null')
      : await python('compileall', '-q', 'sluice_client');
    expect(code === 0 ? '' : output).toBe('');
  });
});
