/**
 * How a metric is called and written.
 *
 * @typedef {{heading: string, digits: number, lowerIsBetter?: boolean}} Metric
 * @type {Record<string, Metric>}
 */
export const metrics = {
  usPerDelivery: { heading: 'CPU µs/delivery', digits: 2, lowerIsBetter: true },
  usPerDue: { heading: 'CPU µs/delivery due', digits: 2, lowerIsBetter: true },
  copies: { heading: 'copies', digits: 2 },
  usPerMessage: { heading: 'CPU µs/message', digits: 2, lowerIsBetter: true },
  usPerConnect: { heading: 'CPU µs/connect', digits: 0, lowerIsBetter: true },
  deliveriesPerS: { heading: 'deliveries/s', digits: 0 },
  bytesPerDelivery: { heading: 'bytes/delivery', digits: 0, lowerIsBetter: true },
  publicationsPerS: { heading: 'publications/s', digits: 0 },
  messagesPerS: { heading: 'messages/s', digits: 0 },
  connectsPerS: { heading: 'connects/s', digits: 0 },
  connections: { heading: 'connections', digits: 0 },
  lossPercent: { heading: 'loss %', digits: 2, lowerIsBetter: true },
  othersLossPercent: { heading: "others' loss %", digits: 2, lowerIsBetter: true },
  quietP99Ms: { heading: 'p99 ms before', digits: 2, lowerIsBetter: true },
  p50Ms: { heading: 'p50 ms', digits: 2, lowerIsBetter: true },
  p99Ms: { heading: 'p99 ms', digits: 2, lowerIsBetter: true },
  p999Ms: { heading: 'p99.9 ms', digits: 2, lowerIsBetter: true },
  p99Growth: { heading: 'p99, times that before', digits: 2, lowerIsBetter: true },
  calmPercent: { heading: 'counted %', digits: 0 },
  cpuPercent: { heading: 'CPU %', digits: 0, lowerIsBetter: true },
  rssMib: { heading: 'RSS MiB', digits: 0, lowerIsBetter: true },
  rssGrowthMib: { heading: 'RSS growth MiB', digits: 1, lowerIsBetter: true },
  kibAt10k: { heading: 'KiB/connection at 10 000', digits: 1, lowerIsBetter: true },
  kibAt19k: { heading: 'KiB/connection at 19 000', digits: 1, lowerIsBetter: true },
  kibPerConnection: { heading: 'KiB/connection', digits: 1, lowerIsBetter: true },
  openedS: { heading: 'opened in s', digits: 1, lowerIsBetter: true },
  back: { heading: 'came back', digits: 0 },
  backS: { heading: 'all back after s', digits: 1, lowerIsBetter: true },
  attempts: { heading: 'attempts', digits: 0, lowerIsBetter: true },
  silent: { heading: 'offline by silence', digits: 0 },
  missed: { heading: 'watched ones not told', digits: 0, lowerIsBetter: true },
  earliestMs: { heading: 'earliest ms', digits: 0 },
  latestMs: { heading: 'latest ms', digits: 0, lowerIsBetter: true },
  slowCloseCode: { heading: 'slow one closed with', digits: -1 },
};

/**
 * @param {string} name
 * @param {number} value
 */
export function formatMetric(name, value) {
  if (value === null || value === undefined || Number.isNaN(value)) {
    return '–';
  }
  if (value === Infinity) {
    return 'never';
  }
  const { digits } = metrics[name];
  if (digits < 0) {
    return String(value);
  }
  const [whole, fraction] = value.toFixed(digits).split('.');
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ' ');
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}
