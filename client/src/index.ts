export type { WebSocketClass, WebSocketLike } from './connection.js';
export type {
  Delivery,
  DeviceMeta,
  DeviceState,
  DeviceStatus,
  Position,
  Rewind,
  Telemetry,
  Upstream,
} from './messages.js';
export {
  type ClientState,
  type CommandAnswer,
  type CommandOptions,
  SluiceClient,
  type SluiceClientEvents,
  type SluiceClientOptions,
} from './sluice-client.js';
export { SluiceError, type SluiceErrorCode } from './sluice-error.js';
export { type SubscribeOptions, Subscription, type SubscriptionEvents } from './subscription.js';
