import { constant, int, KIB, MIB, optionalText, secret, url, type ValuesOf } from '../setting.js';

/** Tokens and the keys that they are checked with. */
export const authSettings = {
  jwtSecret: secret('JWT_SECRET', 'HS256 key, at least 32 bytes', {
    defaultText: 'generated in development',
  }),
  jwtPublicKey: secret(
    'JWT_PUBLIC_KEY',
    'Public key (PEM, SPKI) in place of a secret: RSA means RS256, P-256 ES256, Ed25519 EdDSA',
  ),
  jwtJwks: secret(
    'JWT_JWKS',
    'JWKS (JSON) with any number of keys in place of a secret or key: RSA, P-256 and Ed25519, and `oct` for HS256; as a file, JWT_JWKS_FILE, it may change',
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
  tokenCacheMaxBytes: int(
    'JWT_CACHE_MAX_BYTES',
    64 * MIB,
    [0, 16 * 1024 * MIB],
    'Estimated memory of the verified tokens kept; large tokens reach it before their count does',
  ),
};

export const authConstants = {
  /** Verified tokens kept: JWT_CACHE_MAX_BYTES is the bound that counts, and one token is some KiB in memory. */
  tokenCacheMax: constant('JWT_CACHE_MAX_TOKENS', ({ tokenCacheMaxBytes }: ValuesOf<typeof authSettings>) =>
    Math.max(20_000, Math.floor(tokenCacheMaxBytes / (4 * KIB))),
  ),
  /** Age at which a JWKS is fetched again; the old keys stay valid while its server is away. */
  jwksCacheMaxAgeMs: constant('JWT_JWKS_MAX_AGE_MS', 600_000),
  /** Least time between two fetches that unknown key ids ask for: who invents ids makes no load for the key server. */
  jwksCooldownMs: constant('JWT_JWKS_COOLDOWN_MS', 10_000),
  /** Time the JWKS server has to answer. */
  jwksTimeoutMs: constant('JWT_JWKS_TIMEOUT_MS', 5_000),
};
