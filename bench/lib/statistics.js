/** @param {number[]} values */
export function median(values) {
  const sorted = values.filter((value) => Number.isFinite(value)).sort((a, b) => a - b);
  if (sorted.length === 0) {
    return NaN;
  }
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * The median of every metric over several runs.
 *
 * @param {Record<string, number>[]} runs
 * @returns {Record<string, number>}
 */
export function medians(runs) {
  const names = new Set(runs.flatMap((run) => Object.keys(run)));
  return Object.fromEntries([...names].map((name) => [name, median(runs.map((run) => run[name]))]));
}

/**
 * The mean of every metric over several turns of one run.
 *
 * @param {Record<string, number>[]} turns
 * @param {readonly string[]} [pooled] metrics of which the last turn's value is that of all turns together
 * @returns {Record<string, number>}
 */
export function means(turns, pooled = []) {
  const names = new Set(turns.flatMap((turn) => Object.keys(turn)));
  const mean = (name) => turns.reduce((sum, turn) => sum + turn[name], 0) / turns.length;
  return Object.fromEntries(
    [...names].map((name) => [name, pooled.includes(name) ? turns.at(-1)[name] : mean(name)]),
  );
}
