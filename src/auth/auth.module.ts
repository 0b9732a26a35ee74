import { type KeyObject, createSecretKey, randomBytes } from 'node:crypto';
import { type DynamicModule, Module, type Provider } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import type { NamedKey } from '../config/jwks.js';
import { Reloads } from '../files/reloads.js';
import { mirrorGauge } from '../metrics/hot-counters.js';
import { Metrics } from '../metrics/metrics.js';
import { CLOCK, type Clock, systemClock } from '../time/clock.js';
import { JwksKeySet } from './jwks-key-set.js';
import { type KeyFile, KeyRing, type KeySetting, keysIn } from './key-ring.js';
import { JwksSignatureVerifier, KeyRingVerifier, SignatureVerifier } from './signature-verifier.js';
import { RevocationStore } from './revocation-store.js';
import { RevocationsService } from './revocations.js';
import { SECRET_KEY, TokenSigner } from './token-signer.js';
import { TokenVerifier } from './token-verifier.js';
import { WsJwtGuard } from './ws-jwt.guard.js';

const GENERATED_SECRET_BYTES = 32;

/** The HS256 key, if tokens are signed with a secret. */
export function secretKey({ auth, production }: Config): KeyObject | undefined {
  if (auth.jwtSecret !== undefined) {
    return createSecretKey(Buffer.from(auth.jwtSecret, 'utf8'));
  }
  const others = [auth.jwtPublicKey, auth.jwtJwks, auth.jwtJwksUrl];
  const generated = !production && others.every((source) => source === undefined);
  return generated ? createSecretKey(randomBytes(GENERATED_SECRET_BYTES)) : undefined;
}

/** The verifier of the one key source in the settings. */
export function signatureVerifier(
  { auth, files }: Config,
  secret: KeyObject | undefined,
  clock: Clock,
  metrics: Metrics,
  reloads: Reloads,
  revocations: Pick<RevocationsService, 'tell'>,
): SignatureVerifier {
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
  const ring = (keys: readonly NamedKey[], file: KeyFile | null): KeyRingVerifier =>
    new KeyRingVerifier(new KeyRing(keys, file, clock, reloads, () => revocations.tell()));
  const settings = {
    JWT_SECRET: auth.jwtSecret,
    JWT_PUBLIC_KEY: auth.jwtPublicKey,
    JWT_JWKS: auth.jwtJwks,
  };
  for (const [name, text] of Object.entries(settings)) {
    if (text !== undefined) {
      const setting = name as KeySetting;
      const path = files[setting];
      return ring(keysIn(setting, text).keys, path === undefined ? null : { setting, path, text });
    }
  }
  if (secret === undefined) {
    throw new Error('There is no key that could verify tokens');
  }
  return ring([{ kid: undefined, algorithm: 'HS256', key: secret }], null);
}

/** Who may connect, and what they may read and command. Needs ConfigModule and MetricsModule. */
@Module({
  providers: [
    { provide: CLOCK, useValue: systemClock },
    { provide: SECRET_KEY, useFactory: secretKey, inject: [CONFIG] },
    {
      provide: SignatureVerifier,
      useFactory: signatureVerifier,
      inject: [CONFIG, { token: SECRET_KEY, optional: true }, CLOCK, Metrics, Reloads, RevocationsService],
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
