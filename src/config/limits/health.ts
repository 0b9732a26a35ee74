import { int } from '../setting.js';

/** When readiness says degraded. */
export const healthLimits = {
  eventLoopMaxLagMs: int(
    'HEALTH_EVENT_LOOP_MAX_LAG_MS',
    1_000,
    [10, 60_000],
    'p99 event-loop delay over which readiness says degraded',
  ),
  memoryMaxPercent: int(
    'HEALTH_MEMORY_MAX_PERCENT',
    90,
    [10, 100],
    'Heap in use, in percent of its limit, over which readiness says degraded',
  ),
};
