import type { Config } from './config.js';
import { apiTokensFault } from './api-tokens.js';
import { checkJwks, checkSecret } from './jwks.js';
import { checkMetadataFile } from './metadata-file.js';
import { checkTransformFile } from './transform-file.js';
import { checkPublicKey } from './public-key.js';

/**
 * Rules that hold between settings, and what production demands.
 * @param broken names of variables that are already reported: nothing more is said about them
 * @returns one line per problem: `NAME: what to do`
 */
export function crossChecks(config: Config, broken: ReadonlySet<string> = new Set()): string[] {
  const problems: string[] = [];
  const demand = (holds: boolean, name: string, advice: string): void => {
    if (!holds && !broken.has(name)) {
      problems.push(`${name}: ${advice}`);
    }
  };
  const { api, auth, http, metadata, mqtt, production, ws, redis, transform } = config;
  const keySources = [auth.jwtSecret, auth.jwtPublicKey, auth.jwtJwks, auth.jwtJwksUrl].filter(
    (source) => source !== undefined,
  );
  demand(
    keySources.length <= 1,
    'JWT_SECRET',
    'set exactly one of JWT_SECRET, JWT_PUBLIC_KEY and JWT_JWKS_URL, or JWT_JWKS_FILE',
  );
  const secretFault = auth.jwtSecret === undefined ? undefined : checkSecret(auth.jwtSecret);
  demand(secretFault === undefined, 'JWT_SECRET', secretFault ?? '');
  const jwksFault = auth.jwtJwks === undefined ? undefined : checkJwks(auth.jwtJwks);
  demand(jwksFault === undefined, 'JWT_JWKS', jwksFault ?? '');
  const keyFault = auth.jwtPublicKey === undefined ? undefined : checkPublicKey(auth.jwtPublicKey);
  demand(keyFault === undefined, 'JWT_PUBLIC_KEY', keyFault ?? '');
  demand(
    auth.jwtJwksUrl === undefined || !hasCredentials(auth.jwtJwksUrl),
    'JWT_JWKS_URL',
    'must not contain a user name or password',
  );
  demand(
    mqtt.url === undefined || !hasCredentials(mqtt.url),
    'MQTT_URL',
    'must not contain a user name or password: set MQTT_USERNAME and MQTT_PASSWORD',
  );
  demand(
    (mqtt.cert === undefined) === (mqtt.key === undefined),
    'MQTT_CERT',
    'set MQTT_CERT and MQTT_KEY together',
  );
  demand(
    (redis.cert === undefined) === (redis.key === undefined),
    'REDIS_CERT',
    'set REDIS_CERT and REDIS_KEY together',
  );
  demand(
    mqtt.password === undefined || mqtt.username !== undefined,
    'MQTT_USERNAME',
    'must be set when MQTT_PASSWORD is',
  );
  demand(
    redis.url !== undefined || (redis.username === undefined && redis.password === undefined),
    'REDIS_URL',
    'must be set when REDIS_USERNAME or REDIS_PASSWORD is',
  );
  demand(
    redis.url !== undefined || redis.role === 'all',
    'ROLE',
    'must be all where there is no REDIS_URL: instances of different roles meet in Redis',
  );
  demand(
    mqtt.ingestShards === 1 || (redis.url !== undefined && mqtt.ingest === 'leased'),
    'INGEST_SHARDS',
    'must be 1 unless REDIS_URL is set and MQTT_INGEST is leased: each shard is read under a lease of its own',
  );
  const metadataFault = metadata.file === undefined ? undefined : checkMetadataFile(metadata.file);
  demand(metadataFault === undefined, 'METADATA_FILE', metadataFault ?? '');
  const transformFault = transform.file === undefined ? undefined : checkTransformFile(transform.file);
  demand(transformFault === undefined, 'TRANSFORM_FILE', transformFault ?? '');
  demand(
    redis.url === undefined || /^(rediss?|redis\+sentinel):\/\//.test(redis.url),
    'REDIS_URL',
    'must start with redis://, rediss:// or redis+sentinel://',
  );
  demand(
    ws.allowedOrigins.every((origin) => origin === '*' || isOrigin(origin)),
    'WS_ALLOWED_ORIGINS',
    'every entry must be an origin like https://dash.example.com (no path), or *',
  );
  const tokensFault = api.token === undefined ? undefined : apiTokensFault(api.token);
  demand(tokensFault === undefined, 'API_TOKEN', tokensFault ?? '');
  if (production) {
    demand(
      api.token === undefined ||
        (http.managementPort !== undefined && (http.managementPort !== http.port || http.port === 0)),
      'MANAGEMENT_PORT',
      'must be set, and be another port than PORT, when API_TOKEN is: who reaches PORT shall not reach the server API',
    );
    demand(
      keySources.length >= 1,
      'JWT_SECRET',
      'set one of JWT_SECRET, JWT_PUBLIC_KEY and JWT_JWKS_URL, or JWT_JWKS_FILE (nothing is generated in production)',
    );
    demand(
      auth.jwtJwksUrl === undefined || !isClear(auth.jwtJwksUrl),
      'JWT_JWKS_URL',
      'must be https:// in production, unless its host is this machine: who is on the way could put in a key',
    );
    demand(mqtt.url !== undefined, 'MQTT_URL', 'must be set in production (there is no embedded broker)');
    demand(
      ws.allowedOrigins.length > 0,
      'WS_ALLOWED_ORIGINS',
      'must be set in production: a list of origins, or * to allow any',
    );
    demand(config.demo.devices === 0, 'DEMO_DEVICES', 'must be 0 in production (no simulated fleet)');
    demand(
      config.demo.layouts.length === 0,
      'DEMO_LAYOUTS',
      'must not be set in production (no simulated fleet)',
    );
  }
  return problems;
}

/** Whether an address goes over a network without TLS. */
function isClear(address: string): boolean {
  try {
    const { protocol, hostname } = new URL(address);
    return protocol === 'http:' && !/^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname);
  } catch {
    return false;
  }
}

function isOrigin(text: string): boolean {
  try {
    return new URL(text).origin === text;
  } catch {
    return false;
  }
}

function hasCredentials(address: string): boolean {
  try {
    const { username, password } = new URL(address);
    return username !== '' || password !== '';
  } catch {
    return false;
  }
}
