import { peers } from '../peers/index.js';
import { Contender } from './contender.js';
import { monotonicMicros, profileDirectory, readProfiles } from './profile.js';
import { means, medians } from './statistics.js';
import { takeTurns } from './take-turns.js';
import { Trial } from './trial.js';

const PROFILE_LINES = 25;

/**
 * Runs a case: every peer once, then every peer again, so that what the machine does meanwhile meets all of them; where the case has
 * turns, all of them side by side.
 *
 * @param {import('../cases/index.js').Case} item
 * @param {{runs: number, seconds?: number, peers: string[], product?: string, profile: boolean}} options
 * @param {(text: string) => void} log
 * @returns {Promise<import('../report/results.js').CaseResult>}
 */
export async function runCase(item, options, log) {
  const entries = item.entries
    .filter(({ peer }) => options.peers.includes(peer) && (!options.profile || peers[peer].isSluice))
    .map((entry) => ({ ...entry, key: entry.key ?? entry.peer }));
  const runs = Math.min(options.runs, item.maxRuns ?? options.runs);
  const seconds = item.seconds === 0 ? 0 : (options.seconds ?? item.seconds);
  const measured = new Map(entries.map(({ key }) => [key, []]));
  const reasons = new Map();
  const isSideBySide = item.turns !== undefined && !options.profile;
  for (let run = 1; run <= runs; run++) {
    for (const group of isSideBySide ? [entries] : entries.map((entry) => [entry])) {
      for (const { entry, values, failure } of await runTogether(item, group, seconds, options, log)) {
        if (failure === null) {
          measured.get(entry.key).push(values);
        } else {
          reasons.set(entry.key, firstLine(failure));
        }
        const outcome = failure === null ? summary(item, values) : `failed: ${failure.message}`;
        log(`  ${item.name} ${run}/${runs} ${entry.key}: ${outcome}`);
      }
    }
  }
  return {
    name: item.name,
    title: item.title,
    about: item.about,
    measuredAt: new Date().toISOString().slice(0, 10),
    runs,
    turns: isSideBySide ? item.turns.count : undefined,
    columns: item.columns,
    chart: item.chart,
    targets: item.targets,
    rows: entries.map((entry) => toRow(entry, measured.get(entry.key), reasons.get(entry.key))),
  };
}

/** Entries whose servers run at the same time: one alone, or several that take turns. */
async function runTogether(item, entries, seconds, { product, profile }, log) {
  const { directory, nodeArguments } = profile ? profileDirectory() : {};
  const contenders = entries.map((entry) => {
    // File by file, so that a profile names them.
    const peer = { ...peers[entry.peer], ...(profile && { script: 'dist/modules/main.js' }) };
    const trial = new Trial(peer, { ...entry.trial, product, nodeArguments });
    return new Contender(entry, trial, seconds);
  });
  let readyAt = 0;
  try {
    for (const contender of contenders) {
      await contender.step((trial) => trial.start());
    }
    readyAt = monotonicMicros();
    await takeTurns(item.turns ?? oneTurn(item), contenders);
  } finally {
    for (const contender of contenders) {
      await contender.stop();
    }
    if (directory !== undefined) {
      logProfiles(readProfiles(directory, PROFILE_LINES, readyAt), log);
    }
  }
  return contenders.map(({ entry, turns, failure }) => ({
    entry,
    failure,
    values: means(turns, item.turns?.pooled),
  }));
}

function oneTurn({ run }) {
  return { count: 1, begin: async () => {}, take: run };
}

function logProfiles(profiles, log) {
  for (const functions of profiles) {
    log(functions.map(({ name, percent }) => `  ${percent.toFixed(1).padStart(5)} % ${name}`).join('\n'));
  }
}

function toRow(entry, runs, reason) {
  const { label, isSluice = false } = peers[entry.peer];
  const row = { key: entry.key, label: entry.label ?? label, isSluice };
  return runs.length > 0
    ? { ...row, values: medians(runs) }
    : { ...row, values: null, reason: reason ?? 'no run' };
}

function summary({ columns }, values) {
  return columns
    .map((name) => `${name} ${Number(values[name]).toPrecision(4)}`)
    .join(', ')
    .concat(values.generatorPercent ? `, generator ${values.generatorPercent.toFixed(0)} %` : '');
}

function firstLine(error) {
  return error.message.split('\n')[0].slice(0, 120);
}
