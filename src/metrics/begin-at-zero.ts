import type { Counter } from 'prom-client';

/** Labels whose counters begin at 0: the first increment of a counter that appears with it is lost to rate(). */
const CONNECTION_OUTCOMES = [
  ...['accepted', 'unauthorized', 'too_many_user', 'refused_path', 'refused_origin', 'refused_capacity'],
  ...['refused_address', 'refused_rate', 'refused_pending', 'refused_draining', 'refused_request'],
  'refused_role',
];
const TOKEN_OUTCOMES = [
  ...['verified', 'cached', 'refreshed', 'missing', 'invalid', 'expired', 'revoked'],
  ...['unavailable', 'timeout'],
];
const COMMAND_OUTCOMES = [
  ...['sent', 'undelivered', 'repeated', 'forbidden', 'unavailable', 'too_large', 'invalid', 'rate_limited'],
  ...['too_many', 'key_conflict', 'keys_unavailable'],
];
const CLOSE_CODES = [
  ...['1000', '1001', '1002', '1003', '1005', '1006', '1007', '1008', '1009', '1011', '1012', '1013'],
  ...['4001', '4002', '4008', '4009', 'other'],
];

/** Counters whose labels are known from the start. */
type Known =
  | 'auth'
  | 'clientMessages'
  | 'commandReplies'
  | 'commandResults'
  | 'commands'
  | 'connections'
  | 'connectionsClosed'
  | 'dropped'
  | 'instanceMessages'
  | 'jwksFetches'
  | 'redisConnectionsLost'
  | 'redisGaps'
  | 'redisModeChanges'
  | 'socketsRefused'
  | 'sparkplugDropped'
  | 'takeovers'
  | 'transformRefused';

/** A scrape right after the start has all of them. */
export function beginAll(metrics: Readonly<Record<Known, Counter>>): void {
  beginAtZero(metrics.connections, 'outcome', CONNECTION_OUTCOMES);
  beginAtZero(metrics.auth, 'outcome', TOKEN_OUTCOMES);
  beginAtZero(metrics.commands, 'outcome', COMMAND_OUTCOMES);
  beginAtZero(metrics.takeovers, 'what', ['lease', 'slot', 'session']);
  beginAtZero(metrics.redisModeChanges, 'mode', ['store', 'local']);
  beginAtZero(metrics.redisConnectionsLost, 'connection', ['commands', 'subscriber']);
  beginAtZero(metrics.redisGaps, 'outcome', ['filled', 'reset']);
  beginAtZero(metrics.instanceMessages, 'outcome', ['sent', 'failed', 'received', 'refused', 'unreadable']);
  beginAtZero(metrics.jwksFetches, 'outcome', ['ok', 'failed']);
  beginAtZero(metrics.connectionsClosed, 'code', CLOSE_CODES);
  beginAtZero(metrics.socketsRefused, 'reason', [
    ...['capacity', 'address', 'unfinished', 'timeout', 'malformed', 'too_large'],
  ]);
  beginAtZero(metrics.dropped, 'reason', [
    ...['slow', 'closed', 'unsubscribed', 'resync', 'history_trimmed', 'failed'],
  ]);
  beginAtZero(metrics.commandResults, 'outcome', ['replied', 'timeout', 'abandoned']);
  beginAtZero(metrics.commandReplies, 'outcome', [
    ...['replied', 'late', 'unasked', 'not_json', 'too_deep', 'too_large'],
  ]);
  beginAtZero(metrics.transformRefused, 'reason', ['illegal', 'full']);
  beginAtZero(metrics.sparkplugDropped, 'reason', ['historical', 'unknown_alias']);
  // What a client may ask for, and what no handler has seen; refusals of handlers appear with the first.
  for (const type of ['subscribe', 'unsubscribe', 'command', 'auth', 'ping']) {
    beginAtZero(metrics.clientMessages, 'outcome', ['ok'], { type });
  }
  beginAtZero(metrics.clientMessages, 'outcome', ['rate_limited'], { type: 'refused' });
  beginAtZero(metrics.clientMessages, 'outcome', ['invalid_json', 'invalid_message', 'unknown_type'], {
    type: 'invalid',
  });
}

/** @param others labels beside that one */
export function beginAtZero(
  counter: Counter,
  label: string,
  values: readonly string[],
  others: Readonly<Record<string, string>> = {},
): void {
  for (const value of values) {
    counter.inc({ ...others, [label]: value }, 0);
  }
}
