/** Matchers of every query: the variables at the top of the dashboard. */
const ON = 'job="$job",namespace=~"$namespace"';

export const select = (name, more = '') => `${name}{${ON}${more}}`;
export const rate = (name, more) => `rate(${select(name, more)}[$__rate_interval])`;
export const sum = (expr, by = '') => `sum${by === '' ? '' : ` by (${by})`} (${expr})`;
export const max = (expr, by = '') => `max${by === '' ? '' : ` by (${by})`} (${expr})`;
export const min = (expr, by = '') => `min${by === '' ? '' : ` by (${by})`} (${expr})`;
export const quantile = (q, name) => `histogram_quantile(${q}, ${sum(rate(`${name}_bucket`), 'le')})`;
