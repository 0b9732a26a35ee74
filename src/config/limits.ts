import { int } from './setting.js';

const KIB = 1024;
const MIB = 1024 * KIB;
const HOUR_S = 3600;

/** Limits and intervals: every bound of the service, by area, with the reason for its default. */
export const amountSettings = {
  ws: {
    maxPayloadBytes: int(
      'WS_MAX_PAYLOAD_BYTES',
      64 * KIB,
      [KIB, 16 * MIB],
      'Largest client message; a larger one closes the connection with 1009',
    ),
    authTimeoutMs: int(
      'WS_AUTH_TIMEOUT_MS',
      5_000,
      [100, 60_000],
      'Time a connection has to send its token as the first message',
    ),
    heartbeatMs: int(
      'WS_HEARTBEAT_MS',
      30_000,
      [100, 600_000],
      'Interval of the server ping; a connection without a pong by the next one is ended',
    ),
    closeTimeoutMs: int(
      'WS_CLOSE_TIMEOUT_MS',
      5_000,
      [100, 60_000],
      'Time a client has to answer a close frame before the TCP connection is ended',
    ),
    maxConnections: int(
      'WS_MAX_CONNECTIONS',
      50_000,
      [1, 10_000_000],
      'Connections of this instance; more are refused with HTTP 503',
    ),
    maxConnectionsPerAddress: int(
      'WS_MAX_CONNECTIONS_PER_ADDRESS',
      20_000,
      [1, 10_000_000],
      'Connections from one client address; generous, since offices and mobile networks share addresses',
    ),
    maxConnectionsPerSecond: int(
      'WS_MAX_CONNECTIONS_PER_SECOND',
      1_000,
      [1, 1_000_000],
      'New connections a second (bursts of twice that); more are told to come back by HTTP 503 with Retry-After',
    ),
    maxPendingConnections: int(
      'WS_MAX_PENDING_CONNECTIONS',
      2_000,
      [1, 1_000_000],
      'Connections that have not sent a token yet; more are refused with HTTP 503',
    ),
    maxConnectionsPerUser: int(
      'WS_MAX_CONNECTIONS_PER_USER',
      100,
      [1, 1_000_000],
      'Connections of one user; one more is closed with 4009',
    ),
    maxRoomsPerConnection: int(
      'WS_MAX_ROOMS_PER_CONNECTION',
      5_000,
      [1, 1_000_000],
      'Devices one connection may watch by id; more are answered too_many_rooms',
    ),
    maxPatternsPerConnection: int(
      'WS_MAX_PATTERNS_PER_CONNECTION',
      100,
      [0, 10_000],
      'Pattern subscriptions of one connection; more are answered too_many_rooms',
    ),
    maxPatternRoomsPerConnection: int(
      'WS_MAX_PATTERN_ROOMS_PER_CONNECTION',
      100_000,
      [1, 10_000_000],
      'Devices one connection may watch when patterns stand for them; about 300 bytes each',
    ),
    maxMessagesPerSecond: int(
      'WS_MAX_MESSAGES_PER_SECOND',
      100,
      [1, 1_000_000],
      'Client messages a second, sustained',
    ),
    maxMessageBurst: int(
      'WS_MAX_MESSAGE_BURST',
      200,
      [1, 1_000_000],
      'Client messages at once before rate_limited',
    ),
    maxRefusedMessages: int(
      'WS_MAX_REFUSED_MESSAGES',
      100,
      [1, 1_000_000],
      'rate_limited answers a connection gets within 10 s; one more closes it with 1008',
    ),
    maxInFlight: int(
      'WS_MAX_IN_FLIGHT',
      64,
      [1, 10_000],
      'Client messages of one connection in work at once; reading pauses above it',
    ),
    queueMaxBytes: int(
      'WS_QUEUE_MAX_BYTES',
      MIB,
      [64 * KIB, 1024 * MIB],
      'Bytes of telemetry waiting for one slow connection; over it mode every is closed with 4008',
    ),
    queueMaxMessages: int(
      'WS_QUEUE_MAX_MESSAGES',
      8_192,
      [16, 10_000_000],
      'Telemetry messages waiting for one slow connection; over it mode every is closed with 4008',
    ),
    controlQueueMaxBytes: int(
      'WS_CONTROL_QUEUE_MAX_BYTES',
      MIB,
      [64 * KIB, 1024 * MIB],
      'Bytes of status, metadata, replies and errors waiting for one connection; over it 4008 in any mode',
    ),
    controlQueueMaxMessages: int(
      'WS_CONTROL_QUEUE_MAX_MESSAGES',
      8_192,
      [16, 10_000_000],
      'Status, metadata, replies and errors waiting for one connection; over it 4008 in any mode',
    ),
    snapshotFrameMaxBytes: int(
      'WS_SNAPSHOT_FRAME_MAX_BYTES',
      256 * KIB,
      [KIB, 256 * KIB],
      'Size at which a snapshot is split into a further frame',
    ),
  },
  auth: {
    clockToleranceS: int(
      'JWT_CLOCK_TOLERANCE_S',
      5,
      [0, 600],
      'Seconds by which clocks may differ when `exp` and `nbf` are checked',
    ),
    tokenCacheMax: int(
      'JWT_CACHE_MAX_TOKENS',
      20_000,
      [0, 1_000_000],
      'Verified tokens kept until they expire, so that a storm of reconnects does not verify again',
    ),
    tokenCacheMaxBytes: int(
      'JWT_CACHE_MAX_BYTES',
      64 * MIB,
      [0, 16 * 1024 * MIB],
      'Estimated memory of the verified tokens kept; large tokens reach it before their count does',
    ),
    jwksCacheMaxAgeMs: int(
      'JWT_JWKS_MAX_AGE_MS',
      600_000,
      [1_000, 86_400_000],
      'Age at which a JWKS is fetched again; the old keys stay valid while its server is away',
    ),
    jwksCooldownMs: int(
      'JWT_JWKS_COOLDOWN_MS',
      10_000,
      [100, 3_600_000],
      'Least time between two fetches that unknown key ids ask for',
    ),
    jwksTimeoutMs: int('JWT_JWKS_TIMEOUT_MS', 5_000, [100, 60_000], 'Time the JWKS server has to answer'),
  },
  mqtt: {
    maxPayloadBytes: int(
      'MQTT_MAX_PAYLOAD_BYTES',
      256 * KIB,
      [1, 16 * MIB],
      'Largest device payload; larger ones are counted and dropped',
    ),
    keepaliveS: int(
      'MQTT_KEEPALIVE_S',
      15,
      [1, 3_600],
      'Keep-alive towards the broker: a dead connection is noticed after at most 1.5 times this',
    ),
    connectTimeoutMs: int(
      'MQTT_CONNECT_TIMEOUT_MS',
      5_000,
      [100, 120_000],
      'Time the broker has to answer CONNECT',
    ),
    reconnectMinMs: int(
      'MQTT_RECONNECT_MIN_MS',
      200,
      [10, 60_000],
      'First wait before a reconnect; doubles with jitter',
    ),
    reconnectMaxMs: int('MQTT_RECONNECT_MAX_MS', 5_000, [10, 600_000], 'Longest wait before a reconnect'),
    receiveMaximum: int(
      'MQTT_RECEIVE_MAXIMUM',
      65_535,
      [1, 65_535],
      'QoS 1 messages the broker may have in flight to this instance before it waits for PUBACK (MQTT 5). What is over it waits in the queue of the broker, which drops when that is full: Mosquitto keeps 1 000 by default, so the window is as large as MQTT allows',
    ),
    sessionExpiryS: int(
      'MQTT_SESSION_EXPIRY_S',
      HOUR_S,
      [1, 4_294_967_294],
      'Time the broker keeps the ingest session (and what it queues) of a deployment that is away',
    ),
  },
  commands: {
    maxPayloadBytes: int(
      'COMMAND_MAX_PAYLOAD_BYTES',
      32 * KIB,
      [1, 16 * MIB],
      'Largest command; a larger one is answered payload_too_large',
    ),
    timeoutMs: int(
      'COMMAND_TIMEOUT_MS',
      5_000,
      [100, 60_000],
      'Time the broker has to acknowledge a command before the client hears broker_unavailable',
    ),
    expiryS: int(
      'COMMAND_EXPIRY_S',
      10,
      [1, 3_600],
      'Message Expiry Interval of a command (MQTT 5): older ones never reach the machine',
    ),
    outboxMax: int(
      'COMMAND_OUTBOX_MAX',
      1_000,
      [1, 65_535],
      'Commands of this instance that wait for PUBACK; more are answered broker_unavailable',
    ),
  },
  rooms: {
    historyMaxPublications: int(
      'HISTORY_MAX_PUBLICATIONS',
      1_000,
      [0, 1_000_000],
      'Publications kept for resume per device; whichever of count, age and bytes is reached first',
    ),
    historyMaxAgeMs: int(
      'HISTORY_MAX_AGE_MS',
      60_000,
      [0, 86_400_000],
      'Age of the oldest publication kept for resume',
    ),
    historyMaxBytes: int(
      'HISTORY_MAX_BYTES',
      MIB,
      [0, 1024 * MIB],
      'Bytes of publications kept for resume per device',
    ),
    historyTotalMaxBytes: int(
      'HISTORY_TOTAL_MAX_BYTES',
      512 * MIB,
      [0, 64 * 1024 * MIB],
      'Bytes of history over all devices in memory mode; over it the oldest history of other devices is dropped and counted',
    ),
    historyPageMaxPublications: int(
      'HISTORY_PAGE_MAX_PUBLICATIONS',
      256,
      [1, 10_000],
      'Publications read at once while a client resumes; bounds what a resume holds in memory',
    ),
    maxDevices: int(
      'MAX_DEVICES',
      200_000,
      [1, 10_000_000],
      'Devices whose last state is kept; beyond it messages of new devices are counted and dropped',
    ),
    deviceExpiryS: int(
      'DEVICE_EXPIRY_S',
      7 * 24 * HOUR_S,
      [10, 10 * 365 * 24 * HOUR_S],
      'Silence after which a device nobody watches is forgotten',
    ),
  },
  redis: {
    partitions: int(
      'REDIS_PARTITIONS',
      16,
      [1, 1_024],
      'Partitions of the rooms, each one hash slot on Redis Cluster; the same on all instances',
    ),
    timeoutMs: int(
      'REDIS_TIMEOUT_MS',
      1_000,
      [100, 60_000],
      'Silence of Redis after which an instance serves its rooms from the broker',
    ),
    probeMs: int(
      'REDIS_PROBE_MS',
      2_000,
      [100, 60_000],
      'Interval of the probe through the subscriber connection that finds half-open ones',
    ),
    batchMaxPublications: int(
      'REDIS_BATCH_MAX_PUBLICATIONS',
      128,
      [1, 10_000],
      'Publications in one script call; measured best between 20 and 128',
    ),
    maxPendingPublications: int(
      'REDIS_MAX_PENDING_PUBLICATIONS',
      8_192,
      [16, 1_000_000],
      'Publications under way to Redis before ingest waits',
    ),
    leaseMs: int(
      'REDIS_LEASE_MS',
      1_500,
      [300, 60_000],
      'Life of the ingest lease without renewal: the longest takeover when the will does not tell',
    ),
    presenceExpiryMs: int(
      'REDIS_PRESENCE_EXPIRY_MS',
      15_000,
      [1_000, 600_000],
      'Time after which the entries of a killed instance are gone',
    ),
  },
  health: {
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
  },
  drain: {
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
  },
};
