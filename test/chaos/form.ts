/**
 * The two forms of every chaos test. `npm run test:chaos` sets CHAOS=full: the numbers of docs/operations.md. Without it a
 * shortened form of the same tests runs, with the same conditions.
 */
export const FULL = process.env['CHAOS'] === 'full';

/**
 * What deadlines are multiplied by, and in full length the times that are asserted: a shared machine halts everybody for longer than a
 * failover takes. The measured figure is printed either way.
 */
export const TIME_FACTOR = Number(process.env['CHAOS_TIME_FACTOR'] ?? (FULL && !process.env['CI'] ? 1 : 3));

/** For rows in which Redis is well: a machine that halts it for a second alone is no fault of theirs. */
export const REDIS_IS_WELL = { REDIS_TIMEOUT_MS: String(1_000 * TIME_FACTOR) };

/** Picks by form. */
export const form = <T>(full: T, short: T): T => (FULL ? full : short);

export const SIZE = {
  dashboards: form(200, 60),
  devices: form(50, 20),
  devicesPerDashboard: form(5, 3),
  /** Publications a second of all devices. */
  perSecond: form(500, 200),
  /** Load before a fault and after it, in ms. */
  beforeMs: form(10_000, 1_500),
  afterMs: form(10_000, 2_500),
};

/** For one test, in ms. */
export const TEST_TIMEOUT_MS = form(300_000, 120_000) * Math.max(1, TIME_FACTOR / 2);

export const seconds = (count: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, count * 1000));
