import { int, MIB, optionalText, secret, url } from '../setting.js';

/** Tokens and the keys that they are checked with. */
export const authSettings = {
  jwtSecret: secret('JWT_SECRET', 'HS256 key, at least 32 bytes', {
    defaultText: 'generated in development',
  }),
  jwtPublicKey: secret(
    'JWT_PUBLIC_KEY',
    'Public key (PEM, SPKI) in place of a secret: RSA means RS256, P-256 ES256, Ed25519 EdDSA',
  ),
  jwtJwksUrl: optionalText(
    'JWT_JWKS_URL',
    'Address of a JWKS in place of a secret or key; in production https://, or http:// on this machine',
    url(['http:', 'https:']),
  ),
  jwtIssuer: optionalText('JWT_ISSUER', 'Expected `iss`, checked when set'),
  jwtAudience: optionalText('JWT_AUDIENCE', 'Expected `aud`, checked when set'),
  clockToleranceS: int(
    'JWT_CLOCK_TOLERANCE_S',
    5,
    [0, 600],
    'Seconds by which clocks may differ when `exp` and `nbf` are checked',
  ),
  tokenCacheMax: int(
    'JWT_CACHE_MAX_TOKENS',
    20_000,
    [0, 1_000_000],
    'Verified tokens kept until they expire, so that a storm of reconnects does not verify again',
  ),
  tokenCacheMaxBytes: int(
    'JWT_CACHE_MAX_BYTES',
    64 * MIB,
    [0, 16 * 1024 * MIB],
    'Estimated memory of the verified tokens kept; large tokens reach it before their count does',
  ),
  jwksCacheMaxAgeMs: int(
    'JWT_JWKS_MAX_AGE_MS',
    600_000,
    [1_000, 86_400_000],
    'Age at which a JWKS is fetched again; the old keys stay valid while its server is away',
  ),
  jwksCooldownMs: int(
    'JWT_JWKS_COOLDOWN_MS',
    10_000,
    [100, 3_600_000],
    'Least time between two fetches that unknown key ids ask for',
  ),
  jwksTimeoutMs: int('JWT_JWKS_TIMEOUT_MS', 5_000, [100, 60_000], 'Time the JWKS server has to answer'),
};
