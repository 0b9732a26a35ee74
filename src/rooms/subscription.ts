import type { Feed } from '../delivery/feed.js';
import type { Outbound } from '../delivery/outbound.js';
import type { Recipient } from '../delivery/recipient.js';
import { DEFAULT_DELIVERY, type DeliveryOptions } from '../protocol/delivery-options.js';
import type { Member } from './member.js';
import type { Room } from './room.js';

/** One connection in one room. */
export class Subscription implements Recipient {
  readonly outbound: Outbound;
  /** Offset of the last publication sent (or put into the queue in order); the next one is numbered against it. */
  lastOffset = 0;
  /** The first snapshot has been sent, so changes of status and metadata make sense to the client. */
  introduced = false;
  /** Grows when what is queued for this subscription became void: it left, restarted, or its epoch changed. */
  generation = 0;
  /** Asked for by id, not (only) by a pattern. */
  explicit = false;
  /** In mode `latest`: a place in the telemetry lane is taken. */
  waiting = false;
  /** What it is served by; null while the snapshot or the resume is still ahead. */
  feed: Feed | null = null;
  /** Place in the list of its delivery group; -1 when not in one. */
  index = -1;
  /** Place in the room's audience; -1 before it is joined and once it is left. */
  seat = -1;

  constructor(
    readonly member: Member,
    readonly room: Room,
    public delivery: DeliveryOptions = DEFAULT_DELIVERY,
  ) {
    this.outbound = member.outbound;
  }

  /** Whether this is still the member's subscription of the room. */
  get current(): boolean {
    return this.seat >= 0;
  }
}
