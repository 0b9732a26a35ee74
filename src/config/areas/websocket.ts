import { z } from 'zod';
import { constant, int, KIB, list, matching, MIB, oneOf, type ValuesOf } from '../setting.js';

const path = z.string().regex(/^\/[\w\-./]*$/, 'must be a path that starts with /');

/** Client connections: admission, what one of them may do, and what may wait for it. */
export const wsSettings = {
  path: matching('WS_PATH', '/ws', path, 'Path of the WebSocket upgrade; / is accepted too'),
  allowedOrigins: list(
    'WS_ALLOWED_ORIGINS',
    ({ production }) => (production ? [] : ['*']),
    'Comma list of exact origins whose pages may connect; * allows any',
    undefined,
    { defaultText: '* in development, required in production' },
  ),
  writes: oneOf(
    'WS_WRITES',
    ['direct', 'stream'],
    'direct',
    "How frames reach a connection: direct = to Node's TCP handle where nothing waits, less CPU with few messages a second; stream = always through Node's stream",
  ),
  maxPayloadBytes: int(
    'WS_MAX_PAYLOAD_BYTES',
    64 * KIB,
    [KIB, 16 * MIB],
    'Largest client message; a larger one closes the connection with 1009',
  ),
  heartbeatMs: int(
    'WS_HEARTBEAT_MS',
    30_000,
    [100, 600_000],
    'Interval of the server ping; a connection without a pong by the next one is ended',
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
    'New connections a second; more wait in line',
  ),
  admissionWaitMs: int(
    'WS_ADMISSION_WAIT_MS',
    8_000,
    [0, 60_000],
    'Longest wait in that line; who would wait longer is told to come back by HTTP 503 with Retry-After',
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
  queueMaxBytes: int(
    'WS_QUEUE_MAX_BYTES',
    MIB,
    [64 * KIB, 1024 * MIB],
    'Bytes of telemetry waiting for one slow connection; over it mode every is closed with 4008',
  ),
};

type WsValues = ValuesOf<typeof wsSettings>;

export const wsConstants = {
  /** Time a connection has to send its token as the first message; the contract says it. */
  authTimeoutMs: constant('WS_AUTH_TIMEOUT_MS', 5_000),
  /** Time a client has to answer a close frame before the TCP connection is ended; the contract says it. */
  closeTimeoutMs: constant('WS_CLOSE_TIMEOUT_MS', 5_000),
  /**
   * Connections that have not sent a token yet, as many as are let in within two seconds; beyond it the address that has most gives way
   * (1013), or is refused with HTTP 503.
   */
  maxPendingConnections: constant('WS_MAX_PENDING_CONNECTIONS', ({ maxConnectionsPerSecond }: WsValues) =>
    Math.max(2_000, 2 * maxConnectionsPerSecond),
  ),
  /** Pattern subscriptions of one connection, more are answered too_many_rooms: each is held against every new device. */
  maxPatternsPerConnection: constant('WS_MAX_PATTERNS_PER_CONNECTION', 100),
  /** Client messages at once before rate_limited: what a page sends as it opens. */
  maxMessageBurst: constant(
    'WS_MAX_MESSAGE_BURST',
    ({ maxMessagesPerSecond }: WsValues) => 2 * maxMessagesPerSecond,
  ),
  /** rate_limited answers a connection gets within 10 s; one more closes it with 1008. */
  maxRefusedMessages: constant('WS_MAX_REFUSED_MESSAGES', 100),
  /** Client messages of one connection in work at once; reading pauses above it, so that nobody notices but who floods. */
  maxInFlight: constant('WS_MAX_IN_FLIGHT', 64),
  /** Telemetry messages waiting for one slow connection: WS_QUEUE_MAX_BYTES is the bound that counts, unless they are under 128 bytes. */
  queueMaxMessages: constant('WS_QUEUE_MAX_MESSAGES', ({ queueMaxBytes }: WsValues) =>
    Math.max(8_192, Math.floor(queueMaxBytes / 128)),
  ),
  /** Bytes of status, metadata, replies and errors waiting for one connection; over it 4008 in any mode. */
  controlQueueMaxBytes: constant('WS_CONTROL_QUEUE_MAX_BYTES', MIB),
  /** Status, metadata, replies and errors waiting for one connection, as many as of telemetry; over it 4008 in any mode. */
  controlQueueMaxMessages: constant('WS_CONTROL_QUEUE_MAX_MESSAGES', 8_192),
  /** Size at which a snapshot is split into a further frame; the contract says that none is larger. */
  snapshotFrameMaxBytes: constant('WS_SNAPSHOT_FRAME_MAX_BYTES', 256 * KIB),
};
