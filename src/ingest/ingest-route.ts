import type { DeviceSink } from './ports.js';
import type { MessageKind } from '../mqtt/ingest-counters.js';
import type { RetainedState } from './retained-state.js';

/** The transport of the device patterns: keeps other transports of the application from taking them. */
export const DEVICE_TRANSPORT = Symbol('SLUICE:DEVICE_TRANSPORT');

/** What an `@EventPattern` of the device controller says beside its topic filter. */
export interface IngestRoute {
  /** The method it stands on: called directly, past Nest's proxies and RxJS, once per message. */
  readonly method: string;
  /** Label of the metrics. */
  readonly kind: MessageKind;
  /** Quality of service of the subscription. */
  readonly qos: 0 | 1;
}

/** The controller that the patterns stand on, as the transport uses it. */
export interface DeviceHandlers {
  /** The same methods for another session: with another place for what devices say, and its own retained messages. */
  into(sink: (rooms: DeviceSink) => DeviceSink, retained: RetainedState): DeviceHandlers;
  /** Sets the metadata of METADATA_FILE for devices of which no other was seen. */
  applyMetadataFile(): Promise<void>;
}
