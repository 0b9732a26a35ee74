import { join } from 'node:path';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { makeCertificates } from '../devices/certificates.js';
import { publish } from '../contract/broadcast-adapter.contract.js';
import { stopAfterEach } from '../support/cleanup.js';
import { freePort } from '../support/free-port.js';
import { pathWithDaemons, Program } from '../support/program.js';
import { startRedis } from '../support/redis.js';
import { createInstance, eventually, type Instance, startInstance } from './redis-fixture.js';

/** Defect: REDIS_CA, REDIS_CERT and REDIS_KEY were read and never handed to the connection. */
describe('Redis with TLS', () => {
  const own = stopAfterEach();
  let certificates: ReturnType<typeof makeCertificates>;
  let tls: string[];
  let port: number;

  beforeEach(async () => {
    certificates = own(makeCertificates());
    tls = [
      ...['--tls-ca-cert-file', certificates.path('ca.crt')],
      ...[
        '--tls-cert-file',
        certificates.path('server.crt'),
        '--tls-key-file',
        certificates.path('server.key'),
      ],
    ];
    port = await freePort();
    own(await startRedis({ args: ['--tls-port', String(port), '--tls-auth-clients', 'yes', ...tls] }));
  });

  const mutual = () => ({
    ca: certificates.pem('ca.crt'),
    cert: certificates.pem('client.crt'),
    key: certificates.pem('client.key'),
  });

  async function expectStored({ adapter, receiver }: Instance): Promise<void> {
    await adapter.attach(['d1']);
    await publish(adapter, 'd1', 1);
    await receiver.until(() => receiver.payloads('d1').length === 1);
    expect(adapter.healthy).toBe(true);
  }

  it('is reached with its authority and a client certificate', async () => {
    await expectStored(own(await startInstance(`rediss://127.0.0.1:${port}`, { redis: mutual() })));
  });

  it('is not used when another authority has signed its certificate', async () => {
    const redis = { ...mutual(), ca: certificates.pem('other.crt') };
    const { adapter, log } = own(createInstance(`rediss://127.0.0.1:${port}`, { redis }));
    void adapter.start();
    await eventually(() => log.some((line) => /certificate/.test(line)), 'refused');
    expect(adapter.storeReachable).toBe(false);
  });

  // Sentinels were asked in the clear, whatever the address said: common charts put them on TLS together with Redis.
  it.each([
    ['in the clear', 'tls=true', (port: number) => [`port ${port}`]],
    ['over TLS', 'tls=true&sentinelTls=true', (port: number) => ['port 0', `tls-port ${port}`]],
  ])('is reached where a sentinel says, asked %s', async (_, query, listen) => {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-sentinel-'));
    own({ stop: () => rmSync(folder, { recursive: true }) });
    const sentinelPort = await freePort();
    const file = join(folder, 'sentinel.conf');
    const lines = [...listen(sentinelPort), 'bind 127.0.0.1', `dir ${folder}`, 'tls-replication yes'];
    const monitor = `sentinel monitor main 127.0.0.1 ${port} 1`;
    const options = tls
      .join(' ')
      .split(' --')
      .map((option) => option.replace(/^--/, ''));
    writeFileSync(file, [...lines, ...options, monitor].join('\n'));
    const sentinel = new Program('sentinel', 'redis-server', [file, '--sentinel'], {
      env: pathWithDaemons(),
    });
    own(await sentinel.ready(/\+monitor master/));
    const url = `redis+sentinel://127.0.0.1:${sentinelPort}/main?${query}`;
    await expectStored(own(await startInstance(url, { redis: mutual() })));
  });
});
