import { connectionCases } from './connections.js';
import { fanOutCases } from './fan-out.js';
import { faultCases } from './faults.js';
import { growthCases } from './growth.js';
import { ingestCases } from './ingest.js';
import { layoutCases } from './layouts.js';

/**
 * @typedef {object} Entry one row of a case's table
 * @property {string} peer see peers/index.js
 * @property {string} [key] defaults to the peer
 * @property {string} [label] defaults to the peer's
 * @property {object} [trial] options of Trial
 * @property {object} [load] passed to the case
 *
 * @typedef {object} Case
 * @property {string} name
 * @property {string} title
 * @property {string} about
 * @property {Entry[]} entries
 * @property {number} seconds length of the measured stretch; 0 where the case has its own
 * @property {number} [maxRuns] for cases that take long or that one run decides
 * @property {string[]} columns see report/metrics.js
 * @property {string} [chart] the metric that is drawn
 * @property {(trial: import('../lib/trial.js').Trial, load: object) => Promise<Record<string, number>>} [run] one server alone, from
 *   its start; absent where there are turns
 * @property {Turns} [turns] all servers side by side, for cases whose targets are too near for the machine's moods
 * @property {import('../report/verdict.js').Target[]} targets
 *
 * @typedef {object} Turns
 * @property {number} count of each server in a run, whose means are the run's figures
 * @property {readonly string[]} [pooled] metrics that each turn gives for all turns so far; the last one's is the run's figure
 * @property {(trial: import('../lib/trial.js').Trial, load: object) => Promise<void>} begin opens what is there all the time, and warms up
 * @property {(trial: import('../lib/trial.js').Trial, load: object) => Promise<Record<string, number>>} take one turn, measured
 */

/** @type {Case[]} */
export const cases = [
  ...fanOutCases,
  ...ingestCases,
  ...layoutCases,
  ...connectionCases,
  ...faultCases,
  ...growthCases,
];
