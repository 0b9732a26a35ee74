import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateKeyPairSync } from 'node:crypto';
import { ConfigError, type Environment, loadConfig } from './load-config.js';
import type { Setting } from './setting.js';
import { settings } from './settings.js';

const SECRET = 'x'.repeat(32);
const JWKS = `{"keys":[{"kty":"oct","k":"${'A'.repeat(43)}"}]}`;
const PUBLIC_KEY = generateKeyPairSync('ed25519')
  .publicKey.export({ type: 'spki', format: 'pem' })
  .toString();
const PRODUCTION = {
  NODE_ENV: 'production',
  JWT_SECRET: SECRET,
  MQTT_URL: 'mqtt://broker',
  WS_ALLOWED_ORIGINS: 'https://dash.example.com',
};

function problemsOf(env: Environment): readonly string[] {
  try {
    loadConfig(env);
    return [];
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).problems;
  }
}

/** One row for every setting that is not a mere amount: where it lands, its default, what it takes and refuses. */
interface Row {
  path: string;
  fallback: unknown;
  /** Raw value and what it becomes. */
  takes: [string, unknown];
  /** Raw value and what the problem says; none where every text is good. */
  refuses?: [string, string];
  /** Further settings that the taken value needs. */
  also?: Record<string, string>;
}

const WHOLE = 'must be a whole number';
const ROWS: Record<string, Row> = {
  PORT: { path: 'http.port', fallback: 8080, takes: ['0', 0], refuses: ['65536', 'must be at most 65535'] },
  HOST: { path: 'http.host', fallback: '0.0.0.0', takes: ['::1', '::1'] },
  MANAGEMENT_PORT: {
    path: 'http.managementPort',
    fallback: undefined,
    takes: ['9090', 9090],
    refuses: ['http', WHOLE],
  },
  TRUSTED_PROXIES: {
    path: 'http.trustedProxies',
    fallback: [],
    takes: [' 10.0.0.0/8, ::1 ,', ['10.0.0.0/8', '::1']],
  },
  DASHBOARD_TOKEN_URL: {
    path: 'http.dashboardTokenUrl',
    fallback: undefined,
    takes: ['/login/token', '/login/token'],
    refuses: ['//other.example/token', 'must be a path that starts with /, or a URL'],
  },
  WS_PATH: {
    path: 'ws.path',
    fallback: '/ws',
    takes: ['/live/ws', '/live/ws'],
    refuses: ['ws', 'must be a path that starts with /'],
  },
  WS_ALLOWED_ORIGINS: {
    path: 'ws.allowedOrigins',
    fallback: ['*'],
    takes: ['https://a.example,http://b.example:8080', ['https://a.example', 'http://b.example:8080']],
    refuses: ['https://a.example/', 'every entry must be an origin'],
  },
  JWT_SECRET: {
    path: 'auth.jwtSecret',
    fallback: undefined,
    takes: [SECRET, SECRET],
    refuses: ['short', 'at least 32 bytes'],
  },
  JWT_PUBLIC_KEY: {
    path: 'auth.jwtPublicKey',
    fallback: undefined,
    takes: [PUBLIC_KEY, PUBLIC_KEY],
    refuses: ['ssh-ed25519 AAAA', 'PEM'],
  },
  JWT_JWKS: {
    path: 'auth.jwtJwks',
    fallback: undefined,
    takes: [JWKS, JWKS],
    refuses: ['{"keys":[]}', 'no key that can verify tokens'],
  },
  JWT_JWKS_URL: {
    path: 'auth.jwtJwksUrl',
    fallback: undefined,
    takes: ['https://id.example/jwks', 'https://id.example/jwks'],
    refuses: ['id.example', 'must be a URL that starts with http:// or https://'],
  },
  JWT_ISSUER: {
    path: 'auth.jwtIssuer',
    fallback: undefined,
    takes: ['https://id.example', 'https://id.example'],
  },
  JWT_AUDIENCE: { path: 'auth.jwtAudience', fallback: undefined, takes: ['sluice', 'sluice'] },
  MQTT_URL: {
    path: 'mqtt.url',
    fallback: undefined,
    takes: ['mqtts://broker:8883', 'mqtts://broker:8883'],
    refuses: ['tcp://broker', 'must be a URL that starts with mqtt:// or mqtts:// or ws:// or wss://'],
  },
  MQTT_USERNAME: { path: 'mqtt.username', fallback: undefined, takes: ['gateway', 'gateway'] },
  MQTT_PASSWORD: {
    path: 'mqtt.password',
    fallback: undefined,
    takes: ['p', 'p'],
    also: { MQTT_USERNAME: 'gateway' },
  },
  MQTT_PROTOCOL_VERSION: {
    path: 'mqtt.protocolVersion',
    fallback: '4',
    takes: ['5', '5'],
    refuses: ['3', 'must be one of 4, 5'],
  },
  MQTT_CA: { path: 'mqtt.ca', fallback: undefined, takes: ['pem', 'pem'] },
  MQTT_CERT: { path: 'mqtt.cert', fallback: undefined, takes: ['pem', 'pem'], also: { MQTT_KEY: 'pem' } },
  MQTT_KEY: { path: 'mqtt.key', fallback: undefined, takes: ['pem', 'pem'], also: { MQTT_CERT: 'pem' } },
  REDIS_USERNAME: {
    path: 'redis.username',
    fallback: undefined,
    takes: ['live', 'live'],
    also: { REDIS_URL: 'redis://h' },
  },
  REDIS_PASSWORD: {
    path: 'redis.password',
    fallback: undefined,
    takes: ['p@ss', 'p@ss'],
    also: { REDIS_URL: 'redis://h' },
  },
  MQTT_INGEST: {
    path: 'mqtt.ingest',
    fallback: 'leased',
    takes: ['shared', 'shared'],
    refuses: ['all', 'must be one of leased, shared'],
  },
  MQTT_SHARED_GROUP: {
    path: 'mqtt.sharedGroup',
    fallback: undefined,
    takes: ['blue', 'blue'],
    refuses: ['a/b', 'must be one topic level'],
  },
  MQTT_EMBEDDED_PORT: {
    path: 'mqtt.embeddedPort',
    fallback: undefined,
    takes: ['0', 0],
    refuses: ['-1', 'must be at least 0'],
  },
  REDIS_URL: {
    path: 'redis.url',
    fallback: undefined,
    takes: ['rediss://a:1,b:2', 'rediss://a:1,b:2'],
    refuses: ['http://a', 'must start with redis://'],
  },
  REDIS_CA: { path: 'redis.ca', fallback: undefined, takes: ['pem', 'pem'] },
  REDIS_CERT: { path: 'redis.cert', fallback: undefined, takes: ['pem', 'pem'], also: { REDIS_KEY: 'pem' } },
  REDIS_KEY: { path: 'redis.key', fallback: undefined, takes: ['pem', 'pem'], also: { REDIS_CERT: 'pem' } },
  NAMESPACE: {
    path: 'redis.namespace',
    fallback: 'sluice',
    takes: ['plant-7', 'plant-7'],
    refuses: ['a:b', 'must be 1 to 64 of'],
  },
  TRANSFORM_FROM_META: {
    path: 'transform.fromMeta',
    fallback: 'false',
    takes: ['true', 'true'],
    refuses: ['yes', 'must be one of true, false'],
  },
  WS_WRITES: {
    path: 'ws.writes',
    fallback: 'direct',
    takes: ['stream', 'stream'],
    refuses: ['fast', 'must be one of direct, stream'],
  },
  LOG_LEVEL: {
    path: 'log.level',
    fallback: 'info',
    takes: ['debug', 'debug'],
    refuses: ['verbose', 'must be one of fatal, error'],
  },
  LOG_FORMAT: {
    path: 'log.format',
    fallback: 'pretty',
    takes: ['json', 'json'],
    refuses: ['xml', 'must be one of json, pretty'],
  },
  ROLE: {
    path: 'redis.role',
    fallback: 'all',
    takes: ['edge', 'edge'],
    refuses: ['reader', 'must be one of all, ingest, edge'],
    also: { REDIS_URL: 'redis://h' },
  },
  API_TOKEN: {
    path: 'api.token',
    fallback: undefined,
    takes: [`${'a'.repeat(32)} ${'b'.repeat(40)}`, `${'a'.repeat(32)} ${'b'.repeat(40)}`],
    refuses: ['a'.repeat(31), 'every token must have at least 32 characters'],
  },
  LOG_TRACE_DEVICES: { path: 'log.traceDevices', fallback: [], takes: ['a,b', ['a', 'b']] },
  LOG_TRACE_TOPICS: {
    path: 'log.traceTopics',
    fallback: [],
    takes: ['a/+/b, c/#', ['a/+/b', 'c/#']],
    refuses: ['a/#/b', 'is no topic filter'],
  },
  DEMO_DEVICES: { path: 'demo.devices', fallback: 12, takes: ['3', 3], refuses: ['many', WHOLE] },
  DEMO_LAYOUTS: {
    path: 'demo.layouts',
    fallback: [],
    takes: ['tasmota, sparkplug-b', ['tasmota', 'sparkplug-b']],
    refuses: ['homie', 'Invalid option'],
  },
};

function at(config: unknown, path: string): unknown {
  return path.split('.').reduce((value, key) => (value as Record<string, unknown>)[key], config);
}

/** Whole numbers with a range in their text. */
const amounts = Object.entries(settings).flatMap(([area, table]) =>
  Object.entries<Setting<unknown>>(table)
    .map(([name, setting]) => ({ ...setting, path: `${area}.${name}` }))
    .filter(({ env, doc }) => !(env in ROWS) && /\(-?\d+ to \d+\)/.test(doc)),
);

describe(loadConfig.name, () => {
  describe.each(Object.entries(ROWS))('%s', (name, { path, fallback, takes, refuses, also }) => {
    it('has its default when it is not set or empty', () => {
      expect(at(loadConfig({}), path)).toEqual(fallback);
      expect(at(loadConfig({ [name]: '' }), path)).toEqual(fallback);
    });

    it('is read', () => {
      expect(at(loadConfig({ ...also, [name]: takes[0] }), path)).toEqual(takes[1]);
    });

    if (refuses) {
      it('is refused by its name', () => {
        expect(problemsOf({ ...also, [name]: refuses[0] })).toEqual([
          expect.stringMatching(new RegExp(`^${name}: .*`)),
        ]);
        expect(problemsOf({ ...also, [name]: refuses[0] })[0]).toContain(refuses[1]);
      });
    }
  });

  it('has a row above for every setting that is not an amount (files of the operator have their own tests)', () => {
    const amountNames = new Set(amounts.map(({ env }) => env));
    const others = Object.values(settings)
      .flatMap((table) => Object.values<Setting<unknown>>(table))
      .map(({ env }) => env)
      .filter((env) => !amountNames.has(env) && !env.endsWith('_FILE'));
    expect(Object.keys(ROWS).sort()).toEqual(others.sort());
  });

  describe.each(amounts.map((setting) => [setting.env, setting] as const))('%s', (name, setting) => {
    const [least, most] = /\((-?\d+) to (\d+)\)/.exec(setting.doc)!.slice(1).map(Number) as [number, number];

    it('has a default within its range', () => {
      const fallback = at(loadConfig({}), setting.path) as number;
      expect(fallback).toBeGreaterThanOrEqual(least);
      expect(fallback).toBeLessThanOrEqual(most);
    });

    it('takes its least value and refuses what is below, above or no whole number', () => {
      expect(setting.schema.safeParse(String(least)).data).toBe(least);
      expect(problemsOf({ [name]: String(least - 1) })[0]).toBe(
        `${name}: must be at least ${least}, not "${least - 1}"`,
      );
      expect(problemsOf({ [name]: String(most + 1) })[0]).toBe(
        `${name}: must be at most ${most}, not "${most + 1}"`,
      );
      for (const wrong of ['1.5', '1e3', 'ten', '0x10', '1 000']) {
        expect(problemsOf({ [name]: wrong })[0]).toBe(
          `${name}: must be a whole number, not ${JSON.stringify(wrong)}`,
        );
      }
    });
  });

  it('keeps the limits that users may rely on', () => {
    const { ws, rooms, mqtt, drain } = loadConfig({});
    expect(ws.maxConnectionsPerUser).toBeGreaterThanOrEqual(10);
    expect(ws.maxConnectionsPerSecond).toBeGreaterThanOrEqual(1_000);
    expect(ws.maxRoomsPerConnection).toBeGreaterThanOrEqual(1_000);
    expect(ws.maxMessagesPerSecond).toBeGreaterThanOrEqual(100);
    expect(ws.maxMessageBurst).toBeGreaterThanOrEqual(200);
    expect(ws.maxPayloadBytes).toBe(64 * 1024);
    expect(rooms).toMatchObject({
      historyMaxPublications: 1_000,
      historyMaxAgeMs: 60_000,
      historyMaxBytes: 1_048_576,
    });
    expect(mqtt.maxPayloadBytes).toBe(256 * 1024);
    expect(drain.timeoutMs).toBeLessThanOrEqual(30_000);
  });

  it('is frozen all the way down', () => {
    const config = loadConfig({ TRUSTED_PROXIES: '10.0.0.1' });
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(config.http)).toBe(true);
    expect(Object.isFrozen(config.http.trustedProxies)).toBe(true);
  });

  describe('in production', () => {
    it('names everything that must be set, together', () => {
      expect(problemsOf({ NODE_ENV: 'production' })).toEqual([
        expect.stringMatching(/^JWT_SECRET: set one of JWT_SECRET, JWT_PUBLIC_KEY and JWT_JWKS_URL/),
        expect.stringMatching(/^MQTT_URL: must be set in production/),
        expect.stringMatching(/^WS_ALLOWED_ORIGINS: must be set in production/),
      ]);
    });

    it('embeds, generates and simulates nothing', () => {
      const config = loadConfig(PRODUCTION);
      expect(config.production).toBe(true);
      expect(config.demo.devices).toBe(0);
      expect(config.mqtt.protocolVersion).toBe('5');
      expect(config.log.format).toBe('json');
    });

    it('refuses a simulated fleet', () => {
      expect(problemsOf({ ...PRODUCTION, DEMO_DEVICES: '3' })).toEqual([
        'DEMO_DEVICES: must be 0 in production (no simulated fleet)',
      ]);
    });

    it('refuses a server API that whoever reaches PORT would reach', () => {
      const api = { ...PRODUCTION, API_TOKEN: 'a'.repeat(32) };
      const refused = [expect.stringMatching(/^MANAGEMENT_PORT: must be set, and be another port than PORT/)];
      expect(problemsOf(api)).toEqual(refused);
      expect(problemsOf({ ...api, PORT: '8080', MANAGEMENT_PORT: '8080' })).toEqual(refused);
      expect(loadConfig({ ...api, PORT: '8080', MANAGEMENT_PORT: '9090' }).api.token).toBe('a'.repeat(32));
      expect(loadConfig({ ...api, PORT: '0', MANAGEMENT_PORT: '0' }).http.managementPort).toBe(0);
      const { API_TOKEN: _token, ...without } = api;
      expect(loadConfig({ ...without, PORT: '8080', MANAGEMENT_PORT: '8080' }).api.token).toBeUndefined();
    });

    // Defect: the keys that let users in were taken over plain HTTP, from whoever is on the way.
    it('takes keys over http:// from this machine alone', () => {
      const { JWT_SECRET: _secret, ...others } = PRODUCTION;
      const problems = (url: string) => problemsOf({ ...others, JWT_JWKS_URL: url });
      for (const host of ['id.example', '10.0.0.1', 'localhost.example', '127.0.0.1.example', '[::2]']) {
        expect(problems(`http://${host}/jwks`)).toEqual([
          expect.stringMatching(/^JWT_JWKS_URL: must be https:\/\/ in production/),
        ]);
      }
      for (const url of [
        'http://localhost:80/k',
        'http://127.0.0.1/k',
        'http://[::1]/k',
        'https://id.example',
      ]) {
        expect(loadConfig({ ...others, JWT_JWKS_URL: url }).auth.jwtJwksUrl).toBe(url);
      }
    });

    it('lets any origin in only when * is said', () => {
      expect(loadConfig({ ...PRODUCTION, WS_ALLOWED_ORIGINS: '*' }).ws.allowedOrigins).toEqual(['*']);
    });
  });

  describe('together', () => {
    it('reports all problems at once, each with its name, and counts them', () => {
      const wrong = {
        PORT: 'x',
        LOG_LEVEL: 'loud',
        MQTT_URL: 'broker',
        JWT_SECRET: 'short',
        MQTT_CERT: 'pem',
      };
      expect(
        problemsOf(wrong)
          .map((problem) => problem.split(':', 1)[0])
          .sort(),
      ).toEqual(Object.keys(wrong).sort());
      expect(() => loadConfig(wrong)).toThrow('Sluice cannot start, 5 setting(s) to correct:\n  - PORT: ');
    });

    it('says one thing about one variable', () => {
      const names = problemsOf({ NODE_ENV: 'production', MQTT_URL: 'broker' }).map(
        (problem) => problem.split(':', 1)[0],
      );
      expect(names.filter((name) => name === 'MQTT_URL')).toHaveLength(1);
    });

    it.each([
      [{ JWT_SECRET: SECRET, JWT_PUBLIC_KEY: PUBLIC_KEY }, 'JWT_SECRET: set exactly one of'],
      [{ JWT_SECRET: SECRET, JWT_JWKS_URL: 'https://id.example/jwks' }, 'JWT_SECRET: set exactly one of'],
      [
        { JWT_JWKS_URL: 'https://u:p@id.example/jwks' },
        'JWT_JWKS_URL: must not contain a user name or password',
      ],
      [
        { MQTT_URL: 'mqtt://u:p@broker' },
        'MQTT_URL: must not contain a user name or password: set MQTT_USERNAME',
      ],
      [{ MQTT_CERT: 'pem' }, 'MQTT_CERT: set MQTT_CERT and MQTT_KEY together'],
      [{ MQTT_KEY: 'pem' }, 'MQTT_CERT: set MQTT_CERT and MQTT_KEY together'],
      [{ REDIS_CERT: 'pem' }, 'REDIS_CERT: set REDIS_CERT and REDIS_KEY together'],
      [{ INGEST_SHARDS: '2' }, 'INGEST_SHARDS: must be 1 unless REDIS_URL is set and MQTT_INGEST is leased'],
      [{ ROLE: 'ingest' }, 'ROLE: must be all where there is no REDIS_URL'],
      [{ REDIS_PASSWORD: 'p' }, 'REDIS_URL: must be set when REDIS_USERNAME or REDIS_PASSWORD is'],
      [{ MQTT_PASSWORD: 'p' }, 'MQTT_USERNAME: must be set when MQTT_PASSWORD is'],
    ])('refuses %o', (env, problem) => {
      const problems = problemsOf(env);
      expect(problems).toHaveLength(1);
      expect(problems[0]).toContain(problem);
    });
  });

  describe('values that are secret', () => {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-config-'));
    const file = (content: string): string => {
      const path = join(folder, `secret-${Math.random()}`);
      writeFileSync(path, content);
      return path;
    };
    afterAll(() => rmSync(folder, { recursive: true }));
    const secrets = Object.values(settings)
      .flatMap((table) => Object.values<Setting<unknown>>(table))
      .filter(({ secret }) => secret)
      .map(({ env }) => env);

    it.each(secrets)('%s may come from a file, whose last line end is not part of it', (name) => {
      const { path, takes, also } = ROWS[name]!;
      const config = loadConfig({ ...also, [`${name}_FILE`]: file(`${takes[0].trimEnd()}\r\n`) });
      expect(at(config, path)).toBe((takes[1] as string).trimEnd());
    });

    it('are never part of a problem, nor is a password in an address', () => {
      const text = problemsOf({
        JWT_SECRET: 'hunter2',
        REDIS_URL: 'http://:hunter2@redis',
        MQTT_URL: 'tcp://user:hunter2@broker',
        JWT_JWKS_URL: 'ftp://user:hunter2@id.example',
      }).join('\n');
      expect(text.split('\n')).toHaveLength(4);
      expect(text).not.toContain('hunter2');
    });

    it('are not read from a file and a variable at once', () => {
      expect(problemsOf({ JWT_SECRET: SECRET, JWT_SECRET_FILE: file(SECRET) })).toEqual([
        'JWT_SECRET: set it or JWT_SECRET_FILE, not both',
      ]);
    });

    it('name the file that cannot be read, or is empty', () => {
      expect(problemsOf({ JWT_SECRET_FILE: join(folder, 'nothing') })).toEqual([
        'JWT_SECRET: the file that JWT_SECRET_FILE names cannot be read (ENOENT)',
      ]);
      expect(problemsOf({ MQTT_CA_FILE: file('\n') })).toEqual([
        'MQTT_CA: the file that MQTT_CA_FILE names is empty',
      ]);
    });

    it('have no file where they are none: PORT_FILE is ignored', () => {
      expect(loadConfig({ PORT_FILE: '/nothing' }).http.port).toBe(8080);
    });
  });
});
