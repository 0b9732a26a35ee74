import { z } from 'zod';
import { amountSettings } from './limits.js';
import { int, list, matching, oneOf, optionalInt, optionalText, secret, text } from './setting.js';

const url = (schemes: string[]): z.ZodType<string> =>
  z.string().refine(
    (value) => {
      try {
        return schemes.includes(new URL(value).protocol);
      } catch {
        return false;
      }
    },
    `must be a URL that starts with ${schemes.map((scheme) => `${scheme}//`).join(' or ')}`,
  );

const path = z.string().regex(/^\/[\w\-./]*$/, 'must be a path that starts with /');

/**
 * Every setting of the service, by area. This table is the only list: the typed Config, the error texts,
 * `.env.example` and docs/settings.md are all made from it.
 */
export const settings = {
  http: {
    port: int('PORT', 8080, [0, 65_535], 'Port of HTTP and WebSocket; 0 picks a free one'),
    host: text('HOST', '0.0.0.0', 'Address to listen on'),
    managementPort: optionalInt(
      'MANAGEMENT_PORT',
      [0, 65_535],
      'Port of health and metrics when they shall not be on PORT, so that the outside cannot reach them',
      { defaultText: 'same as PORT' },
    ),
    trustedProxies: list(
      'TRUSTED_PROXIES',
      [],
      'Comma list of proxy addresses or CIDR ranges whose X-Forwarded-For is believed; limits per address then count the client',
    ),
  },
  ws: {
    path: matching('WS_PATH', '/ws', path, 'Path of the WebSocket upgrade; / is accepted too'),
    allowedOrigins: list(
      'WS_ALLOWED_ORIGINS',
      ({ production }) => (production ? [] : ['*']),
      'Comma list of exact origins whose pages may connect; * allows any',
      undefined,
      { defaultText: '* in development, required in production' },
    ),
    writes: oneOf(
      'WS_WRITES',
      ['direct', 'stream'],
      'direct',
      "How frames reach a connection: direct = to Node's TCP handle where nothing waits, less CPU with few messages a second; stream = always through Node's stream",
    ),
    ...amountSettings.ws,
  },
  auth: {
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
    ...amountSettings.auth,
  },
  mqtt: {
    url: optionalText(
      'MQTT_URL',
      'Broker of the devices; unset in development means the embedded broker',
      url(['mqtt:', 'mqtts:', 'ws:', 'wss:']),
      { defaultText: 'embedded broker in development, required in production' },
    ),
    username: optionalText('MQTT_USERNAME', 'User name at the broker'),
    password: secret('MQTT_PASSWORD', 'Password at the broker'),
    protocolVersion: oneOf(
      'MQTT_PROTOCOL_VERSION',
      ['4', '5'],
      ({ embeddedBroker }) => (embeddedBroker ? '4' : '5'),
      'MQTT version: 5, or 4 for brokers that know only 3.1.1',
      { defaultText: '5; 4 with the embedded broker' },
    ),
    ca: secret('MQTT_CA', 'Certificate authority of the broker (PEM); the system ones are used when unset'),
    cert: secret('MQTT_CERT', 'Client certificate for mutual TLS (PEM)'),
    key: secret('MQTT_KEY', 'Private key of the client certificate (PEM)'),
    ingest: oneOf(
      'MQTT_INGEST',
      ['leased', 'shared'],
      'leased',
      'Who reads device topics when there is a Redis: leased = one instance at a time, order per device kept; shared = all share them',
    ),
    sharedGroup: matching(
      'MQTT_SHARED_GROUP',
      'sluice',
      z.string().regex(/^[^/+#]+$/, 'must be one topic level without / + #'),
      'Group name of the shared subscription',
    ),
    embeddedPort: optionalInt(
      'MQTT_EMBEDDED_PORT',
      [0, 65_535],
      'Port of the embedded broker, on loopback; 0 picks a free one',
      { defaultText: '1883, or a free one if that is taken' },
    ),
    ...amountSettings.mqtt,
  },
  commands: { ...amountSettings.commands },
  rooms: { ...amountSettings.rooms },
  redis: {
    url: secret(
      'REDIS_URL',
      'Redis that joins several instances: redis://, rediss://, a comma list of nodes for Redis Cluster, redis+sentinel:// for Sentinel',
      { defaultText: 'none: rooms in memory, one instance' },
    ),
    username: optionalText('REDIS_USERNAME', 'User at Redis, in place of the one in REDIS_URL'),
    password: secret(
      'REDIS_PASSWORD',
      'Password at Redis, in place of the one in REDIS_URL, as it is: nothing is percent-encoded',
    ),
    ca: secret(
      'REDIS_CA',
      'Certificate authority of Redis (PEM), with rediss:// or TLS behind Sentinel; the system ones are used when unset',
    ),
    cert: secret('REDIS_CERT', 'Client certificate for mutual TLS with Redis (PEM)'),
    key: secret('REDIS_KEY', 'Private key of the client certificate for Redis (PEM)'),
    namespace: matching(
      'NAMESPACE',
      'sluice',
      z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, 'must be 1 to 64 of A-Z a-z 0-9 . _ -'),
      'Prefix of Redis keys, MQTT client ids and the lease, so that two deployments can share a broker and a Redis',
    ),
    ...amountSettings.redis,
  },
  metadata: {
    file: optionalText(
      'METADATA_FILE',
      'JSON file {"<deviceId>": {…}} with metadata for devices that publish none; retained meta messages win',
    ),
  },
  transform: {
    file: optionalText(
      'TRANSFORM_FILE',
      'JSON file {"rules": [{"devices": "<id or pattern>", "fields": {"<field>": {"rename", "scale", "offset", "decimals", "unit"}}}]} applied to payloads before they are stored',
    ),
    fromMeta: oneOf(
      'TRANSFORM_FROM_META',
      ['true', 'false'],
      'false',
      "Whether the `transform` member of a device's metadata adds rules for its payloads",
    ),
  },
  log: {
    level: oneOf(
      'LOG_LEVEL',
      ['fatal', 'error', 'warn', 'info', 'debug', 'trace'],
      'info',
      'Least severity that is logged; the lines of commands (who, which device, what became of it) always are',
    ),
    format: oneOf(
      'LOG_FORMAT',
      ['json', 'pretty'],
      ({ production }) => (production ? 'json' : 'pretty'),
      'json for machines, pretty for people',
      { defaultText: 'json in production, pretty in development' },
    ),
    traceDevices: list(
      'LOG_TRACE_DEVICES',
      [],
      'Comma list of device ids whose accepted and dropped messages are logged (never their payloads), whatever LOG_LEVEL says',
    ),
  },
  health: { ...amountSettings.health },
  drain: { ...amountSettings.drain },
  demo: {
    devices: int(
      'DEMO_DEVICES',
      ({ production, embeddedBroker }) => (!production && embeddedBroker ? 12 : 0),
      [0, 10_000],
      'Simulated devices that publish to the broker, to have something to look at',
      { defaultText: '12 in development with the embedded broker, else 0' },
    ),
  },
};
