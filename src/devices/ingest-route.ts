import type { MessageKind } from './ingest-counters.js';

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
