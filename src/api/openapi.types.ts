// Written by `npm run api:docs` from openapi.json; do not edit by hand.

export type ClientOptions = {
  baseUrl: `${string}://${string}/api/v1` | (string & {});
};

/**
 * RFC 9457.
 */
export type Problem = {
  type: 'about:blank';
  title: string;
  status: number;
  /**
   * For programs; never changes its meaning.
   */
  code: string;
  /**
   * For people.
   */
  detail?: string;
  errors?: Array<{
    at: string;
    message: string;
  }>;
};

export type Traces = {
  deviceIds: Array<DeviceId>;
  userIds: Array<UserId>;
  /**
   * When they end by themselves (Unix ms)
   */
  until: number;
  /**
   * Redis is away: the other instances trace when it is back.
   */
  pending?: true;
  /**
   * Live instances that did not answer in time, and while Redis is away those that could not be asked: what they know is missing.
   */
  silent: Array<string>;
};

/**
 * `userId`, or `sub`, of tokens.
 */
export type UserId = string;

/**
 * As in the protocol: fits one level of a topic.
 */
export type DeviceId = string;

export type TraceRequest = {
  deviceIds?: Array<DeviceId>;
  userIds?: Array<UserId>;
  seconds: number;
};

export type InstanceList = {
  instances: Array<Instance>;
  /**
   * Live instances that did not answer in time, and while Redis is away those that could not be asked: what they know is missing.
   */
  silent: Array<string>;
};

export type Instance = {
  /**
   * Its host (in Kubernetes: its pod) and letters that are new with each start.
   */
  id: string;
  version: string;
  uptimeMs: number;
  /**
   * Open ones.
   */
  connections: number;
  /**
   * Devices that somebody watches there.
   */
  rooms: number;
  /**
   * It reads the device topics for all (`MQTT_INGEST=leased`), or with `INGEST_SHARDS` a part of them.
   */
  holdsLease: boolean;
  /**
   * Numbers of the shards that it reads (`MQTT_INGEST=leased`); 0 is all topics without `INGEST_SHARDS`.
   */
  shards?: Array<number>;
  /**
   * `ROLE`: what it does of reading and serving dashboards.
   */
  role?: 'all' | 'ingest' | 'edge';
  /**
   * Where rooms are: in this one process; in Redis; in this process while Redis is away.
   */
  store: 'memory' | 'store' | 'local';
  draining: boolean;
};

export type RevocationList = {
  /**
   * Oldest first.
   */
  revocations: Array<Revocation>;
  cursor?: string;
};

export type Revocation = {
  id: string;
  jti?: string;
  userId?: UserId;
  /**
   * Tokens issued before it (Unix ms)
   */
  issuedBefore?: number;
  /**
   * When it was made (Unix ms)
   */
  createdAt: number;
  /**
   * When it goes (Unix ms)
   */
  expiresAt?: number;
};

export type RevocationChange = {
  id: string;
  /**
   * It is in Redis, and survives restarts of all instances.
   */
  durable: boolean;
  /**
   * Redis is away: it holds on this instance, and on the others when Redis is back.
   */
  pending?: true;
};

/**
 * Either `jti`, or `userId` with or without `issuedBefore`.
 */
export type RevocationRequest = {
  jti?: string;
  userId?: UserId;
  /**
   * Tokens of the user whose `iat` is before it; without it, all issued until now. Those without `iat` are included (Unix ms)
   */
  issuedBefore?: number;
  /**
   * When the last of these tokens has expired: the revocation goes then. Without it, it stays until it is deleted (Unix ms)
   */
  expiresAt?: number;
};

export type TopRefused = {
  refused: Array<Refused>;
  /**
   * Live instances that did not answer in time, and while Redis is away those that could not be asked: what they know is missing.
   */
  silent: Array<string>;
};

export type Refused = {
  kind: 'devices' | 'tokens' | 'origins' | 'addresses';
  /**
   * Cut after 256 characters.
   */
  id: string;
  /**
   * How often, at least.
   */
  refused: number;
  /**
   * Of the last one: the `outcome` of the metric that counts it.
   */
  reason: string;
  /**
   * More of it in words.
   */
  detail?: string;
  /**
   * Of a token: the first 12 digits of its SHA-256.
   */
  hash?: string;
  /**
   * When the last one was (Unix ms)
   */
  at: number;
  instance: string;
};

export type TopDevices = {
  devices: Array<TopDevice>;
  by: 'messages' | 'bytes';
  /**
   * Live instances that did not answer in time, and while Redis is away those that could not be asked: what they know is missing.
   */
  silent: Array<string>;
};

export type TopDevice = {
  deviceId: string;
  /**
   * Messages or bytes a second, at least.
   */
  perSecond: number;
};

export type TopConnections = {
  connections: Array<Connection>;
  /**
   * Live instances that did not answer in time, and while Redis is away those that could not be asked: what they know is missing.
   */
  silent: Array<string>;
};

export type Connection = {
  connectionId: string;
  instance: string;
  userId: UserId;
  address: string;
  /**
   * Since when its token was good (Unix ms)
   */
  openedAt: number;
  /**
   * Devices that it watches.
   */
  rooms: number;
  /**
   * Bytes that wait since it does not read.
   */
  queuedBytes: number;
  /**
   * Publications that newer ones replaced since it did not read in time.
   */
  skipped: number;
  /**
   * Bytes that were sent to it.
   */
  bytes: number;
  /**
   * Round trip of the last ping; null before the first.
   */
  rttMs: number | null;
};

export type Closed = {
  /**
   * Connections that are being closed, on the instances that answered.
   */
  closed: number;
  /**
   * Redis is away: the others are told when it is back, within ten minutes.
   */
  pending?: true;
  /**
   * Live instances that did not answer in time, and while Redis is away those that could not be asked: what they know is missing.
   */
  silent: Array<string>;
};

export type ConnectionList = {
  /**
   * Sorted by `connectionId`.
   */
  connections: Array<Connection>;
  cursor?: string;
  /**
   * Live instances that did not answer in time, and while Redis is away those that could not be asked: what they know is missing.
   */
  silent: Array<string>;
};

export type CommandResult = {
  /**
   * `sent`: the broker has it. With `waitMs`: `replied`, or `timeout` when the device did not answer in time.
   */
  outcome: 'sent' | 'replied' | 'timeout';
  /**
   * Whether somebody took it, where the broker can tell.
   */
  delivered?: boolean;
  /**
   * What the device answered.
   */
  payload?: unknown;
};

export type Command = {
  /**
   * Any JSON; the device gets its text as you wrote it.
   */
  command: unknown;
  /**
   * For COMMAND_KEY_TTL_MS a command with the same device and key is not published a second time, on no instance: you get the answer of the first.
   */
  key?: string;
  /**
   * Wait this long for the device's own answer.
   */
  waitMs?: number;
};

export type History = {
  deviceId: DeviceId;
  epoch: string;
  /**
   * Of the newest publication of the device.
   */
  offset: number;
  /**
   * Oldest first, without a gap.
   */
  publications: Array<Telemetry>;
  /**
   * There is where to go on, now or when the device speaks again.
   */
  cursor?: string;
};

/**
 * A telemetry message as dashboards get it. `payload` and `meta` are the device's own text, number for number.
 */
export type Telemetry = {
  type: 'telemetry';
  deviceId: DeviceId;
  /**
   * What the device said, any JSON.
   */
  payload: unknown;
  meta: {
    [key: string]: unknown;
  } | null;
  /**
   * When Sluice took it in (Unix ms)
   */
  serverTs: number;
  epoch: string;
  offset: number;
};

export type DeviceList = {
  /**
   * Sorted by id (UTF-16 code units).
   */
  devices: Array<Device>;
  cursor?: string;
};

export type Status = {
  type: 'device_status';
  deviceId: DeviceId;
  isOnline: boolean;
  lastSeen: number;
  serverTs: number;
  reason?: string;
};

/**
 * What a snapshot has of a device, and where its numbering stands. What is unknown is left out.
 */
export type Device = {
  deviceId: DeviceId;
  /**
   * The name of the numbering.
   */
  epoch: string;
  /**
   * Of the newest publication; 0 before the first.
   */
  offset: number;
  telemetry?: Telemetry;
  status?: Status;
  meta?: {
    [key: string]: unknown;
  };
};
