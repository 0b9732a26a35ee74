import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../../config/config.js';
import { ProtocolError } from '../../protocol/errors.js';
import { PUBLICATIONS_PER_ROOM } from '../../rooms/history-source.js';
import type { Connection } from '../socket/connection.js';

/**
 * A token bucket in one number (the generic cell rate algorithm): `due` is the time at which the bucket is full again. No timer, no refill:
 * an unused bucket costs nothing.
 */
export class RateLimit {
  private readonly intervalMs: number;
  private readonly toleranceMs: number;

  /**
   * @param perSecond sustained rate
   * @param burst how many are allowed at once
   */
  constructor(perSecond: number, burst: number) {
    this.intervalMs = 1000 / perSecond;
    this.toleranceMs = this.intervalMs * (burst - 1);
  }

  /**
   * Takes from the bucket. At least one must be there; a higher cost becomes a debt, so that a full bucket allows any cost, and the next
   * call waits longer.
   * @param due what the last call returned; 0 for a full bucket
   * @param now monotonic ms
   * @param cost how many are taken, any number above 0
   * @returns the new `due`, or a negative number: minus the ms until one is free again
   */
  take(due: number, now: number, cost = 1): number {
    const wait = this.waitMs(due, now);
    return wait > 0 ? -wait : this.charge(due, now, cost);
  }

  /** @returns ms until one is free, 0 when it is now */
  waitMs(due: number, now: number): number {
    const wait = Math.max(due, now) - now - this.toleranceMs;
    // The small constant absorbs rounding of floating-point times.
    return wait > 1e-6 ? wait : 0;
  }

  /** Charges a cost that can no longer be refused. @returns the new `due` */
  charge(due: number, now: number, cost: number): number {
    return Math.max(due, now) + this.intervalMs * cost;
  }
}

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
