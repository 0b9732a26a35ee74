import { Injectable } from '@nestjs/common';
import { AuthError } from '../auth/auth-error.js';
import { TokenVerifier } from '../auth/token-verifier.js';
import { Metrics } from '../metrics/metrics.js';
import type { AuthenticatedMessage } from '../protocol/server-messages.js';
import { RoomsService } from '../rooms/rooms.service.js';
import type { Connection } from './connection.js';
import { ConnectionTimers } from './connection-timers.js';

/** A newer token for a living connection: its end and its grants count from that moment on. */
@Injectable()
export class TokenRefresh {
  constructor(
    private readonly verifier: TokenVerifier,
    private readonly timers: ConnectionTimers,
    private readonly rooms: RoomsService,
    private readonly metrics: Metrics,
  ) {}

  /**
   * Rooms that the new token does not grant are left, which the client learns by an `unsubscribed` without id.
   * @returns the answer, or null when the connection ended meanwhile
   * @throws {AuthError} the token is bad or another user's: the connection is closed with 4001
   */
  async refresh(connection: Connection, text: string): Promise<AuthenticatedMessage | null> {
    const token = await this.verifier.verify(text);
    if (!connection.isOpen) {
      return null;
    }
    const { userId, expiresAt, grants } = token;
    if (userId !== connection.userId) {
      throw new AuthError('invalid', 'the token is of another user');
    }
    connection.auth = token;
    this.timers.expires(connection);
    const lost = [...connection.subscriptions.keys()].filter((deviceId) => !grants.canRead(deviceId));
    if (lost.length > 0) {
      this.rooms.unsubscribe(connection, lost);
      connection.outbound.send({ type: 'unsubscribed', deviceIds: lost });
    }
    this.metrics.auth.inc({ outcome: 'refreshed' });
    return { type: 'authenticated', userId, expiresAt };
  }
}
