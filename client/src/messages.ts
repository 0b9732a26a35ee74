import type { SluiceErrorCode } from './sluice-error.js';

/** The position of a device: within an epoch the offset grows by one per publication. */
export interface Position {
  readonly epoch: string;
  readonly offset: number;
}

/** Options of a subscription; see "Delivery options" in docs/protocol.md. */
export interface Delivery {
  mode?: 'every' | 'latest';
  /** Publications per device and second at most, 0.01 to 100. */
  maxRateHz?: number;
  fields?: readonly string[];
  aggregate?: boolean;
  /** `once`: telemetry without `meta`; it is in the snapshot and in `meta` events. */
  meta?: 'inline' | 'once';
}

/** The last publications of history before live ones: at most `count`, none older than `ms`. */
export interface Rewind {
  count?: number;
  ms?: number;
}

/** A publication of a device. */
export interface Telemetry<Payload = unknown> extends Position {
  readonly type: 'telemetry';
  readonly deviceId: string;
  /** What the device sent: any JSON value. */
  readonly payload: Payload;
  /** The text of the payload exactly as it came, where it came alone and whole: numbers keep their form. */
  readonly raw?: string;
  /** The metadata at that time; `null` if there was none, absent with `meta: 'once'`. */
  readonly meta?: Record<string, unknown> | null;
  /** Unix ms at which Sluice received it. */
  readonly serverTs: number;
  /** Publications before this one that were not sent on their own. */
  readonly skipped?: number;
  readonly aggregated?: {
    readonly count: number;
    readonly from: number;
    readonly to: number;
    /** The window exceeded its bound: some members are left out. */
    readonly truncated?: true;
  };
}

export interface DeviceStatus {
  readonly type: 'device_status';
  readonly deviceId: string;
  readonly isOnline: boolean;
  /** Unix ms, from the device if it sends one. */
  readonly lastSeen: number;
  readonly serverTs: number;
  /** Of an offline device that did not say so: it sent nothing for as long as its layout allows. */
  readonly reason?: 'silence';
}

export interface DeviceMeta {
  readonly type: 'device_meta';
  readonly deviceId: string;
  /** `null`: deleted. */
  readonly meta: Record<string, unknown> | null;
  readonly serverTs: number;
}

/** All that is known of a device; unknown members are absent. */
export interface DeviceState<Payload = unknown> {
  readonly deviceId: string;
  readonly telemetry?: Telemetry<Payload>;
  readonly status?: DeviceStatus;
  readonly meta?: Record<string, unknown>;
}

export interface Upstream {
  readonly type: 'upstream';
  /** `down`: device messages cannot arrive now, and shown values are stale. */
  readonly mqtt: 'up' | 'down';
  /** Unix ms. */
  readonly changedAt: number;
  /** What device messages wait at the broker, where that is more than a few seconds: shown values are that old. */
  readonly behindMs?: number;
}

export interface Room extends Position {
  readonly deviceId: string;
  /** For a device that was resumed: whether no publication is missing. */
  readonly recovered?: boolean;
  /** The offset before the first publication of a rewind. */
  readonly rewoundFrom?: number;
}

export interface Subscribed {
  readonly type: 'subscribed';
  readonly id?: number;
  readonly pattern?: string;
  readonly rooms: readonly Room[];
  /** Devices that the token does not grant, and malformed ids. */
  readonly denied: readonly string[];
  readonly more?: boolean;
}

/** The server's messages, as in docs/protocol.md. */
export type ServerMessage =
  | {
      readonly type: 'connected';
      readonly userId: string;
      readonly connectionId: string;
      readonly protocol: 'sluice.v1';
      readonly heartbeatMs: number;
      readonly serverTs: number;
    }
  | { readonly type: 'authenticated'; readonly userId: string; readonly expiresAt: number }
  | { readonly type: 'batch'; readonly messages: readonly ServerMessage[] }
  | { readonly type: 'snapshot'; readonly devices: readonly DeviceState[]; readonly more?: boolean }
  | {
      readonly type: 'unsubscribed';
      readonly id?: number;
      readonly pattern?: string;
      readonly deviceIds: readonly string[];
    }
  | {
      readonly type: 'command_sent';
      readonly id?: number;
      readonly deviceId: string;
      readonly delivered?: boolean;
    }
  | {
      readonly type: 'command_result';
      readonly id?: number;
      readonly deviceId: string;
      readonly outcome: 'replied' | 'timeout';
      readonly payload?: unknown;
      readonly serverTs: number;
    }
  | { readonly type: 'pong'; readonly id?: number; readonly serverTs: number }
  | {
      readonly type: 'error';
      readonly error: string;
      readonly code: SluiceErrorCode;
      readonly id?: number;
      readonly deviceId?: string;
      readonly retryAfterMs?: number;
    }
  | Subscribed
  | Telemetry
  | DeviceStatus
  | DeviceMeta
  | Upstream;
