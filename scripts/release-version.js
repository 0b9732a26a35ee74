#!/usr/bin/env node
/**
 * Refuses to release a tag that does not say the version that package.json, the lock file, the Dockerfile and the chart say.
 *
 * Usage: node scripts/release-version.js v1.2.3
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * @param {string} tag `v1.2.3`
 * @param {(path: string) => string} read text of a file of the repository
 * @returns {string[]} what differs, one line each
 */
export function releaseProblems(tag, read) {
  const version = /^v(\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?)$/.exec(tag)?.[1];
  if (version === undefined) {
    return [`the tag is ${tag}, not v1.2.3`];
  }
  const field = (path, pattern) => pattern.exec(read(path))?.[1];
  const said = {
    'package.json': JSON.parse(read('package.json')).version,
    'package-lock.json': JSON.parse(read('package-lock.json')).version,
    'Dockerfile, VERSION': field('Dockerfile', /^ARG VERSION=(\S+)$/m),
    'Chart.yaml, version': field('helm/sluice/Chart.yaml', /^version: (\S+)$/m),
    'Chart.yaml, appVersion': field('helm/sluice/Chart.yaml', /^appVersion: (\S+)$/m),
  };
  return Object.entries(said)
    .filter(([, other]) => other !== version)
    .map(([where, other]) => `${where} says ${other}, the tag ${version}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = new URL('../', import.meta.url);
  const problems = releaseProblems(process.argv[2] ?? '', (path) =>
    readFileSync(new URL(path, root), 'utf8'),
  );
  problems.forEach((problem) => console.error(problem));
  process.exitCode = problems.length > 0 ? 1 : 0;
}
