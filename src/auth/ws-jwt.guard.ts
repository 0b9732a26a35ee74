import { type CanActivate, type ExecutionContext, Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { AuthError } from './auth-error.js';
import { RevocationsService } from './revocations.js';
import { revoked } from './token-verifier.js';
import { isExpired, type VerifiedToken } from './claims.js';
import { CLOCK, type Clock } from '../time/clock.js';

/** The part of a connection that the guard needs. */
export interface Authenticated {
  /** Set by the gateway once the token is verified, and replaced by a refresh. */
  readonly auth?: VerifiedToken | undefined;
}

/**
 * Passes a message only while its connection has a good token. The signature was checked when the token came; the expiry is checked for
 * every message, since the timer that closes the connection may be late on a busy process; so are revocations. Use with `@UseGuards(WsJwtGuard)` on the
 * gateway. The adapter handles the `auth` message of a connection without a token before any handler.
 */
@Injectable()
export class WsJwtGuard implements CanActivate {
  private readonly toleranceMs: number;

  constructor(
    @Inject(CONFIG) config: Config,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly revocations: RevocationsService,
  ) {
    this.toleranceMs = config.auth.clockToleranceS * 1000;
  }

  /** @throws {AuthError} `missing`, `revoked` (the gateway closes with 4001) or `expired` (4002) */
  canActivate(context: ExecutionContext): true {
    const { auth } = context.switchToWs().getClient<Authenticated>();
    if (auth === undefined) {
      throw new AuthError('missing', 'There is no token');
    }
    if (isExpired(auth, this.toleranceMs, this.clock.now())) {
      throw new AuthError('expired', 'The token is expired');
    }
    if (this.revocations.isRevoked(auth)) {
      throw revoked();
    }
    return true;
  }
}
