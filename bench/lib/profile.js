import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const SAMPLING_MICROS = 400;
const IDLE = '(idle)';

/** Where a server's CPU profile goes, and what makes it write one. */
export function profileDirectory() {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-bench-profile-'));
  const nodeArguments = [
    '--cpu-prof',
    `--cpu-prof-interval=${SAMPLING_MICROS}`,
    `--cpu-prof-dir=${directory}`,
  ];
  return { directory, nodeArguments };
}

/** @returns {number} now, on the clock that profiles use */
export function monotonicMicros() {
  return Number(process.hrtime.bigint() / 1_000n);
}

/**
 * The functions in which the time of all profiles in a directory was spent; the directory is removed.
 *
 * @param {string} directory
 * @param {number} count
 * @param {number} fromMicros of the monotonic clock: what was before (the start of a server) is left out
 */
export function readProfiles(directory, count, fromMicros) {
  const profiles = readdirSync(directory).map((name) =>
    JSON.parse(readFileSync(join(directory, name), 'utf8')),
  );
  rmSync(directory, { recursive: true });
  return profiles.map((profile) => topFunctions(profile, count, fromMicros));
}

/**
 * @param {{startTime: number, nodes: {id: number, callFrame: {functionName: string, url: string, lineNumber: number}}[], samples: number[], timeDeltas: number[]}} profile
 * @param {number} count
 * @param {number} fromMicros
 * @returns {{name: string, percent: number}[]} share of the busy time spent in the function itself
 */
export function topFunctions({ startTime, nodes, samples, timeDeltas }, count, fromMicros) {
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
  const micros = new Map();
  let busy = 0;
  let now = startTime;
  samples.forEach((id, index) => {
    const frame = frames.get(id);
    now += timeDeltas[index];
    if (now >= fromMicros && frame.functionName !== IDLE) {
      const name = nameOf(frame);
      busy += timeDeltas[index];
      micros.set(name, (micros.get(name) ?? 0) + timeDeltas[index]);
    }
  });
  return [...micros]
    .sort(([, left], [, right]) => right - left)
    .slice(0, count)
    .map(([name, spent]) => ({ name, percent: (100 * spent) / busy }));
}

function nameOf({ functionName, url, lineNumber }) {
  const file = url.replace(/^.*\/(node_modules|dist)\//, (_match, folder) =>
    folder === 'dist' ? 'dist/' : '',
  );
  return `${functionName || '(anonymous)'}${file ? ` ${file}:${lineNumber + 1}` : ''}`;
}
