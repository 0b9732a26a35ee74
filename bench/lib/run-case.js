import { peers } from '../peers/index.js';
import { monotonicMicros, profileDirectory, readProfiles } from './profile.js';
import { medians } from './statistics.js';
import { Trial } from './trial.js';

const TRIAL_TIMEOUT_MS = 180_000;
const PROFILE_LINES = 25;

/**
 * Runs a case: every peer once, then every peer again, so that what the machine does meanwhile meets all of them.
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
  for (let run = 1; run <= runs; run++) {
    for (const entry of entries) {
      try {
        const values = await runTrial(item, entry, seconds, options, log);
        measured.get(entry.key).push(values);
        log(`  ${item.name} ${run}/${runs} ${entry.key}: ${summary(item, values)}`);
      } catch (error) {
        reasons.set(entry.key, firstLine(error));
        log(`  ${item.name} ${run}/${runs} ${entry.key}: failed: ${error.message}`);
      }
    }
  }
  return {
    name: item.name,
    title: item.title,
    about: item.about,
    measuredAt: new Date().toISOString().slice(0, 10),
    runs,
    columns: item.columns,
    chart: item.chart,
    targets: item.targets,
    rows: entries.map((entry) => toRow(entry, measured.get(entry.key), reasons.get(entry.key))),
  };
}

async function runTrial(item, entry, seconds, { product, profile }, log) {
  const { directory, nodeArguments } = profile ? profileDirectory() : {};
  const trial = new Trial(peers[entry.peer], { ...entry.trial, product, nodeArguments });
  let timer;
  let readyAt = 0;
  const timeout = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error('took too long')), TRIAL_TIMEOUT_MS);
  });
  const work = async () => {
    await trial.start();
    readyAt = monotonicMicros();
    return await item.run(trial, { seconds, ...entry.load });
  };
  try {
    return await Promise.race([work(), timeout]);
  } catch (error) {
    trial.assertAlive();
    throw error;
  } finally {
    clearTimeout(timer);
    await trial.stop();
    if (directory !== undefined) {
      logProfiles(readProfiles(directory, PROFILE_LINES, readyAt), log);
    }
  }
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
