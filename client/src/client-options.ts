import type { WebSocketClass } from './connection.js';
import type { DeviceMeta, DeviceState, DeviceStatus, Telemetry, Upstream } from './messages.js';
import type { SluiceError } from './sluice-error.js';

export interface SluiceClientOptions {
  /** `wss://…/ws`. */
  url: string;
  /**
   * The JWT, or a function that returns it. The function is called at every connect, with `rejected` when the last token was expired or
   * refused, and half a minute before the current one expires.
   */
  token: string | ((rejected: boolean) => string | Promise<string>);
  /** Collects publications for this many ms into one frame, 0 to 1000. Default 0. */
  batchMs?: number;
  /** Default: the global one; in Node.js 20 pass that of the package ws. */
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
  /** All that is known of a device: at the beginning, and when its epoch changes. Its telemetry is a value, not a publication. */
  snapshot: DeviceState;
  /** Publications of a device may be missing before what follows: clear a chart, or mark the gap. */
  reset: { deviceId: string };
  /** A newer token no longer grants these. */
  withdrawn: { deviceIds: readonly string[]; pattern?: string };
  upstream: Upstream;
  /** An error that is not the answer to a request of this client, or the reason why the connection was lost. */
  error: SluiceError;
}
