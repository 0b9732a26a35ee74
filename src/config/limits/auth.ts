import { int } from '../setting.js';
import { MIB } from './units.js';

/** Tokens and the keys that they are checked with. */
export const authLimits = {
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
