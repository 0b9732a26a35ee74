import type { KeyObject } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { JwtService } from '@nestjs/jwt';
import { CONFIG, type Config } from '../config/config.js';
import { CLOCK, type Clock } from '../time/clock.js';
import type { Permission } from './grants.js';

/** DI token of the HS256 key: `JWT_SECRET`, or in development a generated one; undefined with other key sources. */
export const SECRET_KEY = 'SLUICE:AUTH_SECRET_KEY';

interface DevelopmentClaims {
  userId: string;
  deviceIds: readonly string[];
  permissions?: readonly Permission[];
}

/** Signs the token that a development start prints, and those of tests. Not for production, where Sluice only verifies tokens. */
@Injectable()
export class TokenSigner {
  private readonly key: KeyObject | undefined;

  constructor(
    @Inject(SECRET_KEY) secretKey: KeyObject | undefined,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {
    this.key = config.production ? undefined : secretKey;
  }

  /** Whether {@link sign} works: in development, with a configured or generated secret. */
  get available(): boolean {
    return this.key !== undefined;
  }

  /** @throws Error when not {@link available} */
  sign(claims: DevelopmentClaims, lifetimeS: number): string {
    if (this.key === undefined) {
      throw new Error('Tokens are signed only in development and only with a secret');
    }
    const now = Math.floor(this.clock.now() / 1000);
    const { jwtIssuer: iss, jwtAudience: aud } = this.config.auth;
    const payload = { ...claims, iat: now, exp: now + lifetimeS, ...(iss && { iss }), ...(aud && { aud }) };
    return new JwtService({ secret: this.key }).sign(payload, { algorithm: 'HS256' });
  }
}
