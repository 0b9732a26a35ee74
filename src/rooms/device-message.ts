/** What became of a device message. */
export type IngestOutcome =
  /** Stored and fanned out. */
  | 'accepted'
  /** Recognised as a redelivery of a publication that is stored already. */
  | 'duplicate'
  /** Refused by the store for a reason of the message's own; counted, logged and acknowledged. */
  | 'refused';

/**
 * One for all messages of a device, for as long as the transport remembers its topic: what a store looked up once is found at once by
 * the next message. With ten thousand devices a lookup is a walk through memory that no cache holds.
 */
export interface DeviceMemo {
  /** The store's own business. */
  found: object | null;
}

/**
 * One telemetry message on its way into the rooms. `payload` is valid JSON in UTF-8 without white space at the ends
 * and may point into a network buffer: who keeps it copies it.
 */
export interface DeviceMessage {
  readonly deviceId: string;
  /** Without one everything is looked up. */
  readonly memo?: DeviceMemo;
  readonly payload: Buffer;
  /** Unix ms of receipt. */
  readonly receivedAt: number;
  /** performance.now() of receipt, for the ingest-to-socket histogram. */
  readonly receivedMono: number;
  /** Packet id of a QoS 1 message, 0 for QoS 0. */
  readonly packetId: number;
  /** DUP flag of the packet. */
  readonly dup: boolean;
  /**
   * Called exactly once when the message is stored (or never will be): the transport then acknowledges it to the broker.
   * May be called synchronously. Not called at all when the store is lost: the broker must deliver it again.
   */
  settle(outcome: IngestOutcome): void;
}
