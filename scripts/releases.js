#!/usr/bin/env node
/**
 * `npm run test:releases -- --from REV|DIR [--only TEXT]`: instances of an older release are rolled to this one and back, under load
 * (test/releases). REV is built in a folder of its own, which goes afterwards; DIR has a build in `dist/`. Without `--from` it is the
 * newest tag `v…` whose version is not this one.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from './setup/paths.js';
import { runCommand } from './setup/run-command.js';

const { values } = parseArgs({ options: { from: { type: 'string' }, only: { type: 'string' } } });
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const from = values.from ?? newestOther();
if (from === undefined) {
  console.error(`No tag names another release than ${version}: say which by --from REV or --from DIR.`);
  process.exit(2);
}
const isFolder = existsSync(join(from, 'dist', 'main.js'));
const home = isFolder ? resolve(from) : mkdtempSync(join(tmpdir(), 'sluice-release-'));
try {
  if (!isFolder) {
    build();
  }
  const { code } = await runCommand(
    process.execPath,
    [join(root, 'scripts', 'test.js'), 'releases', ...(values.only === undefined ? [] : ['-t', values.only])],
    { env: { ...process.env, OLDER_RELEASE: home } },
  );
  process.exitCode = code;
} finally {
  if (!isFolder) {
    rmSync(home, { recursive: true, force: true });
    run('git', ['worktree', 'prune'], root);
  }
}

/** The sources of the revision as they were, with the packages of their own lock file. */
function build() {
  console.error(`Building ${from} in ${home}`);
  run('git', ['worktree', 'add', '--quiet', '--force', '--detach', home, from], root);
  run('npm', ['ci', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'], home);
  run('npm', ['run', '--silent', 'build'], home);
}

function run(command, args, cwd) {
  execFileSync(command, args, { cwd, stdio: ['ignore', 'inherit', 'inherit'] });
}

function newestOther() {
  const tags = execFileSync('git', ['tag', '--list', 'v[0-9]*', '--sort=-version:refname'], { cwd: root })
    .toString()
    .split('\n');
  return tags.find((tag) => tag !== '' && tag !== `v${version}`);
}
