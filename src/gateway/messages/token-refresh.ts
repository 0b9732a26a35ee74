import { Injectable } from '@nestjs/common';
import { AuthError } from '../../auth/auth-error.js';
import { revoked, TokenVerifier } from '../../auth/token-verifier.js';
import { Metrics } from '../../metrics/metrics.js';
import type { AuthenticatedMessage } from '../../protocol/server-messages.js';
import type { Connection } from '../socket/connection.js';
import { ConnectionTimers } from '../socket/connection-timers.js';
import { SubscriptionsService } from './subscriptions.service.js';

/** A newer token for an open connection: its expiry and grants apply from that moment on. */
@Injectable()
export class TokenRefresh {
  constructor(
    private readonly verifier: TokenVerifier,
    private readonly timers: ConnectionTimers,
    private readonly subscriptions: SubscriptionsService,
    private readonly metrics: Metrics,
  ) {}

  /**
   * Rooms that the new token does not grant are left, and the client is told by `unsubscribed` without id.
   * @returns the answer, or null when the connection was closed meanwhile
   * @throws {AuthError} the token is bad, revoked or another user's: the connection is closed with 4001
   */
  async refresh(connection: Connection, text: string): Promise<AuthenticatedMessage | null> {
    const token = await this.verifier.verify(text);
    if (!connection.isOpen) {
      return null;
    }
    if (this.verifier.isRevoked(token)) {
      throw revoked(); // since it was verified
    }
    const { userId, expiresAt } = token;
    if (userId !== connection.userId) {
      throw new AuthError('invalid', 'the token is of another user');
    }
    connection.auth = token;
    this.timers.expires(connection);
    this.subscriptions.applyGrants(connection);
    this.metrics.auth.inc({ outcome: 'refreshed' });
    return { type: 'authenticated', userId, expiresAt };
  }
}
