import { type KeyObject, createSecretKey, randomBytes } from 'node:crypto';
import { type DynamicModule, Module, type Provider } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { Metrics, mirrorGauge } from '../metrics/metrics.js';
import { CLOCK, type Clock, systemClock } from '../time/clock.js';
import { JwksKeySet } from './jwks-key-set.js';
import {
  JwksSignatureVerifier,
  PublicKeySignatureVerifier,
  SecretSignatureVerifier,
  SignatureVerifier,
} from './signature-verifier.js';
import { RevocationsService, RevocationStore } from './revocations.js';
import { SECRET_KEY, TokenSigner } from './token-signer.js';
import { TokenVerifier } from './token-verifier.js';
import { WsJwtGuard } from './ws-jwt.guard.js';

const GENERATED_SECRET_BYTES = 32;

/** The HS256 key, if tokens are signed with a secret. */
export function secretKey({ auth, production }: Config): KeyObject | undefined {
  if (auth.jwtSecret !== undefined) {
    return createSecretKey(Buffer.from(auth.jwtSecret, 'utf8'));
  }
  const generated = !production && auth.jwtPublicKey === undefined && auth.jwtJwksUrl === undefined;
  return generated ? createSecretKey(randomBytes(GENERATED_SECRET_BYTES)) : undefined;
}

/** The verifier of the one key source in the settings. */
export function signatureVerifier(
  { auth }: Config,
  secret: KeyObject | undefined,
  clock: Clock,
  metrics: Metrics,
): SignatureVerifier {
  if (auth.jwtPublicKey !== undefined) {
    return new PublicKeySignatureVerifier(auth.jwtPublicKey);
  }
  if (auth.jwtJwksUrl !== undefined) {
    const options = {
      url: auth.jwtJwksUrl,
      maxAgeMs: auth.jwksCacheMaxAgeMs,
      cooldownMs: auth.jwksCooldownMs,
      timeoutMs: auth.jwksTimeoutMs,
    };
    const keySet = new JwksKeySet(options, clock, metrics);
    mirrorGauge(metrics.jwksAge, () => keySet.ageSeconds);
    return new JwksSignatureVerifier(keySet);
  }
  if (secret === undefined) {
    throw new Error('There is no key that could verify tokens');
  }
  return new SecretSignatureVerifier(secret);
}

/** Who may connect, and what they may read and command. Needs ConfigModule and MetricsModule. */
@Module({
  providers: [
    { provide: CLOCK, useValue: systemClock },
    { provide: SECRET_KEY, useFactory: secretKey, inject: [CONFIG] },
    {
      provide: SignatureVerifier,
      useFactory: signatureVerifier,
      inject: [CONFIG, { token: SECRET_KEY, optional: true }, CLOCK, Metrics],
    },
    RevocationsService,
    TokenVerifier,
    TokenSigner,
    WsJwtGuard,
  ],
  // Nest creates a guard named in @UseGuards in the gateway's module: its dependencies must be exported.
  exports: [TokenVerifier, TokenSigner, WsJwtGuard, RevocationsService, CLOCK],
})
export class AuthModule {}

/** Where several instances share their revocations; without it they are in memory. */
@Module({})
export class RevocationStoreModule {
  static withStore(store: Provider<RevocationStore>): DynamicModule {
    return { module: RevocationStoreModule, global: true, providers: [store], exports: [RevocationStore] };
  }
}
