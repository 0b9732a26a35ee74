import { graph, text } from './panel.js';
import { max, min, quantile, rate, select, sum } from './queries.js';

/**
 * What the dashboard shows: rows from top to bottom, panels from left to right.
 *
 * @type {Record<string, ReturnType<typeof graph>[]>}
 */
export const rows = {
  Now: [
    graph('Connections', 'short', [[sum(select('sluice_connections_open')), '']], { type: 'stat', width: 4 }),
    graph('Rooms', 'short', [[sum(select('sluice_rooms_open')), '']], { type: 'stat', width: 4 }),
    graph(
      'Device messages',
      'mps',
      [[sum(rate('sluice_ingest_messages_total', ',outcome="accepted"')), '']],
      {
        type: 'stat',
        width: 4,
      },
    ),
    graph('Deliveries', 'mps', [[sum(rate('sluice_delivery_messages_total', ',lane="telemetry"')), '']], {
      type: 'stat',
      width: 4,
    }),
    graph('Instances with the broker', 'short', [[sum(select('sluice_mqtt_connected')), '']], {
      type: 'stat',
      width: 4,
    }),
    graph('Instances without Redis', 'short', [[sum(select('sluice_redis_degraded')), '']], {
      type: 'stat',
      width: 4,
      red: 1,
    }),
  ],
  Promises: [
    ...['freshness', 'connect', 'latency', 'commands'].map((slo) =>
      graph(
        `Errors of ${slo}, as many times too fast as allowed`,
        'short',
        ['1h', '6h', '3d'].map((window) => [
          max(select(`sluice:slo_burn:${window}`, `,slo="${slo}"`)),
          window,
        ]),
        { width: 6, red: 1 },
      ),
    ),
  ],
  'Who is slow': [
    text('Who, by the top lists of the server API', [
      '`alias sluice="kubectl exec deployment/sluice -- node dist/cli.js"`; ids are in no metric.',
      '',
      '- `sluice top connections --by queuedBytes`: for whom most waits; `--by skipped`, `--by bytes`',
      '- `sluice top devices`: who sends most; `--by bytes`',
      '- `sluice top refused`: who is refused, and why; `--kind devices|tokens|origins|addresses`',
      '- `sluice instances`: versions, who reads, who has Redis',
    ]),
    graph('Round trip to clients', 's', [
      [quantile(0.5, 'sluice_client_round_trip_seconds'), 'p50'],
      [quantile(0.99, 'sluice_client_round_trip_seconds'), 'p99'],
    ]),
    graph('Time in Redis, p99', 's', [[quantile(0.99, 'sluice_redis_call_seconds'), 'p99']]),
    graph('Age of what devices say, by their clocks', 's', [
      [quantile(0.5, 'sluice_device_time_age_seconds'), 'p50'],
      [quantile(0.99, 'sluice_device_time_age_seconds'), 'p99'],
    ]),
    graph('Bytes that wait, by instance', 'bytes', [
      [`topk(5, ${sum(select('sluice_delivery_queue_bytes'), 'instance')})`, '{{instance}}'],
    ]),
    graph('Latency by instance, p99', 's', [
      [
        `topk(5, histogram_quantile(0.99, ${sum(rate('sluice_delivery_latency_seconds_bucket'), 'instance, le')}))`,
        '{{instance}}',
      ],
    ]),
  ],
  Connections: [
    graph('Open connections per instance', 'short', [
      [sum(select('sluice_connections_open'), 'instance'), '{{instance}}'],
      [sum(select('sluice_connections_pending')), 'without a token yet'],
    ]),
    graph('Churn: attempts by outcome', 'cps', [
      [sum(rate('sluice_connections_total'), 'outcome'), '{{outcome}}'],
      [sum(rate('sluice_sockets_refused_total'), 'reason'), 'before admission: {{reason}}'],
    ]),
    graph('Attempts waiting in line', 'short', [
      [sum(select('sluice_connections_waiting'), 'instance'), '{{instance}}'],
    ]),
    graph('Churn: closed, by code', 'cps', [
      [sum(rate('sluice_connections_closed_total'), 'code'), '{{code}}'],
    ]),
    graph('Rooms and subscriptions', 'short', [
      [sum(select('sluice_rooms_open')), 'rooms'],
      [sum(select('sluice_subscriptions_open')), 'subscriptions'],
      [max(select('sluice_devices_known')), 'devices known'],
    ]),
    graph('Token checks by outcome', 'ops', [
      [sum(rate('sluice_auth_tokens_total'), 'outcome'), '{{outcome}}'],
    ]),
    graph('Client messages by outcome', 'mps', [
      [sum(rate('sluice_client_messages_total'), 'type, outcome'), '{{type}} {{outcome}}'],
    ]),
  ],
  'Ingest and delivery': [
    graph('Device messages by kind and outcome', 'mps', [
      [sum(rate('sluice_ingest_messages_total'), 'layout, kind, outcome'), '{{layout}} {{kind}} {{outcome}}'],
    ]),
    graph('Deliveries by lane', 'mps', [
      [sum(rate('sluice_delivery_messages_total'), 'lane'), '{{lane}}'],
      [sum(rate('sluice_delivery_due_total')), 'due (publications times subscriptions)'],
    ]),
    graph('Bytes to clients', 'Bps', [
      [sum(rate('sluice_delivery_bytes_total'), 'instance'), '{{instance}}'],
    ]),
    graph('Latency from receipt to socket', 's', [
      [quantile(0.5, 'sluice_delivery_latency_seconds'), 'p50'],
      [quantile(0.99, 'sluice_delivery_latency_seconds'), 'p99'],
      [quantile(0.999, 'sluice_delivery_latency_seconds'), 'p99.9'],
    ]),
    graph('Latency heat map', 's', [[sum(rate('sluice_delivery_latency_seconds_bucket'), 'le'), '{{le}}']], {
      type: 'heatmap',
    }),
    graph('Freshness: wait at the broker, and age of what is in work', 's', [
      [max(select('sluice_ingest_backlog_seconds'), 'instance'), 'at the broker, {{instance}}'],
      [max(select('sluice_ingest_lag_seconds'), 'instance'), 'in work, {{instance}}'],
    ]),
    graph('Not yet acknowledged to the broker', 'short', [
      [sum(select('sluice_ingest_unacknowledged_messages'), 'instance'), '{{instance}}'],
    ]),
    graph('Time to hand out one publication', 's', [
      [quantile(0.5, 'sluice_delivery_broadcast_duration_seconds'), 'p50'],
      [quantile(0.99, 'sluice_delivery_broadcast_duration_seconds'), 'p99'],
    ]),
  ],
  'Slow clients and loss': [
    graph('Queue bytes', 'bytes', [[sum(select('sluice_delivery_queue_bytes'), 'instance'), '{{instance}}']]),
    graph('Queue messages', 'short', [
      [sum(select('sluice_delivery_queue_messages'), 'instance'), '{{instance}}'],
    ]),
    graph('Conflated and filtered', 'mps', [
      [sum(rate('sluice_delivery_conflated_total')), 'conflated'],
      [sum(rate('sluice_delivery_filtered_total')), 'filtered'],
    ]),
    graph('Drops by reason', 'mps', [
      [sum(rate('sluice_delivery_dropped_total'), 'reason'), '{{reason}}'],
      [sum(rate('sluice_history_evicted_total')), 'history evicted'],
    ]),
    graph('Left out of aggregates by reason', 'ops', [
      [sum(rate('sluice_delivery_aggregate_left_out_total'), 'reason'), '{{reason}}'],
    ]),
    graph('Rules of metadata refused by reason', 'ops', [
      [sum(rate('sluice_transform_refused_total'), 'reason'), '{{reason}}'],
    ]),
    graph('States of fields: devices, messages that wait for them, forgotten by reason', 'short', [
      [sum(select('sluice_field_states'), 'instance'), '{{instance}}'],
      [sum(select('sluice_field_readings_waiting'), 'instance'), 'waiting {{instance}}'],
      [sum(rate('sluice_field_states_forgotten_total'), 'reason'), 'forgotten: {{reason}}'],
    ]),
    graph('Edge nodes of Sparkplug', 'short', [
      [sum(select('sluice_sparkplug_nodes'), 'instance'), '{{instance}}'],
      [sum(select('sluice_sparkplug_held_messages')), 'messages that wait'],
      [sum(select('sluice_sparkplug_rebirth_requests_waiting')), 'to be asked for a rebirth'],
    ]),
    graph('Sparkplug: gaps, rebirths, values left out', 'ops', [
      [sum(rate('sluice_sparkplug_gaps_total')), 'gaps'],
      [sum(rate('sluice_sparkplug_rebirth_requests_total')), 'rebirth requests'],
      [sum(rate('sluice_sparkplug_values_dropped_total'), 'reason'), '{{reason}}'],
      [sum(rate('sluice_codec_slow_calls_total'), 'limit'), 'codec modules: {{limit}}'],
    ]),
    graph('Bytes of what Sparkplug births said', 'bytes', [
      [sum(select('sluice_sparkplug_metric_bytes'), 'instance'), '{{instance}}'],
    ]),
    graph('Silence: devices watched, made offline, messages of others', 'short', [
      [sum(select('sluice_silence_watched_devices'), 'instance'), 'watched {{instance}}'],
      [sum(rate('sluice_silence_offline_total')), 'made offline'],
      [sum(rate('sluice_silence_unwatched_total')), 'not watched'],
    ]),
    graph('Slow connections: eased, closed (4008)', 'cps', [
      [sum(rate('sluice_delivery_eased_total')), 'eased'],
      [sum(rate('sluice_delivery_slow_consumers_total'), 'instance'), 'closed {{instance}}'],
    ]),
    graph('Commands by outcome', 'ops', [[sum(rate('sluice_commands_total'), 'outcome'), '{{outcome}}']]),
    graph('Commands that were waited for, by end', 'ops', [
      [sum(rate('sluice_command_results_total'), 'outcome'), '{{outcome}}'],
    ]),
    graph('Answers of devices by outcome', 'ops', [
      [sum(rate('sluice_command_replies_total'), 'outcome'), '{{outcome}}'],
    ]),
    graph('Time to the answer of a device', 's', [
      [quantile(0.5, 'sluice_command_reply_seconds'), 'p50'],
      [quantile(0.99, 'sluice_command_reply_seconds'), 'p99'],
    ]),
    graph('Commands that wait, and keys', 'short', [
      [sum(select('sluice_commands_waiting')), 'wait'],
      [sum(select('sluice_command_keys')), 'keys'],
    ]),
  ],
  Rollouts: [
    graph('Versions', 'short', [
      [`count by (version, node) (${select('sluice_build_info')})`, '{{version}}, Node.js {{node}}'],
      [`sum (changes(${select('process_start_time_seconds')}[$__rate_interval]))`, 'restarts'],
    ]),
    graph('Draining', 'bool_on_off', [[select('sluice_draining'), '{{instance}}']], { max: 1 }),
    graph('Takeovers of readers', 'short', [
      [`sum by (what) (increase(${select('sluice_ingest_takeovers_total')}[$__rate_interval]))`, '{{what}}'],
    ]),
    graph('Closed to come back elsewhere (1012), and let in', 'cps', [
      [sum(rate('sluice_connections_closed_total', ',code="1012"')), 'closed with 1012'],
      [sum(rate('sluice_connections_total', ',outcome="accepted"')), 'let in'],
    ]),
  ],
  'Redis and broker, keys': [
    graph('Connection to the broker', 'bool_on_off', [[select('sluice_mqtt_connected'), '{{instance}}']], {
      width: 6,
      max: 1,
    }),
    graph(
      'Device messages can arrive',
      'bool_on_off',
      [[select('sluice_mqtt_upstream_up'), '{{instance}}']],
      { width: 6, max: 1 },
    ),
    graph(
      'Redis',
      'bool_on_off',
      [
        [select('sluice_redis_connected'), 'connected {{instance}}'],
        [select('sluice_redis_degraded'), 'degraded {{instance}}'],
      ],
      { width: 6, max: 1 },
    ),
    graph(
      'Reader of the device topics',
      'bool_on_off',
      [
        [select('sluice_ingest_lease_held'), '{{instance}}'],
        [select('sluice_ingest_conflict'), 'kept from reading: {{instance}}'],
      ],
      { width: 6, max: 1 },
    ),
    graph('Readers of shards, and what waits for each', 'short', [
      [sum(select('sluice_ingest_shard_held'), 'shard, instance'), 'shard {{shard}} by {{instance}}'],
      [max(select('sluice_ingest_shard_backlog_seconds'), 'shard'), 'seconds that {{shard}} waits'],
    ]),
    graph('Lost connections to the broker', 'short', [
      [
        `sum by (instance) (increase(${select('sluice_mqtt_reconnects_total')}[$__rate_interval]))`,
        '{{instance}}',
      ],
    ]),
    graph('Redis: reads of rooms that wait, and how many may be under way', 'short', [
      [sum(select('sluice_redis_reads_waiting'), 'instance'), 'wait {{instance}}'],
      [max(select('sluice_redis_read_limit'), 'instance'), 'limit {{instance}}'],
    ]),
    graph('Topics read for itself while Redis is away', 'short', [
      [sum(select('sluice_ingest_away_filters'), 'instance'), '{{instance}}'],
    ]),
    graph('Redis: publications under way', 'short', [
      [sum(select('sluice_redis_pending_operations'), 'instance'), '{{instance}}'],
    ]),
    graph('Redis: batches and bytes', 'ops', [
      [sum(rate('sluice_redis_batches_total')), 'batches'],
      [sum(rate('sluice_redis_batch_bytes_total')), 'bytes'],
    ]),
    graph('Redis: connections lost, gaps, unreadable, fenced', 'ops', [
      [sum(rate('sluice_redis_connections_lost_total')), 'connections lost'],
      [sum(rate('sluice_redis_gaps_total')), 'gaps'],
      [sum(rate('sluice_redis_unreadable_messages_total')), 'unreadable'],
      [sum(rate('sluice_redis_fenced_total')), 'fenced'],
    ]),
    graph('Redis: changes between store and broker', 'ops', [
      [sum(rate('sluice_redis_mode_changes_total'), 'instance'), '{{instance}}'],
    ]),
    graph('Server API: requests by status', 'ops', [
      [sum(rate('sluice_api_requests_total'), 'status'), '{{status}}'],
      [sum(select('sluice_api_requests_open'), 'instance'), 'being answered by {{instance}}'],
    ]),
    graph('Traces at run time', 'short', [
      [max(select('sluice_traces_active'), 'instance'), 'traced by {{instance}}'],
      [sum(rate('sluice_trace_lines_left_out_total')), 'lines left out a second'],
      [sum(select('sluice_trace_spans_waiting'), 'instance'), 'spans that wait on {{instance}}'],
      [sum(rate('sluice_trace_spans_dropped_total'), 'reason'), 'spans dropped a second: {{reason}}'],
    ]),
    graph('Messages between instances by outcome', 'ops', [
      [sum(rate('sluice_instance_messages_total'), 'outcome'), '{{outcome}}'],
      [max(select('sluice_instances'), 'instance'), 'instances that {{instance}} knows'],
    ]),
    graph('Age of the JWKS', 's', [
      [max(select('sluice_auth_jwks_age_seconds'), 'instance'), '{{instance}}'],
    ]),
    graph('JWKS fetches by outcome', 'ops', [
      [sum(rate('sluice_auth_jwks_fetches_total'), 'outcome'), '{{outcome}}'],
    ]),
    graph('Files read again by outcome', 'ops', [
      [sum(rate('sluice_file_reloads_total'), 'file, outcome'), '{{file}} {{outcome}}'],
    ]),
    graph('Certificates expire', 'dateTimeAsIso', [
      [`1000 * ${min(select('sluice_certificate_expires_seconds'), 'certificate')}`, '{{certificate}}'],
    ]),
    graph('Revocations', 'none', [
      [max(select('sluice_revocations')), 'held'],
      [max(select('sluice_revocations_pending')), 'not in Redis'],
      [sum(rate('sluice_revocations_refused_total')), 'refused a second'],
    ]),
  ],
  Process: [
    graph('Event-loop delay', 's', [
      [max(select('nodejs_eventloop_lag_p50_seconds'), 'instance'), 'p50 {{instance}}'],
      [max(select('nodejs_eventloop_lag_p99_seconds'), 'instance'), 'p99 {{instance}}'],
    ]),
    graph('CPU', 'percentunit', [[sum(rate('process_cpu_seconds_total'), 'instance'), '{{instance}}']]),
    graph(
      'Memory against limit',
      'percentunit',
      [
        [
          `${select('process_resident_memory_bytes')} / ${select('sluice_process_memory_limit_bytes')}`,
          '{{instance}}',
        ],
      ],
      { max: 1 },
    ),
    graph('Memory by kind', 'bytes', [
      [max(select('process_resident_memory_bytes')), 'resident'],
      [max(select('nodejs_heap_size_used_bytes')), 'heap in use'],
      [max(select('nodejs_external_memory_bytes')), 'external'],
      [max(select('sluice_history_bytes')), 'history'],
      [max(select('sluice_delivery_aggregate_bytes')), 'windows of aggregate'],
      [max(select('sluice_transform_bytes')), 'rules of metadata'],
      [max(select('sluice_field_state_bytes')), 'states of fields'],
      [max(select('sluice_process_memory_limit_bytes')), 'limit'],
    ]),
    graph('Kept up to a bound', 'short', [[max(select('sluice_kept'), 'what'), '{{what}}']]),
    graph('Unforeseen errors that ended one thing, by where', 'ops', [
      [sum(rate('sluice_contained_errors_total'), 'where'), '{{where}}'],
    ]),
  ],
};
