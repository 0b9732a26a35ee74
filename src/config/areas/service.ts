import { z } from 'zod';
import { filterFault } from '../../protocol/topic-filter.js';
import {
  constant,
  int,
  list,
  oneOf,
  optionalInt,
  optionalText,
  pathOrUrl,
  secret,
  text,
} from '../setting.js';

export const httpSettings = {
  port: int('PORT', 8080, [0, 65_535], 'Port of HTTP and WebSocket; 0 picks a free one'),
  host: text('HOST', '0.0.0.0', 'Address to listen on'),
  managementPort: optionalInt(
    'MANAGEMENT_PORT',
    [0, 65_535],
    'Port of health, metrics and the server API when they shall not be on PORT, so that the outside cannot reach them',
    { defaultText: 'same as PORT' },
  ),
  dashboardTokenUrl: optionalText(
    'DASHBOARD_TOKEN_URL',
    'Address of your own login, from which the dashboard page gets tokens and newer ones: a path on the same origin, or a URL that allows this origin (CORS with credentials). Without it people paste a token',
    pathOrUrl,
  ),
  trustedProxies: list(
    'TRUSTED_PROXIES',
    [],
    'Comma list of proxy addresses or CIDR ranges whose X-Forwarded-For is believed; limits per address then count the client',
  ),
};

export const apiSettings = {
  token: secret(
    'API_TOKEN',
    'Tokens of the server API, at least 32 characters each, separated by white space so that one can be replaced; without any there is no API. `API_TOKEN_FILE` is read again while the service runs',
    { defaultText: 'no API' },
  ),
};

export const logSettings = {
  level: oneOf(
    'LOG_LEVEL',
    ['fatal', 'error', 'warn', 'info', 'debug', 'trace'],
    'info',
    'Least severity that is logged; the lines of commands (who, which device, what became of it) always are',
  ),
  format: oneOf(
    'LOG_FORMAT',
    ['json', 'pretty'],
    ({ production }) => (production ? 'json' : 'pretty'),
    'json for machines, pretty for people',
    { defaultText: 'json in production, pretty in development' },
  ),
  traceTopics: list(
    'LOG_TRACE_TOPICS',
    [],
    "Comma list of topic filters: each message of such a topic is logged with what became of it (never its payload), also where it is no device's; 500 lines a second at most",
    z.string().superRefine((filter, context) => {
      const fault = filterFault(filter);
      if (fault !== undefined) {
        context.addIssue({ code: 'custom', message: `${JSON.stringify(filter)} ${fault}` });
      }
    }),
  ),
  traceDevices: list(
    'LOG_TRACE_DEVICES',
    [],
    'Comma list of device ids whose accepted and dropped messages are logged (never their payloads), whatever LOG_LEVEL says',
  ),
};

/** When readiness says degraded. */
export const healthConstants = {
  /** p99 event-loop delay: what a person notices. */
  eventLoopMaxLagMs: constant('HEALTH_EVENT_LOOP_MAX_LAG_MS', 1_000),
  /** Heap in use, in percent of its limit: above it the collector runs all the time, and a large answer may end the process. */
  memoryMaxPercent: constant('HEALTH_MEMORY_MAX_PERCENT', 90),
};

/** The pace of a shutdown. */
export const drainSettings = {
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
};

export const drainConstants = {
  /** Connections closed per batch, ten batches a second; batches grow by themselves where the time is short. */
  batchConnections: constant('DRAIN_BATCH_CONNECTIONS', 500),
};
