#!/usr/bin/env node
/**
 * `npm test [-- jest arguments]`: gets what the tests need, builds, then runs every test; `npm run test:unit` and its
 * like name one tier first. What cannot be had is said in one line and its specs are left out; with CI=true that
 * is a failure.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureBuild } from './setup/build.js';
import { ensureDependencies } from './setup/dependencies.js';
import { root } from './setup/paths.js';
import { runCommand } from './setup/run-command.js';
import { demandSystemPackages } from './setup/system-packages.js';
import { ensureTestPackages } from './setup/test-packages.js';

/**
 * Folders of each tier. The chaos tier runs the faults in full length (the others run a short form of them), and what devices and instances
 * do with the times that the documents promise, which the others only report. The scale tier prints the whole table of docs/scaling.md; the
 * releases tier is started by scripts/releases.js. What
 * reads the sources and runs nothing of them is linting (`npm run lint:rules`), and no part of `npm test`.
 */
const TIERS = {
  unit: ['src/', 'scripts/', 'client/', 'page/', 'bench/'],
  int: ['test/(?!e2e/|chaos/|rules/|releases/)'],
  e2e: ['test/e2e/'],
  chaos: ['test/chaos/', 'test/devices/'],
  scale: ['test/scale/'],
  releases: ['test/releases/'],
  rules: ['test/rules/'],
};
/** Only their own tier has the time for these, or the older build that they need. */
const ONLY_IN = { chaos: ['test/chaos/moves'], releases: ['test/releases/'] };
const STRICT = {
  CHAOS: 'full',
  CHAOS_TIME_FACTOR: process.env.CHAOS_TIME_FACTOR ?? (process.env.CI ? '3' : '1'),
};
const SPEC_FOLDERS = ['src', 'test', 'client', 'page', 'scripts', 'bench'];

const [first, ...others] = process.argv.slice(2);
const tier = first !== undefined && Object.hasOwn(TIERS, first) ? first : undefined;
const jestArguments = tier ? others : process.argv.slice(2);

await ensureDependencies();
const missing = ['unit', 'rules'].includes(tier) ? [] : await demandSystemPackages();
if (tier !== 'rules') {
  await ensureBuild();
  await ensureTestPackages();
}
const leftOut = missing.length > 0 ? specsThatMention(missing.map((entry) => entry.mention)) : [];
if (leftOut.length > 0) {
  console.error(`Left out: ${leftOut.join(', ')}.`);
}

const { code } = await runCommand(
  process.execPath,
  [
    // Jest runs ES modules in contexts that Node still calls experimental.
    '--experimental-vm-modules',
    '--disable-warning=ExperimentalWarning',
    join(root, 'node_modules', 'jest', 'bin', 'jest.js'),
    ...(tier ? TIERS[tier].map((folder) => `^${escaped(root)}${folder}`) : []),
    ...jestArguments,
    '--testPathIgnorePatterns',
    '/node_modules/',
    ...(tier === 'rules' ? [] : [`^${escaped(root)}test/rules/`]),
    ...Object.entries(ONLY_IN)
      .filter(([name]) => name !== tier)
      .flatMap(([, names]) => names.map((name) => `^${escaped(root)}${name}`)),
    ...leftOut.map((file) => `^${escaped(join(root, file))}$`),
  ],
  { env: { ...process.env, ...(tier === 'chaos' ? STRICT : tier === 'scale' ? { SCALE: 'full' } : {}) } },
);
process.exitCode = code;

/** @returns {string[]} spec files, relative to the root, that use one of the missing programs */
function specsThatMention(texts) {
  return SPEC_FOLDERS.filter((folder) => existsSync(join(root, folder))).flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true })
      .map((name) => join(folder, name))
      .filter((name) => /\.spec\.(ts|js)$/.test(name) && !name.includes('node_modules'))
      .filter((name) => texts.some((text) => readFileSync(join(root, name), 'utf8').includes(text))),
  );
}

function escaped(path) {
  return path.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
