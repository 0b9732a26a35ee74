import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { ManualClock } from '../auth/manual-clock.js';
import { jwk } from '../auth/jwks-server.js';
import { es256, goodClaims, hs256, type Signer, signToken } from '../auth/tokens.js';
import { type Certificates, makeCertificates } from '../devices/certificates.js';
import { eventually } from '../redis/redis-fixture.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import type { DashboardClient } from '../support/dashboard-client.js';
import { freePort } from '../support/free-port.js';
import { mosquittoPub } from '../support/mosquitto-clients.js';
import { type Mosquitto, startMosquitto } from '../support/mosquitto.js';
import { MountedSecret } from '../support/mounted-secret.js';
import { type RedisServer, startRedis } from '../support/redis.js';
import { type Sluice, startSluice } from '../support/sluice.js';

jest.setTimeout(120_000);

const PATIENCE_MS = 30_000;
const SECRET = 'an HS256 secret of more than 32 bytes';

/**
 * The runbook "Rotation" of docs/operations.md, carried out: one instance runs all the time, and what is mounted into it is swapped as the kubelet
 * does.
 */
describe('what is rotated while an instance runs', () => {
  const ownAll = stopAfterAll();
  const own = stopAfterEach();
  const [first, second] = [es256(), es256()];
  let [before, after]: Certificates[] = [];
  let broker: Mosquitto;
  let redis: RedisServer;
  let sluice: Sluice;
  const mounted: Record<'jwks' | 'mqtt' | 'redis' | 'files', MountedSecret | undefined> = {
    jwks: undefined,
    mqtt: undefined,
    redis: undefined,
    files: undefined,
  };

  const jwks = (...keys: object[]) => ({ key: JSON.stringify({ keys }) });
  const client = (of: Certificates | undefined, password: string) => ({
    password,
    'ca.crt': of!.pem('ca.crt'),
    'tls.crt': of!.pem('client.crt'),
    'tls.key': of!.pem('client.key'),
  });
  const rules = (scale: number) => ({
    'rules.json': JSON.stringify({ rules: [{ devices: 'a', fields: { t: { scale } } }] }),
  });
  const tlsPort: Record<'mqtt' | 'redis', number> = { mqtt: 0, redis: 0 };

  /** The broker's side of it: what it shows and whom it lets in. */
  const arm = (of: Certificates | undefined, password: string): void => {
    for (const [name, from] of [
      ['ca.crt', 'ca.crt'],
      ['tls.crt', 'server.crt'],
      ['tls.key', 'server.key'],
    ] as const) {
      copyFileSync(of!.path(from), join(broker.directory, name));
    }
    execFileSync('mosquitto_passwd', ['-c', '-b', join(broker.directory, 'passwords'), 'sluice', password]);
  };
  const armRedis = async (of: Certificates | undefined): Promise<void> => {
    await redis.command(
      ...['CONFIG', 'SET', 'tls-ca-cert-file', of!.path('ca.crt')],
      ...['tls-cert-file', of!.path('server.crt'), 'tls-key-file', of!.path('server.key')],
    );
  };

  beforeAll(async () => {
    before = ownAll(makeCertificates());
    after = ownAll(makeCertificates());
    tlsPort.mqtt = await freePort();
    tlsPort.redis = await freePort();
    broker = ownAll(
      await startMosquitto({
        config: ({ port, directory }) => {
          const at = (name: string): string => join(directory, name);
          copyFileSync(before!.path('ca.crt'), at('ca.crt'));
          copyFileSync(before!.path('server.crt'), at('tls.crt'));
          copyFileSync(before!.path('server.key'), at('tls.key'));
          execFileSync('mosquitto_passwd', ['-c', '-b', at('passwords'), 'sluice', 'first']);
          return `per_listener_settings true
listener ${port} 127.0.0.1
allow_anonymous true
listener ${tlsPort.mqtt} 127.0.0.1
allow_anonymous false
password_file ${at('passwords')}
cafile ${at('ca.crt')}
certfile ${at('tls.crt')}
keyfile ${at('tls.key')}
require_certificate true`;
        },
      }),
    );
    redis = ownAll(
      await startRedis({
        args: [
          ...['--tls-port', String(tlsPort.redis), '--tls-auth-clients', 'yes'],
          ...['--tls-ca-cert-file', before.path('ca.crt'), '--tls-cert-file', before.path('server.crt')],
          ...['--tls-key-file', before.path('server.key')],
        ],
      }),
    );
    await redis.command('ACL', 'SETUSER', 'sluice', 'on', '>first', '~*', '&*', '+@all');
    mounted.jwks = ownAll(new MountedSecret(jwks(jwk(first, { kid: 'first' }))));
    mounted.mqtt = ownAll(new MountedSecret(client(before, 'first')));
    mounted.redis = ownAll(new MountedSecret(client(before, 'first')));
    mounted.files = ownAll(new MountedSecret(rules(2)));
    const tls = (name: 'MQTT' | 'REDIS', secret: MountedSecret) => ({
      [`${name}_USERNAME`]: 'sluice',
      [`${name}_PASSWORD_FILE`]: secret.path('password'),
      [`${name}_CA_FILE`]: secret.path('ca.crt'),
      [`${name}_CERT_FILE`]: secret.path('tls.crt'),
      [`${name}_KEY_FILE`]: secret.path('tls.key'),
    });
    sluice = ownAll(
      await startSluice({
        env: {
          JWT_SECRET: '',
          LOG_LEVEL: 'debug',
          JWT_JWKS_FILE: mounted.jwks.path('key'),
          MQTT_URL: `mqtts://127.0.0.1:${tlsPort.mqtt}`,
          REDIS_URL: `rediss://127.0.0.1:${tlsPort.redis}`,
          ...tls('MQTT', mounted.mqtt),
          ...tls('REDIS', mounted.redis),
          TRANSFORM_FILE: mounted.files.path('rules.json'),
        },
      }),
    );
  });

  const token = (signer: Signer, kid: string): string =>
    signToken(goodClaims(new ManualClock(Date.now())), signer, { kid });
  const enter = async (signer: Signer, kid: string): Promise<DashboardClient> =>
    own(await sluice.connect({ token: token(signer, kid) }));
  const isIn = async (signer: Signer, kid: string): Promise<boolean> => {
    const dashboard = await enter(signer, kid);
    return Promise.race([
      dashboard.next('connected').then(
        () => true,
        () => false,
      ),
      dashboard.closed.then(() => false),
    ]);
  };
  const expiresS = (certificate: string): Promise<number> =>
    sluice.metric('sluice_certificate_expires_seconds', { certificate });

  it('keys of tokens: a new one beside the old one, then the old one taken out', async () => {
    const old = await enter(first, 'first');
    await old.next('connected');
    mounted.jwks!.update(jwks(jwk(first, { kid: 'first' }), jwk(second, { kid: 'second' })));
    await eventually(() => isIn(second, 'second'), 'the new key', PATIENCE_MS);
    const renewed = await enter(first, 'first');
    await renewed.next('connected');
    renewed.send({ type: 'auth', token: token(second, 'second') });
    await renewed.next('authenticated');
    await old.roundTrip();
    const secret = { kty: 'oct', kid: 'secret', k: Buffer.from(SECRET).toString('base64url') };
    mounted.jwks!.update(jwks(jwk(second, { kid: 'second' }), secret));
    expect(await old.closed).toEqual({ code: 4001, reason: 'The token was revoked' });
    expect(await isIn(first, 'first')).toBe(false);
    expect(await isIn(hs256(SECRET), 'secret')).toBe(true);
    await renewed.roundTrip();
    await sluice.line(/"gone":\["first"\].*keys of tokens changed/);
    expect(sluice.output).not.toContain(secret.k);
  });

  it('keys of tokens: a broken file changes nothing, and says what to correct', async () => {
    mounted.jwks!.update({ key: '{"keys":[' });
    sluice.send('SIGHUP'); // also read at once, without the wait for the next look
    await sluice.line(/JWT_JWKS_FILE is not taken, what was there before goes on: must be JSON/);
    expect(await isIn(second, 'second')).toBe(true);
    expect(
      await sluice.metric('sluice_file_reloads_total', { file: 'JWT_JWKS_FILE', outcome: 'refused' }),
    ).toBe(1);
    mounted.jwks!.update(jwks(jwk(second, { kid: 'second' })));
  });

  it('the password at the broker, its authority, and the client certificate', async () => {
    const dashboard = await enter(second, 'second');
    await dashboard.next('connected');
    dashboard.send({ type: 'subscribe', deviceIds: ['pump-1'] });
    await dashboard.next('subscribed');
    arm(after, 'second');
    await broker.restart();
    await sluice.line(/No connection to mqtts:.*(certificate|self-signed|verify)/);
    const ends = await expiresS('MQTT_CERT');
    mounted.mqtt!.update(client(after, 'second'));
    await dashboard.next('upstream', ({ mqtt }) => mqtt === 'up', PATIENCE_MS);
    await mosquittoPub(broker, 'devices/pump-1/telemetry', '"rotated"');
    await dashboard.next('telemetry', ({ payload }) => payload === 'rotated');
    expect(ends).toBe(Date.parse(new X509Certificate(before!.pem('client.crt')).validTo) / 1000);
    expect(await expiresS('MQTT_CERT')).toBe(
      Date.parse(new X509Certificate(after!.pem('client.crt')).validTo) / 1000,
    );
  });

  it('the password at Redis, without a connection that fails', async () => {
    const lost = await sluice.metric('sluice_redis_mode_changes_total');
    await redis.command('ACL', 'SETUSER', 'sluice', '>second');
    mounted.redis!.update(client(before, 'second'));
    await redis.command('ACL', 'SETUSER', 'sluice', '<first');
    await redis.command('CLIENT', 'KILL', 'USER', 'sluice');
    await eventually(
      async () => (await sluice.metric('sluice_redis_connected')) === 1,
      'Redis is reached again',
      PATIENCE_MS,
    );
    expect(await sluice.metric('sluice_redis_mode_changes_total')).toBe(lost);
  });

  it('the address of Redis with its password, in place of which no other kind of Redis is taken', async () => {
    const address = (password: string) => `redis://whole:${password}@127.0.0.1:${redis.port}`;
    await redis.command('ACL', 'SETUSER', 'whole', 'on', '>first', '~*', '&*', '+@all');
    const secret = own(new MountedSecret({ url: address('first') }));
    const other = own(
      await startSluice({
        env: { LOG_LEVEL: 'debug', NAMESPACE: 'whole', REDIS_URL_FILE: secret.path('url') },
      }),
    );
    const reached = () => other.logs.filter(({ msg }) => msg === 'Redis is reached').length;
    const isBackAfterALoss = async (): Promise<void> => {
      const times = reached();
      await redis.command('CLIENT', 'KILL', 'USER', 'whole');
      await eventually(
        async () => (await other.metric('sluice_redis_connected')) === 1 && reached() > times,
        'Redis is reached again',
        PATIENCE_MS,
      );
    };
    await redis.command('ACL', 'SETUSER', 'whole', '>the-second');
    secret.update({ url: address('the-second') });
    await redis.command('ACL', 'SETUSER', 'whole', '<first');
    await isBackAfterALoss();
    secret.update({ url: `${address('the-second')},127.0.0.1:${tlsPort.redis}` });
    await isBackAfterALoss();
    await other.line(/REDIS_URL: a cluster in place of a single needs a restart; the address before goes on/);
    expect(other.output).not.toContain('the-second');
  });

  it('the authority of Redis, and the client certificate', async () => {
    await armRedis(after);
    mounted.redis!.update(client(after, 'second'));
    const reached = () => sluice.logs.filter(({ msg }) => msg === 'Redis is reached').length;
    const times = reached();
    await redis.command('CLIENT', 'KILL', 'USER', 'sluice');
    await eventually(
      async () => (await sluice.metric('sluice_redis_connected')) === 1 && reached() > times,
      'Redis is reached again',
      PATIENCE_MS,
    );
  });

  it('rules of TRANSFORM_FILE at SIGHUP, of which a faulty one is refused as a whole', async () => {
    const dashboard = own(
      await sluice.connect({
        token: signToken({ ...goodClaims(new ManualClock(Date.now())), deviceIds: ['a'] }, second, {
          kid: 'second',
        }),
      }),
    );
    await dashboard.next('subscribed');
    const shown = async (t: number): Promise<void> => {
      await mosquittoPub(broker, 'devices/a/telemetry', '{"t":10}');
      await dashboard.next('telemetry', ({ payload }) => (payload as { t: number }).t === t, PATIENCE_MS);
    };
    await shown(20);
    // Earlier signals have read it again, too.
    const readings = (): number => sluice.output.split('TRANSFORM_FILE was read again').length;
    const before = readings();
    mounted.files!.update(rules(3));
    sluice.send('SIGHUP');
    await eventually(() => readings() > before, 'read again');
    await shown(30);
    mounted.files!.update({ 'rules.json': '{"rules":[{"devices":"a/b","fields":{}}]}' });
    sluice.send('SIGHUP');
    await sluice.line(/TRANSFORM_FILE is not taken, .*rules\.0\.devices: is no device id or pattern/);
    await shown(30);
  });
});
