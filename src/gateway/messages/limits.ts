import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../../config/config.js';
import { ProtocolError } from '../../protocol/errors.js';
import type { Connection } from '../socket/connection.js';
import { RateLimit } from './rate-limit.js';

/** Rooms a second, and at once, for each message that is allowed a second, and at once. */
const ROOMS_PER_MESSAGE = 100;
const BURST_ROOMS_PER_MESSAGE = 250;

/** What a subscription costs, in rooms that are joined and shown: 10 to 15 us of the event loop each. */
export const WorkOf = {
  room: 1,
  /** With `fields`: the last value is parsed. */
  fields: 1,
  /** A position in `since`: history is asked, and what was missed is sent. */
  position: 3,
  /** A device id held against one pattern. */
  match: 1 / 32,
} as const;

/**
 * The second limit of what a client may ask for. The rate counts frames; a message that subscribes to thousands of devices is thousands of
 * times the work of a ping. The work of a message is not known before it is begun, so what was too much is owed: the next one waits.
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

  /** Work that is done, or about to be. */
  charge({ inbound }: Connection, rooms: number): void {
    if (inbound !== null && rooms > 0) {
      inbound.workDue = this.rate.charge(inbound.workDue, performance.now(), rooms);
    }
  }
}
