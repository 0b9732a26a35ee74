import type { WebSocketClass } from './connection.js';
import type { DeviceMeta, DeviceState, DeviceStatus, Telemetry, Upstream } from './messages.js';
import type { SluiceError } from './sluice-error.js';

export interface SluiceClientOptions {
  /** `wss://…/ws`. */
  url: string;
  /**
   * The JWT, or where to get one. A function is asked at every connect, with `rejected` when the one before is expired or was refused, and
   * half a minute before the one in use ends.
   */
  token: string | ((rejected: boolean) => string | Promise<string>);
  /** Collects what is due within so many ms into one frame, 0 to 1000. Default 0. */
  batchMs?: number;
  /** Default the global one; in Node.js 20 that of the package ws. */
  WebSocket?: WebSocketClass;
}

/** `connecting`, `open`, `waiting` (for the next attempt), or `closed` for good. */
export type ClientState = 'connecting' | 'open' | 'waiting' | 'closed';

export interface SluiceClientEvents {
  state: ClientState;
  /** Each publication once and in order, also over lost connections. */
  telemetry: Telemetry;
  status: DeviceStatus;
  meta: DeviceMeta;
  /** All that is known of a device: at the beginning, and where numbering starts anew. Its telemetry is a value, not a publication. */
  snapshot: DeviceState;
  /** Publications of a device may be missing before what follows: clear a chart, or mark the gap. */
  reset: { deviceId: string };
  /** A newer token does not grant these any more. */
  withdrawn: { deviceIds: readonly string[]; pattern?: string };
  upstream: Upstream;
  /** Not the answer to anything asked here; and why a connection was lost. */
  error: SluiceError;
}
