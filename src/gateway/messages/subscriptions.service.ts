import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../../config/config.js';
import { capDelivery, DEFAULT_DELIVERY, type DeliveryOptions } from '../../protocol/delivery-options.js';
import { planOf } from '../../delivery/delivery-group.js';
import type { SubscribeMessage, UnsubscribeMessage } from '../../protocol/client-messages.js';
import { ProtocolError } from '../../protocol/errors.js';
import { IdPattern, normalPattern } from '../../protocol/id-pattern.js';
import type { UnsubscribedMessage } from '../../protocol/server-messages.js';
import type { PatternTerms } from '../../rooms/pattern-audiences.js';
import { RoomsService } from '../../rooms/rooms.service.js';
import type { Connection } from '../socket/connection.js';
import { patternRoomLimit, roomLimit, tooManyRooms, WorkLimit, WorkOf } from './limits.js';

/** Bound of a connection's distinct `fields`, in total: as much as its queues may hold. */
const MAX_FIELDS_BYTES = 2 * 1024 * 1024;

/** What a connection watches: by id or by pattern, within the grants and limits of its token. */
@Injectable()
export class SubscriptionsService {
  constructor(
    @Inject(CONFIG) private readonly config: Config,
    private readonly rooms: RoomsService,
    private readonly work: WorkLimit,
  ) {}

  /** Sends its answer itself, in order with what follows. @throws {ProtocolError} forbidden, too_many_rooms, rate_limited */
  async subscribe(connection: Connection, message: SubscribeMessage): Promise<void> {
    const { auth: token } = connection;
    if (token === undefined || !connection.isOpen) {
      return; // closed while the guard was awaited
    }
    const delivery = message.delivery ?? DEFAULT_DELIVERY;
    this.checkFields(connection, delivery);
    const { pattern } = message;
    if (pattern !== undefined) {
      await onePatternAtATime(connection, () =>
        this.subscribePattern(connection, pattern, { ...message, delivery }),
      );
      return;
    }
    this.work.demand(connection);
    this.work.charge(connection, message.deviceIds.length * WorkOf.match);
    const granted: string[] = [];
    const denied: string[] = [];
    let fresh = 0;
    for (const deviceId of message.deviceIds) {
      if (token.grants.canRead(deviceId)) {
        granted.push(deviceId);
        fresh += connection.subscriptions.get(deviceId)?.explicit === true ? 0 : 1;
      } else {
        denied.push(deviceId);
      }
    }
    const limit = roomLimit(connection, this.config.ws.maxRoomsPerConnection);
    const all = connection.subscriptions.size + fresh;
    if (fresh > 0 && all > limit && explicitRooms(connection) + fresh > limit) {
      throw tooManyRooms(limit);
    }
    const { id, since, rewind } = message;
    const positions = (since?.size ?? 0) + (rewind === undefined ? 0 : granted.length);
    this.work.charge(connection, granted.length * roomCost(delivery) + positions * WorkOf.position);
    // Nothing is awaited between the check of the token and the join in `rooms.subscribe`: a newer token sees all joined rooms.
    await this.rooms.subscribe(connection, {
      deviceIds: granted,
      denied,
      id,
      since,
      rewind,
      onRewound: (publications) => this.work.charge(connection, publications * publicationCost(delivery)),
      delivery: capDelivery(delivery, token.maxRateHz),
    });
  }

  /** @throws {ProtocolError} rate_limited */
  async unsubscribe(
    connection: Connection,
    { deviceIds, pattern, id }: UnsubscribeMessage,
  ): Promise<UnsubscribedMessage> {
    // As `subscribed` names it.
    const source = pattern === undefined ? undefined : (normalPattern(pattern) ?? pattern);
    if (source !== undefined) {
      await onePatternAtATime(connection, () => {
        this.work.demand(connection);
        this.chargeLeaving(connection, connection.roomCount);
        this.rooms.fleet.unsubscribe(connection, source);
      });
    } else {
      this.work.demand(connection);
      this.chargeLeaving(connection, deviceIds.length);
      this.rooms.unsubscribe(connection, deviceIds);
    }
    return {
      type: 'unsubscribed',
      ...(id !== undefined && { id }),
      ...(source !== undefined && { pattern: source }),
      deviceIds,
    };
  }

  /** After a newer token: leaves the patterns and rooms it does not grant, and tells the client by `unsubscribed` without id. */
  applyGrants(connection: Connection): void {
    const { auth: token, outbound } = connection;
    if (token === undefined) {
      return;
    }
    for (const pattern of this.rooms.fleet.patternsOf(connection)) {
      if (!token.grants.coversPattern(pattern)) {
        this.rooms.fleet.unsubscribe(connection, pattern);
        outbound.send({ type: 'unsubscribed', pattern, deviceIds: [] });
      }
    }
    const lost = connection.subscriptions.ids().filter((deviceId) => !token.grants.canRead(deviceId));
    if (lost.length > 0) {
      this.rooms.unsubscribe(connection, lost);
      outbound.send({ type: 'unsubscribed', deviceIds: lost });
    }
  }

  /** Selections are shared by all rooms with the same fields, so the number of distinct ones is what counts. */
  private checkFields(connection: Connection, delivery: DeliveryOptions): void {
    const { selection } = planOf(delivery);
    if (selection === null) {
      return;
    }
    const kept = new Set([selection]);
    const add = (options: DeliveryOptions): void => {
      const other = planOf(options).selection;
      if (other !== null) {
        kept.add(other);
      }
    };
    connection.subscriptions.all().forEach((subscription) => add(subscription.delivery));
    this.rooms.fleet.deliveriesOf(connection).forEach(add);
    let bytes = 0;
    for (const one of kept) {
      bytes += one.bytes;
    }
    if (bytes > MAX_FIELDS_BYTES) {
      throw new ProtocolError(
        'too_many_rooms',
        'The subscriptions of this connection have too many different delivery.fields; ask for the same ones, or for fewer',
      );
    }
  }

  private async subscribePattern(
    connection: Connection,
    text: string,
    {
      id,
      rewind,
      delivery,
    }: Required<Pick<SubscribeMessage, 'delivery'>> & Pick<SubscribeMessage, 'id' | 'rewind'>,
  ): Promise<void> {
    const { maxPatternsPerConnection: maxPatterns, maxPatternRoomsPerConnection } = this.config.ws;
    if (!connection.isOpen) {
      return; // closed while another pattern was in work
    }
    this.work.demand(connection);
    const pattern = new IdPattern(normalPattern(text) ?? text);
    const terms = (): PatternTerms | null => {
      const { auth: token } = connection;
      return token?.grants.coversPattern(pattern.source) === true
        ? {
            delivery: capDelivery(delivery, token.maxRateHz),
            maxRooms: patternRoomLimit(connection, maxPatternRoomsPerConnection),
            maxPatterns,
          }
        : null;
    };
    if (terms() === null) {
      throw new ProtocolError('forbidden', 'Forbidden');
    }
    const onMatched = (known: number, rooms: number): void =>
      this.work.charge(
        connection,
        known * WorkOf.match + rooms * (roomCost(delivery) + (rewind === undefined ? 0 : WorkOf.position)),
      );
    const onRewound = (publications: number): void =>
      this.work.charge(connection, publications * publicationCost(delivery));
    await this.rooms.fleet.subscribe(connection, { pattern, id, terms, onMatched, rewind, onRewound });
  }

  /** Each room is matched against the connection's patterns. */
  private chargeLeaving(connection: Connection, rooms: number): void {
    const patterns = this.rooms.fleet.patternCount(connection);
    this.work.charge(connection, rooms * (1 + patterns) * WorkOf.match);
  }
}

/** Rooms requested by id; those of patterns have a bound of their own. */
function explicitRooms({ subscriptions }: Connection): number {
  let count = 0;
  for (const { explicit } of subscriptions.all()) {
    count += explicit ? 1 : 0;
  }
  return count;
}

function roomCost({ fields }: DeliveryOptions): number {
  return WorkOf.room + (fields === undefined ? 0 : WorkOf.fields);
}

function publicationCost({ fields, aggregate }: DeliveryOptions): number {
  return fields === undefined && aggregate !== true ? WorkOf.publication : WorkOf.parsedPublication;
}

/** Handles messages with patterns one at a time, in order; the waiting ones are bounded by the messages in work per connection. */
async function onePatternAtATime({ inbound }: Connection, run: () => Promise<void> | void): Promise<void> {
  if (inbound === null) {
    return run();
  }
  const { patternWork } = inbound;
  const work = patternWork === null ? Promise.resolve(run()) : patternWork.then(run, run);
  inbound.patternWork = work;
  try {
    await work;
  } finally {
    if (inbound.patternWork === work) {
      inbound.patternWork = null;
    }
  }
}
