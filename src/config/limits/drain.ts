import { int } from '../setting.js';

/** The pace of a shutdown. */
export const drainLimits = {
  timeoutMs: int(
    'DRAIN_TIMEOUT_MS',
    25_000,
    [0, 30_000],
    'Longest drain after SIGTERM before what is left is cut',
  ),
  noticeMs: int(
    'DRAIN_NOTICE_MS',
    0,
    [0, 30_000],
    'Wait between not ready and the first close, for load balancers that poll readiness',
  ),
  spreadMs: int(
    'DRAIN_SPREAD_MS',
    10_000,
    [0, 300_000],
    'Span over which the retryAfterMs of the closed clients are spread',
  ),
  batchConnections: int(
    'DRAIN_BATCH_CONNECTIONS',
    500,
    [1, 100_000],
    'Connections closed per batch, ten batches a second',
  ),
};
