import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../../config/config.js';
import { ProtocolError } from '../../protocol/errors.js';
import { PUBLICATIONS_PER_ROOM } from '../../rooms/history-source.js';
import { RateLimit } from '../../time/rate-limit.js';
import type { Connection } from '../socket/connection.js';

/** Rooms per message that the rate allows, for both rate and burst. */
const ROOMS_PER_MESSAGE = 100;
const BURST_ROOMS_PER_MESSAGE = 250;

/** The cost of a subscription in rooms that are joined and shown: 10 to 15 us of the event loop each. */
export const WorkOf = {
  room: 1,
  /** With `fields` the last value is parsed. */
  fields: 1,
  /** A position in `since`: history is read, and missed publications are sent. */
  position: 3,
  /** A publication of a rewind: read, framed and sent; with `fields` or `aggregate` it is parsed too. */
  publication: 1 / PUBLICATIONS_PER_ROOM,
  parsedPublication: 1 / 2,
  /** A device id matched against one pattern. */
  match: 1 / 32,
} as const;

/**
 * The second limit of requests. The rate counts frames, but subscribing to thousands of devices is thousands of times the work of a ping.
 * The work is not known before it begins, so it is charged afterwards, and the next message waits.
 */
@Injectable()
export class WorkLimit {
  private readonly rate: RateLimit;

  constructor(@Inject(CONFIG) { ws }: Config) {
    this.rate = new RateLimit(
      ws.maxMessagesPerSecond * ROOMS_PER_MESSAGE,
      ws.maxMessageBurst * BURST_ROOMS_PER_MESSAGE,
    );
  }

  /** @throws {ProtocolError} rate_limited while the connection owes work */
  demand({ inbound }: Connection): void {
    const waitMs = inbound === null ? 0 : this.rate.waitMs(inbound.workDue, performance.now());
    if (waitMs > 0) {
      throw new ProtocolError(
        'rate_limited',
        'Too many devices subscribed to in too short a time; this message was not processed',
        { retryAfterMs: Math.ceil(waitMs) },
      );
    }
  }

  /** Charges work that is done, or about to be done. */
  charge({ inbound }: Connection, rooms: number): void {
    if (inbound !== null && rooms > 0) {
      inbound.workDue = this.rate.charge(inbound.workDue, performance.now(), rooms);
    }
  }
}

/** Devices a connection may watch by id: the instance's limit, or the token's where that is lower. */
export function roomLimit({ auth: token }: Connection, maxRoomsPerConnection: number): number {
  return Math.min(maxRoomsPerConnection, token?.maxRooms ?? maxRoomsPerConnection);
}

/** The same for rooms of patterns. */
export function patternRoomLimit({ auth: token }: Connection, maxPatternRoomsPerConnection: number): number {
  return Math.min(maxPatternRoomsPerConnection, token?.maxRooms ?? maxPatternRoomsPerConnection);
}

export function tooManyRooms(limit: number): ProtocolError {
  return new ProtocolError('too_many_rooms', `A connection may watch ${limit} devices at most`);
}
