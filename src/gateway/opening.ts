import { Inject, Injectable, Logger } from '@nestjs/common';
import { CLOCK, type Clock } from '../time/clock.js';
import { CONFIG, type Config } from '../config/config.js';
import { capDelivery, DEFAULT_DELIVERY } from '../protocol/delivery-options.js';
import { Upstream } from '../ingest/upstream.js';
import { background } from '../logging/walls.js';
import { ProtocolError } from '../protocol/errors.js';
import type { UpstreamMessage } from '../protocol/server-messages.js';
import { RoomsService } from '../rooms/rooms.service.js';
import type { Connection } from './socket/connection.js';
import { errorReply } from './replies.js';
import { roomLimit, tooManyRooms } from './messages/limits.js';

/** The first messages of a connection: its user, whether device messages arrive, and the devices of its token. */
@Injectable()
export class Opening {
  private readonly logger = new Logger(Opening.name);

  constructor(
    @Inject(CONFIG) private readonly config: Config,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly upstream: Upstream,
    private readonly rooms: RoomsService,
  ) {}

  /** @param byMessage the token came as the first message, which is answered too */
  greet(connection: Connection, byMessage: boolean): void {
    const { outbound, auth: token } = connection;
    if (token === undefined) {
      return;
    }
    const { userId } = token;
    outbound.send({
      type: 'connected',
      userId,
      connectionId: connection.id,
      protocol: 'sluice.v1',
      heartbeatMs: this.config.ws.heartbeatMs,
      serverTs: this.clock.now(),
    });
    if (byMessage) {
      outbound.send({ type: 'authenticated', userId, expiresAt: token.expiresAt });
    }
    const { up, changedAt, behindMs } = this.upstream;
    if (!up || behindMs > 0) {
      outbound.send(upstreamMessage(up, changedAt, behindMs));
    }
    if (connection.autoSubscribe) {
      background('connection', this.autoSubscribe(connection, token.grants.exactIds), (error) =>
        connection.fail(error),
      );
    }
  }

  private async autoSubscribe(connection: Connection, exactIds: readonly string[]): Promise<void> {
    const limit = roomLimit(connection, this.config.ws.maxRoomsPerConnection);
    try {
      await this.rooms.subscribe(connection, {
        deviceIds: exactIds.length > limit ? exactIds.slice(0, limit) : exactIds,
        denied: [],
        delivery: capDelivery(DEFAULT_DELIVERY, connection.auth?.maxRateHz),
        opening: true,
      });
      if (exactIds.length > limit) {
        connection.outbound.send(errorReply(tooManyRooms(limit)));
      }
    } catch (error) {
      if (error instanceof ProtocolError) {
        connection.outbound.send(errorReply(error));
        return;
      }
      this.logger.error('The devices of a token could not be subscribed', error);
      connection.outbound.send(
        errorReply(new ProtocolError('internal', 'The devices of the token could not be subscribed')),
      );
    }
  }
}

/** @param behindMs 0: not worth mentioning */
export function upstreamMessage(up: boolean, changedAt: number, behindMs: number): UpstreamMessage {
  const behind = up && behindMs > 0 ? { behindMs } : {};
  return { type: 'upstream', mqtt: up ? 'up' : 'down', changedAt, ...behind };
}
