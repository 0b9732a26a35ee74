import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { containedErrors, WALLS } from '../logging/walls.js';
import { HotCounters, mirror, mirrorByLabel, mirrorGauge } from './hot-counters.js';
import { beginAll } from './begin-at-zero.js';
import { Exemplars, toOpenMetrics } from './open-metrics.js';
import { addProcessMetrics } from './process-metrics.js';
import { TopLists } from './top-lists.js';

const PREFIX = 'sluice_';
/** Seconds; from a local hop to what users would call broken. */
const LATENCY_BUCKETS_S = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
/** Seconds; devices answer in milliseconds, or after the work is done. */
const REPLY_BUCKETS_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
/** Seconds; from a clock that is right to a device that tells of yesterday. */
const AGE_BUCKETS_S = [0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3_600, 86_400];
const BROADCAST_BUCKETS_S = [
  0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05,
];

/** The values of the label `what` of `sluice_kept`, see {@link Metrics.keeps}. */
export type Kept =
  | 'tokens'
  | 'topics'
  | 'delivery_groups'
  | 'resume_pages'
  | 'room_heads'
  | 'command_reply_bytes'
  | 'redelivered'
  | 'top';

/**
 * Every metric of the service. Names are `sluice_<area>_<thing>_<unit|total>`; no id is ever a label.
 * One instance per application, with a registry of its own, so that several can live in one test process.
 */
export class Metrics {
  readonly registry = new Registry();
  readonly hot = new HotCounters();
  /** Top lists: the ids behind the counters. An id is never a label. */
  readonly top = new TopLists();

  readonly connectionsOpen = this.gauge('connections_open', 'WebSocket connections whose token is good');
  readonly connectionsPending = this.gauge(
    'connections_pending',
    'WebSocket connections that have not shown a good token yet',
  );
  readonly connectionsWaiting = this.gauge(
    'connections_waiting',
    'Connection attempts that wait in line, since more come than WS_MAX_CONNECTIONS_PER_SECOND',
  );
  readonly connections = this.counter(
    'connections_total',
    'Connection attempts by outcome: accepted, unauthorized, too_many_user, refused_path, refused_origin, refused_capacity, refused_address, refused_rate, refused_pending, refused_draining, refused_request (no WebSocket handshake), refused_role (ROLE=ingest)',
    ['outcome'],
  );
  readonly socketsRefused = this.counter(
    'sockets_refused_total',
    'TCP connections to PORT that were ended before admission, by reason: capacity, address, unfinished (too many that are no WebSocket), timeout, malformed, too_large (headers)',
    ['reason'],
  );
  readonly connectionsClosed = this.counter(
    'connections_closed_total',
    'Closed WebSocket connections by close code (1012: to come back elsewhere)',
    ['code'],
  );
  readonly auth = this.counter(
    'auth_tokens_total',
    'Token checks by outcome: verified, cached, refreshed, missing, invalid, expired, revoked, unavailable, timeout',
    ['outcome'],
  );
  readonly jwksFetches = this.counter(
    'auth_jwks_fetches_total',
    'Fetches of the JWKS by outcome: ok, failed',
    ['outcome'],
  );
  readonly jwksAge = this.gauge('auth_jwks_age_seconds', 'Age of the JWKS in use; 0 when none is configured');

  readonly fileReloads = this.counter(
    'file_reloads_total',
    'Files that were read again since they changed, or at SIGHUP, by file (its setting) and outcome: ok, refused (the old content goes on)',
    ['file', 'outcome'],
  );
  readonly certificateExpires = this.gauge(
    'certificate_expires_seconds',
    'Unix time at which the first certificate of a file or variable expires, by its setting: MQTT_CA, MQTT_CERT, REDIS_CA, REDIS_CERT',
    ['certificate'],
  );

  readonly revocations = this.gauge('revocations', 'Revocations of tokens that this instance holds');
  readonly revocationsPending = this.gauge(
    'revocations_pending',
    'Changes of revocations that Redis does not have yet; above 0 while it is away',
  );
  readonly revocationsRefused = this.counter(
    'revocations_refused_total',
    'Revocations that were refused since there are as many as are held',
  );

  readonly roomsOpen = this.gauge('rooms_open', 'Rooms (devices) with at least one local subscription');
  readonly subscriptionsOpen = this.gauge('subscriptions_open', 'Subscriptions of local connections');
  readonly devicesKnown = this.gauge('devices_known', 'Devices whose state this instance holds');
  readonly historyBytes = this.gauge(
    'history_bytes',
    'Bytes of publications kept for resume in this process',
  );
  readonly historyEvicted = this.counter(
    'history_evicted_total',
    'Publications dropped from history by the bound over all devices',
  );

  private readonly keepers = new Map<Kept, () => number>();
  private readonly kept = this.gauge(
    'kept',
    'What is kept up to a bound and has no other metric, by what: tokens (verified ones), topics (remembered), delivery_groups, resume_pages (first pages of history that wait for their clients), room_heads (by the reader of device messages), command_reply_bytes, redelivered (values that wait for the end of a redelivery), top (ids in the top lists)',
    ['what'],
  );
  readonly ingest = this.counter(
    'ingest_messages_total',
    'Device messages by layout (empty for topics of none), kind (telemetry, status, meta, other) and outcome: accepted, duplicate, refused (by the store: MAX_DEVICES, say), retained, not_json, too_deep, not_object, bad_status, too_large, bad_topic, bad_device_id, failed, ignored (as the layout says), not_text, no_id, no_member, codec_error, unknown_alias, sequence_gap, historical, too_many_fields, malformed (a stream that was no MQTT)',
    ['layout', 'kind', 'outcome'],
  );
  readonly fieldStates = this.gauge(
    'field_states',
    'Devices whose fields this instance keeps in memory, to publish them as one state',
  );
  readonly fieldStateBytes = this.gauge('field_state_bytes', 'Bytes of those states, estimated');
  readonly fieldStatesForgotten = this.counter(
    'field_states_forgotten_total',
    'States of fields let go for others by reason: devices (MAX_DEVICES), bytes. The store has them; they are read again with the next message',
    ['reason'],
  );
  readonly fieldReadingsWaiting = this.gauge(
    'field_readings_waiting',
    'Messages that wait for the store to say what the fields of their device are',
  );
  readonly silenceWatched = this.gauge(
    'silence_watched_devices',
    'Online devices that become offline when they send nothing for the silence of their layout; on the instance that reads',
  );
  readonly silenceOffline = this.counter(
    'silence_offline_total',
    'Devices that became offline because they sent nothing for the silence of their layout',
  );
  readonly silenceUnwatched = this.counter(
    'silence_unwatched_total',
    'Messages of devices whose silence is not watched, since MAX_DEVICES are',
  );
  readonly sparkplugNodes = this.gauge(
    'sparkplug_nodes',
    'Edge nodes of Sparkplug that this instance keeps in memory',
  );
  readonly sparkplugBytes = this.gauge(
    'sparkplug_metric_bytes',
    'Bytes of what their births said of metrics (names, aliases, types), estimated',
  );
  readonly sparkplugHeld = this.gauge(
    'sparkplug_held_messages',
    'Messages of edge nodes that wait for others that are missing before them, or for the store',
  );
  readonly sparkplugGaps = this.counter(
    'sparkplug_gaps_total',
    'Gaps in the sequence of an edge node that did not close in time',
  );
  readonly sparkplugRebirths = this.counter(
    'sparkplug_rebirth_requests_total',
    'Rebirth requests that were sent',
  );
  readonly sparkplugRebirthsWaiting = this.gauge(
    'sparkplug_rebirth_requests_waiting',
    'Edge nodes that are to be asked for a rebirth: one in 30 s each, 10 a second in all',
  );
  readonly sparkplugDropped = this.counter(
    'sparkplug_values_dropped_total',
    'Values that are not shown by reason: historical, unknown_alias',
    ['reason'],
  );
  readonly codecSlow = this.counter(
    'codec_slow_calls_total',
    "Calls of operators' codec modules by limit: slow (10 ms), refused (50 ms)",
    ['limit'],
  );
  readonly transformBytes = this.gauge(
    'transform_bytes',
    'Bytes of rules from metadata (TRANSFORM_FROM_META), estimated',
  );
  readonly transformRefused = this.counter(
    'transform_refused_total',
    'Metadata whose rules are not applied by reason: illegal, full (the bound over all devices)',
    ['reason'],
  );
  readonly ingestUnacknowledged = this.gauge(
    'ingest_unacknowledged_messages',
    'QoS 1 device messages that are not acknowledged to the broker yet',
  );
  readonly ingestOldest = this.gauge(
    'ingest_lag_seconds',
    'Age of the oldest device message that was read and is not acknowledged to the broker yet; what waits at the broker is in sluice_ingest_backlog_seconds',
  );
  readonly ingestBacklog = this.gauge(
    'ingest_backlog_seconds',
    'Time that a device message waits at the broker until it is stored, by markers through the same queue; on instances that read',
  );
  readonly mqttConnected = this.gauge('mqtt_connected', '1 while the connection to the broker stands');
  readonly mqttReconnects = this.counter('mqtt_reconnects_total', 'Lost connections to the broker');
  readonly upstreamUp = this.gauge('mqtt_upstream_up', '1 while device messages can reach this instance');

  readonly deliveries = this.counter(
    'delivery_messages_total',
    'Messages written to connections by lane: telemetry, control',
    ['lane'],
  );
  readonly deliveryBytes = this.counter('delivery_bytes_total', 'Bytes of frames written to connections');
  readonly deliveryDue = this.counter(
    'delivery_due_total',
    'Publications times live subscriptions: delivered + conflated + filtered + dropped + queued',
  );
  readonly conflated = this.counter(
    'delivery_conflated_total',
    'Publications of a subscription replaced by a newer one or merged into a window',
  );
  readonly filtered = this.counter(
    'delivery_filtered_total',
    'Publications without any of the fields a subscription asked for',
  );
  readonly aggregateBytes = this.gauge(
    'delivery_aggregate_bytes',
    'Bytes that the open windows of aggregate hold, estimated',
  );
  readonly aggregateLeftOut = this.counter(
    'delivery_aggregate_left_out_total',
    'Values left out of aggregated payloads by reason: members, bytes, depth',
    ['reason'],
  );
  readonly dropped = this.counter(
    'delivery_dropped_total',
    'Messages due to a connection and not sent, by reason: slow, closed, unsubscribed, resync, history_trimmed, failed',
    ['reason'],
  );
  readonly queueBytes = this.gauge('delivery_queue_bytes', 'Bytes waiting for slow connections');
  readonly queueMessages = this.gauge('delivery_queue_messages', 'Messages waiting for slow connections');
  readonly eased = this.counter(
    'delivery_eased_total',
    'Times a connection that stalled again and again got a longer interval for mode latest',
  );
  readonly slowConsumers = this.counter('delivery_slow_consumers_total', 'Connections closed with 4008');
  readonly broadcastDuration = this.histogram(
    'delivery_broadcast_duration_seconds',
    'Time to hand one publication to all local subscriptions; some fifty a second are observed',
    BROADCAST_BUCKETS_S,
  );
  readonly latency = this.histogram(
    'delivery_latency_seconds',
    'Time from receipt of a device message to the write to its sockets; some fifty a second are observed',
    LATENCY_BUCKETS_S,
  );

  /** Traces of deliveries, for the scrapers that take them. */
  private readonly latencyExemplars = new Exemplars(`${PREFIX}delivery_latency_seconds`, LATENCY_BUCKETS_S);
  readonly roundTrip = this.histogram(
    'client_round_trip_seconds',
    'Round trip of the heartbeat to clients',
    REPLY_BUCKETS_S,
  );
  readonly redisCall = this.histogram(
    'redis_call_seconds',
    'Time of a script call that stores publications, from its sending to its answer',
    LATENCY_BUCKETS_S,
  );
  readonly deviceTimeAge = this.histogram(
    'device_time_age_seconds',
    'Age of what a device says when it is received, by its own `ts`, where the topic or the layout has one: status messages of devices that are online',
    AGE_BUCKETS_S,
  );

  readonly clientMessages = this.counter(
    'client_messages_total',
    'Messages of clients by type and outcome (ok or an error code)',
    ['type', 'outcome'],
  );
  readonly commands = this.counter(
    'commands_total',
    'Commands by outcome: sent, undelivered, repeated (a key that was published before), forbidden, unavailable, too_large, invalid, rate_limited, too_many, key_conflict, keys_unavailable',
    ['outcome'],
  );
  readonly commandResults = this.counter(
    'command_results_total',
    'Ends of commands that somebody waited for by outcome: replied, timeout, abandoned (the connection ended first)',
    ['outcome'],
  );
  readonly commandReplies = this.counter(
    'command_replies_total',
    'Answers of devices by outcome: replied, late (the first had come, or nobody waited any longer), unasked, not_json, too_deep, too_large',
    ['outcome'],
  );
  readonly commandReplyDuration = this.histogram(
    'command_reply_seconds',
    'Time from the publication of a command to the answer of its device',
    REPLY_BUCKETS_S,
  );
  readonly commandsWaiting = this.gauge('commands_waiting', 'Commands that wait for the answer of a device');
  readonly commandKeys = this.gauge('command_keys', 'Keys of commands that this instance keeps');

  readonly redisConnected = this.gauge(
    'redis_connected',
    '1 while Redis answers; 0 also where none is configured',
  );
  readonly redisDegraded = this.gauge(
    'redis_degraded',
    '1 while this instance serves its rooms without Redis',
  );
  readonly redisPending = this.gauge(
    'redis_pending_operations',
    'Publications and state changes on their way to Redis; ingest is told to wait at 8192',
  );
  readonly redisReadsWaiting = this.gauge(
    'redis_reads_waiting',
    'Rooms whose history, for clients that resume, waits for its turn at Redis',
  );
  readonly redisReadLimit = this.gauge(
    'redis_read_limit',
    'Rooms whose history may be read at once, by how quickly Redis answers (4 to 256)',
  );
  readonly redisBatches = this.counter('redis_batches_total', 'Script calls that stored publications');
  readonly redisBatchBytes = this.counter('redis_batch_bytes_total', 'Bytes of those script calls');
  readonly redisConnectionsLost = this.counter(
    'redis_connections_lost_total',
    'Connections to Redis that ended, were refused or were replaced, by connection: commands, subscriber',
    ['connection'],
  );
  readonly redisGaps = this.counter(
    'redis_gaps_total',
    'Publications that did not arrive through their channel, by outcome: filled from history, reset by a snapshot',
    ['outcome'],
  );
  readonly redisUnreadable = this.counter(
    'redis_unreadable_messages_total',
    'Messages in a format of a newer release that this one cannot read',
  );
  readonly redisFenced = this.counter(
    'redis_fenced_total',
    'Batches refused because a newer ingest holder has taken over',
  );
  readonly redisModeChanges = this.counter(
    'redis_mode_changes_total',
    'Changes between rooms in Redis and rooms in this process, by new mode: store, local',
    ['mode'],
  );
  readonly apiRequests = this.counter(
    'api_requests_total',
    'Requests of the server API by operation (none: refused before one was found) and HTTP status',
    ['operation', 'status'],
  );
  readonly apiRequestsOpen = this.gauge(
    'api_requests_open',
    'Requests of the server API that are being answered',
  );
  readonly tracesActive = this.gauge(
    'traces_active',
    'Devices and users that are traced at run time (LOG_TRACE_DEVICES aside)',
  );
  readonly traceLinesLeftOut = this.counter(
    'trace_lines_left_out_total',
    'Lines of traces at run time that were not written, since too many came in a second',
  );
  readonly instances = this.gauge('instances', 'Live instances that this one knows, itself included');
  readonly instanceMessages = this.counter(
    'instance_messages_total',
    'Messages between instances by outcome: sent, failed (Redis away), received, refused (a bound), unreadable',
    ['outcome'],
  );
  readonly leaseHeld = this.gauge(
    'ingest_lease_held',
    '1 on instances that read device topics in leased mode: one, or with INGEST_SHARDS each that reads a shard',
  );
  readonly ingestShardHeld = this.gauge(
    'ingest_shard_held',
    '1 on the instance that reads the shard of the device topics (INGEST_SHARDS; shard 0 is all of them without)',
    ['shard'],
  );
  readonly ingestShardBacklog = this.gauge(
    'ingest_shard_backlog_seconds',
    'What a message of the shard waits at the broker until this instance has stored it; 0 where it does not read the shard',
    ['shard'],
  );
  readonly takeovers = this.counter(
    'ingest_takeovers_total',
    'Changes of who reads at the broker, by what: lease (this instance has taken it), slot (it reads what is left of a member that is gone), session (another connection took the name of ours)',
    ['what'],
  );
  readonly awayFilters = this.gauge(
    'ingest_away_filters',
    'Topic filters that this instance has while Redis is away, by scope: watched (of the devices that somebody watches here), fleet (of all)',
    ['scope'],
  );
  readonly ingestConflict = this.gauge(
    'ingest_conflict',
    '1 while instances with another Redis, another deployment in the same group or another MQTT_INGEST read under our names at the broker, so that this one does not begin to',
  );
  readonly draining = this.gauge('draining', '1 from SIGTERM on');
  readonly containedErrors = this.counter(
    'contained_errors_total',
    'Unforeseen errors that ended one connection, device message, timer or callback, by where: '.concat(
      WALLS.join(', '),
    ),
    ['where'],
  );
  constructor() {
    beginAll(this);
    addProcessMetrics(this.registry, PREFIX);
    const hot = this.hot;
    mirrorGauge(this.connectionsOpen, () => hot.connectionsOpen);
    mirrorGauge(this.connectionsPending, () => hot.connectionsPending);
    mirror(this.deliveryBytes, () => hot.bytes);
    mirror(this.deliveryDue, () => hot.due);
    mirror(this.conflated, () => hot.conflated);
    mirror(this.filtered, () => hot.filtered);
    mirrorGauge(this.aggregateBytes, () => hot.aggregateBytes);
    this.keeps('delivery_groups', () => hot.deliveryGroups);
    this.keeps('top', () => this.top.size);
    Object.assign(this.kept, {
      collect: () => this.keepers.forEach((read, what) => this.kept.set({ what }, read())),
    });
    mirrorByLabel(this.aggregateLeftOut, 'reason', {
      members: () => hot.aggregateLeftOut.members,
      bytes: () => hot.aggregateLeftOut.bytes,
      depth: () => hot.aggregateLeftOut.depth,
    });
    mirrorByLabel(this.deliveries, 'lane', {
      telemetry: () => hot.delivered,
      control: () => hot.control,
    });
    mirrorByLabel(this.dropped, 'reason', { failed: () => hot.failed });
    const before = new Map(WALLS.map((wall) => [wall, containedErrors(wall)]));
    mirrorByLabel(
      this.containedErrors,
      'where',
      Object.fromEntries(
        WALLS.map((wall) => [wall, () => containedErrors(wall) - (before.get(wall) as number)]),
      ),
    );
    mirrorByLabel(this.connections, 'outcome', { accepted: () => hot.accepted });
    mirrorByLabel(this.auth, 'outcome', {
      verified: () => hot.tokensVerified,
      cached: () => hot.tokensCached,
    });
  }

  private counter(name: string, help: string, labelNames: string[] = []): Counter {
    return new Counter({ name: PREFIX + name, help, labelNames, registers: [this.registry] });
  }

  /** @param traceparent of a delivery that is traced */
  observeLatency(seconds: number, traceparent: string | undefined): void {
    this.latency.observe(seconds);
    if (traceparent !== undefined) {
      this.latencyExemplars.note(seconds, traceparent);
    }
  }

  async openMetricsText(): Promise<string> {
    return toOpenMetrics(await this.registry.metrics(), [this.latencyExemplars]);
  }

  /** Registers what reads `sluice_kept` of one `what`; only one part of the program registers each. */
  keeps(what: Kept, read: () => number): void {
    this.keepers.set(what, read);
  }

  private gauge(name: string, help: string, labelNames: string[] = []): Gauge {
    return new Gauge({ name: PREFIX + name, help, labelNames, registers: [this.registry] });
  }

  private histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name: PREFIX + name, help, buckets, registers: [this.registry] });
  }
}
