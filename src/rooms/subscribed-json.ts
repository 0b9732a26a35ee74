import type { MessageId, Position } from '../protocol/client-messages.js';
import type { Subscription } from './subscription.js';

/** An answer to `subscribe` with device ids. */
export interface SubscribedByIds {
  id?: MessageId | undefined;
  subscriptions: readonly Subscription[];
  denied: readonly string[];
  /** Rooms the client named a position of; each is told whether it goes on from there. */
  since?: ReadonlyMap<string, Position> | undefined;
  recovered?: ReadonlySet<string> | undefined;
}

/**
 * The `subscribed` message as JSON text, put together from what the rooms keep: every connection of a storm gets one, and an object for
 * each of its rooms would be made for nothing else.
 */
export function subscribedJson({ id, subscriptions, denied, since, recovered }: SubscribedByIds): string {
  const rooms = subscriptions.map(({ room }) =>
    since?.has(room.deviceId) === true
      ? `${room.positionJson},"recovered":${recovered?.has(room.deviceId) === true}}`
      : `${room.positionJson}}`,
  );
  return `{"type":"subscribed",${idMember(id)}"rooms":[${rooms.join(',')}],"denied":${JSON.stringify(denied)}}`;
}

/** What was asked with an id is answered with it. */
export function idMember(id: MessageId | undefined): string {
  return id === undefined ? '' : `"id":${JSON.stringify(id)},`;
}
