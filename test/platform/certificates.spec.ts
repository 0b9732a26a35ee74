import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { edDsa, goodClaims, signToken } from '../auth/tokens.js';
import { jwk } from '../auth/jwks-server.js';
import { ManualClock } from '../auth/manual-clock.js';
import { type Certificates, makeCertificates } from '../devices/certificates.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { freePort } from '../support/free-port.js';
import { startMosquitto } from '../support/mosquitto.js';
import { startRedis } from '../support/redis.js';
import { Sluice } from '../support/sluice.js';

/**
 * Defect: with NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment anybody on the way could be the key server, and let himself in, or the
 * Redis: neither client of TLS said that it wants certificates checked. Now each says so, as the broker's did. In processes of their own: what a test changes
 * in its environment does not reach Node.js.
 */
describe('certificates, with NODE_TLS_REJECT_UNAUTHORIZED=0', () => {
  const ownAll = stopAfterAll();
  const own = stopAfterEach();
  const signer = edDsa();
  let certificates: Certificates;
  let keyServer: string;

  beforeAll(async () => {
    certificates = ownAll(makeCertificates());
    const server = createServer(
      { cert: certificates.pem('server.crt'), key: certificates.pem('server.key') },
      (_request, response) => response.end(JSON.stringify({ keys: [jwk(signer, { kid: 'one' })] })),
    ).listen(0, '127.0.0.1');
    await once(server, 'listening');
    ownAll({ stop: () => server.close() });
    keyServer = `https://127.0.0.1:${(server.address() as AddressInfo).port}/jwks.json`;
  });

  const start = async (env: Record<string, string>): Promise<Sluice> =>
    own(await Sluice.start({ env: { NODE_TLS_REJECT_UNAUTHORIZED: '0', ...env }, waitForReady: false }));
  const token = (): string => signToken(goodClaims(new ManualClock(Date.now())), signer, { kid: 'one' });

  it('takes no key from a server that no known authority vouches for', async () => {
    const sluice = await start({ JWT_SECRET: '', JWT_JWKS_URL: keyServer });
    await sluice.line(/Cannot be fetched \((UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED\w*)\)/);
    const client = await sluice.connect({ token: token() });
    expect((await client.closed).code).toBe(1013);
  });

  it('takes the keys of a server whose authority NODE_EXTRA_CA_CERTS names', async () => {
    const sluice = await start({
      JWT_SECRET: '',
      JWT_JWKS_URL: keyServer,
      NODE_EXTRA_CA_CERTS: certificates.path('ca.crt'),
    });
    const client = await sluice.connect({ token: token() });
    expect((await client.next('connected')).userId).toBe('ann');
    await client.close();
  });

  describe('of the broker', () => {
    const ports = { mqtts: 0, wss: 0 };

    beforeAll(async () => {
      ports.mqtts = await freePort();
      ports.wss = await freePort();
      const shown = `certfile ${certificates.path('server.crt')}\nkeyfile ${certificates.path('server.key')}`;
      ownAll(
        await startMosquitto({
          config: ({ port }) => `
listener ${port} 127.0.0.1
listener ${ports.mqtts} 127.0.0.1
${shown}
listener ${ports.wss} 127.0.0.1
protocol websockets
${shown}`,
        }),
      );
    });

    it.each(['mqtts', 'wss'] as const)(
      'takes no message by %s from one that another authority vouches for',
      async (by) => {
        const MQTT_URL = `${by}://127.0.0.1:${ports[by]}`;
        const sluice = await start({ MQTT_URL, MQTT_CA: certificates.pem('other.crt') });
        await sluice.line(/No connection to.*(certificate|self.signed|signature)/);
        expect(await sluice.metric('sluice_mqtt_connected')).toBe(0);
      },
    );

    it('takes them from one whose authority MQTT_CA names', async () => {
      const MQTT_URL = `mqtts://127.0.0.1:${ports.mqtts}`;
      const sluice = await start({ MQTT_URL, MQTT_CA: certificates.pem('ca.crt') });
      await sluice.line(/SLUICE ready/);
      expect(await sluice.metric('sluice_mqtt_connected')).toBe(1);
    });
  });

  it('stores nothing in a Redis that another authority vouches for', async () => {
    const port = await freePort();
    const tls = ['--tls-ca-cert-file', certificates.path('ca.crt'), '--tls-auth-clients', 'no'];
    const shown = ['--tls-cert-file', certificates.path('server.crt')];
    const key = ['--tls-key-file', certificates.path('server.key')];
    own(await startRedis({ args: ['--tls-port', String(port), ...tls, ...shown, ...key] }));
    const sluice = await start({
      REDIS_URL: `rediss://127.0.0.1:${port}`,
      REDIS_CA: certificates.pem('other.crt'),
    });
    await sluice.line(/certificate|self.signed/);
    expect(await sluice.metric('sluice_redis_connected')).toBe(0);
  });
});
