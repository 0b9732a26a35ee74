import { formatMetric, metrics } from './metrics.js';

/**
 * What a case has to reach. Comparisons are with another entry of the same run, since absolute figures
 * move from machine to machine.
 *
 * - `cheaperBy`: the other's value is at least so many times the entry's
 * - `fasterBy`: the entry's value is at least so many times the other's
 * - `atMost`: the entry's value is at most so many times the other's
 * - `noMoreThan`: the entry's value is at most the limit
 * - `noLessThan`: the entry's value is at least the limit
 *
 * @typedef {object} Target
 * @property {'cheaperBy' | 'fasterBy' | 'atMost' | 'noMoreThan' | 'noLessThan'} kind
 * @property {string} entry
 * @property {string} metric
 * @property {string} [than] the entry compared with
 * @property {number} [factor]
 * @property {number} [limit]
 *
 * @typedef {{text: string, outcome: 'met' | 'missed' | 'not measured', detail: string}} Verdict
 */

/**
 * @param {Target} target
 * @param {Map<string, {label: string, values: Record<string, number>}>} rows by entry
 * @returns {Verdict}
 */
export function judge(target, rows) {
  const text = describe(target, rows);
  const value = rows.get(target.entry)?.values?.[target.metric];
  const other = rows.get(target.than)?.values?.[target.metric];
  if (!isMeasured(value) || (!isAbsolute(target) && !isMeasured(other))) {
    return { text, outcome: 'not measured', detail: '' };
  }
  const { reached, wanted, isMet } = compare(target, value, other);
  const detail = reachedText(target, reached);
  if (isMet) {
    return { text, outcome: 'met', detail };
  }
  const gap = missedBy(target, reached, wanted);
  return { text, outcome: 'missed', detail: `${detail}, missed by ${gap}` };
}

/** Beside a limit, and not beside another entry. */
const isAbsolute = ({ kind }) => kind === 'noMoreThan' || kind === 'noLessThan';

function compare({ kind, factor, limit }, value, other) {
  switch (kind) {
    case 'cheaperBy':
      return atLeast(other / value, factor);
    case 'fasterBy':
      return atLeast(value / other, factor);
    case 'atMost':
      return atMost(value / other, factor);
    case 'noMoreThan':
      return atMost(value, limit);
    case 'noLessThan':
      return atLeast(value, limit);
    default:
      throw new Error(`unknown kind of target: ${kind}`);
  }
}

const atLeast = (reached, wanted) => ({ reached, wanted, isMet: reached >= wanted });
const atMost = (reached, wanted) => ({ reached, wanted, isMet: reached <= wanted });

function missedBy({ kind, metric }, reached, wanted) {
  if (wanted === 0 || !Number.isFinite(reached)) {
    return formatMetric(metric, reached);
  }
  const isLowerBound = kind === 'cheaperBy' || kind === 'fasterBy' || kind === 'noLessThan';
  const ratio = isLowerBound ? wanted / reached : reached / wanted;
  return `${((ratio - 1) * 100).toFixed(0)} %`;
}

function reachedText(target, reached) {
  const { metric } = target;
  return isAbsolute(target) ? formatMetric(metric, reached) : `${reached.toFixed(2)}×`;
}

function describe({ kind, entry, than, metric, factor, limit }, rows) {
  const name = (key) => rows.get(key)?.label ?? key;
  const { heading } = metrics[metric];
  switch (kind) {
    case 'cheaperBy':
      return `${name(entry)}: ${heading} at least ${factor} times lower than ${name(than)}`;
    case 'fasterBy':
      return `${name(entry)}: ${heading} at least ${factor} times those of ${name(than)}`;
    case 'atMost':
      return `${name(entry)}: ${heading} at most ${factor} times that of ${name(than)}`;
    case 'noMoreThan':
      return `${name(entry)}: ${heading} at most ${limit}`;
    case 'noLessThan':
      return `${name(entry)}: ${heading} at least ${limit}`;
    default:
      throw new Error(`unknown kind of target: ${kind}`);
  }
}

function isMeasured(value) {
  return typeof value === 'number' && !Number.isNaN(value);
}
