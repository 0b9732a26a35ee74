import type { Outbound } from '../delivery/outbound.js';
import type { MemberRooms } from './member-rooms.js';

/** A connection as rooms see it. Implemented by the gateway's Connection. */
export interface Member {
  /** The one ordered way to this connection's socket. */
  readonly outbound: Outbound;
  /** Current subscriptions by device id. */
  readonly subscriptions: MemberRooms;
}
