/**
 * The two forms of every chaos test. `npm run test:chaos` sets CHAOS=full: the numbers of docs/operations.md. Without it a
 * shortened form of those runs that no other spec of `npm test` has, with the same conditions.
 */
export const FULL = process.env['CHAOS'] === 'full';

/**
 * What deadlines are multiplied by, and in full length the times that are asserted: a shared machine halts everybody for longer than a
 * failover takes. The measured figure is printed either way.
 */
export const TIME_FACTOR = Number(process.env['CHAOS_TIME_FACTOR'] ?? (FULL && !process.env['CI'] ? 1 : 3));

/** Picks by form. */
export const form = <T>(full: T, short: T): T => (FULL ? full : short);

/** Time over which an instance that stops spreads its clients: the default in full; shortened otherwise. */
export const DRAIN_SPREAD_MS = form(10_000, 4_000);

/**
 * New connections a second over all instances: half of what the machine's two cores would bear, since they carry instances, stores,
 * broker and dashboards together (docs/scaling.md says how it is reckoned).
 */
const ADMITTED_PER_SECOND = 600;

/**
 * For rows in which Redis is well: a machine that halts it for a second alone is no fault of theirs. All of them have the same settings, so
 * that they can share a stage.
 */
export const redisIsWell = (instances: number): Record<string, string> => ({
  REDIS_TIMEOUT_MS: String(1_000 * TIME_FACTOR),
  DRAIN_SPREAD_MS: String(DRAIN_SPREAD_MS),
  WS_MAX_CONNECTIONS_PER_SECOND: String(ADMITTED_PER_SECOND / instances),
});

export const SIZE = {
  dashboards: form(200, 40),
  devices: form(50, 20),
  devicesPerDashboard: form(5, 3),
  /** Publications a second of all devices. */
  perSecond: form(500, 80),
  /** Load before a fault and after it, in ms. */
  beforeMs: form(10_000, 1_000),
  afterMs: form(10_000, 1_500),
};

/** For one test, in ms. */
export const TEST_TIMEOUT_MS = form(300_000, 120_000) * Math.max(1, TIME_FACTOR / 2);

export const seconds = (count: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, count * 1000));
