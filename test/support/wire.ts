/**
 * The server's messages as a client's author reads them in docs/protocol.md: written anew on purpose, so that the
 * tests do not learn of a change of the wire from the code that made it.
 */
export interface Telemetry {
  type: 'telemetry';
  deviceId: string;
  payload: unknown;
  meta: Record<string, unknown> | null;
  serverTs: number;
  epoch: string;
  offset: number;
  skipped?: number;
}

export interface DeviceStatus {
  type: 'device_status';
  deviceId: string;
  isOnline: boolean;
  lastSeen: number;
  serverTs: number;
  reason?: 'silence';
}

export interface DeviceMeta {
  type: 'device_meta';
  deviceId: string;
  meta: Record<string, unknown> | null;
  serverTs: number;
}

export interface Snapshot {
  type: 'snapshot';
  devices: {
    deviceId: string;
    telemetry?: Telemetry;
    status?: DeviceStatus;
    meta?: Record<string, unknown>;
  }[];
  more?: true;
}

export interface Connected {
  type: 'connected';
  userId: string;
  connectionId: string;
  protocol: string;
  heartbeatMs: number;
  serverTs: number;
}

export interface Subscribed {
  type: 'subscribed';
  id?: string | number;
  rooms: { deviceId: string; epoch: string; offset: number; recovered?: boolean }[];
  denied: string[];
}

export interface Unsubscribed {
  type: 'unsubscribed';
  id?: string | number;
  deviceIds: string[];
}

export interface CommandSent {
  type: 'command_sent';
  deviceId: string;
  id?: string | number;
  delivered?: boolean;
}

export interface CommandResult {
  type: 'command_result';
  deviceId: string;
  id?: string | number;
  outcome: 'replied' | 'timeout';
  payload?: unknown;
  serverTs: number;
}

export interface Authenticated {
  type: 'authenticated';
  userId: string;
  expiresAt: number;
}

export interface Pong {
  type: 'pong';
  id?: string | number;
  serverTs: number;
}

export interface Upstream {
  type: 'upstream';
  mqtt: 'up' | 'down';
  changedAt: number;
  behindMs?: number;
}

export interface ErrorReply {
  type: 'error';
  error: string;
  code: string;
  id?: string | number;
  deviceId?: string;
  retryAfterMs?: number;
}

/** All that was due within `batchMs`. */
export interface Batch {
  type: 'batch';
  messages: WireMessage[];
}

export type WireMessage =
  | Telemetry
  | DeviceStatus
  | DeviceMeta
  | Snapshot
  | Connected
  | Subscribed
  | Unsubscribed
  | CommandSent
  | CommandResult
  | Authenticated
  | Pong
  | Upstream
  | ErrorReply
  | Batch;

export type WireType = WireMessage['type'];
export type WireOf<T extends WireType> = Extract<WireMessage, { type: T }>;
