import type { DeliveryOptions } from '../protocol/delivery-options.js';
import type { Feed } from './feed.js';
import type { Outbound } from './outbound.js';

/** A subscription as delivery sees it: where it stands, and the way to its connection. Implemented by the rooms' Subscription. */
export interface Recipient {
  readonly outbound: Outbound;
  readonly delivery: DeliveryOptions;
  /** Whether it is still its connection's subscription of the room. */
  readonly current: boolean;
  /** What it is served by; null while the snapshot or the resume is still ahead. */
  readonly feed: Feed | null;
  /** Offset of the last publication sent (or put into the queue in order); the next one is numbered against it. */
  lastOffset: number;
  /** Grows when what is queued became void: it left, restarted, or its epoch changed. */
  readonly generation: number;
  /** In mode `latest`: a place in the telemetry lane is taken. */
  waiting: boolean;
  /** Place in the list of its {@link DeliveryGroup}; -1 when not in one. */
  index: number;
}
