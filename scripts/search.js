#!/usr/bin/env node
/**
 * `npm run test:hostile -- --minutes N [--seed S] [--path P] [--mode memory|redis|redis2|layouts]` and
 * `npm run test:fuzz -- --minutes N [--seed S]`: the searches of `npm test`, for longer. Each option becomes a variable that the spec
 * reads; what else is given goes on to Jest.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from './setup/paths.js';
import { runCommand } from './setup/run-command.js';

const [name, ...rest] = process.argv.slice(2);
const { values, positionals } = parseArgs({
  args: rest,
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string' },
    path: { type: 'string' },
    mode: { type: 'string' },
    only: { type: 'string' },
  },
  allowPositionals: true,
});
const variables = Object.entries(values).map(([option, value]) => [
  `${name.toUpperCase()}_${option.toUpperCase()}`,
  value,
]);
const { code } = await runCommand(
  process.execPath,
  [join(root, 'scripts', 'test.js'), '-i', ...positionals, '--testPathPatterns', `test/${name}/`],
  { env: { ...process.env, ...Object.fromEntries(variables) } },
);
process.exitCode = code;
