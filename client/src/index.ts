export type { WebSocketClass, WebSocketLike } from './connection.js';
export type {
  Delivery,
  DeviceMeta,
  DeviceState,
  DeviceStatus,
  Position,
  Room,
  Telemetry,
  Upstream,
} from './messages.js';
export type { ClientState, SluiceClientEvents, SluiceClientOptions } from './client-options.js';
export { SluiceClient } from './sluice-client.js';
export { SluiceError } from './sluice-error.js';
