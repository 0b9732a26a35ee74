import { X509Certificate } from 'node:crypto';
import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { makeCertificates } from '../../test/devices/certificates.js';
import { stopAfterEach } from '../../test/support/cleanup.js';
import { MountedSecret } from '../../test/support/mounted-secret.js';
import { loadConfig } from '../config/load-config.js';
import { Metrics } from '../metrics/metrics.js';
import { CertificateExpiry } from './certificates.js';
import { SecretFiles } from './secret-files.js';

const own = stopAfterEach();
let said: unknown[];
beforeEach(() => {
  said = [];
  jest.spyOn(Logger.prototype, 'error').mockImplementation((line: unknown) => void said.push(line));
});
afterEach(() => jest.restoreAllMocks());

describe(SecretFiles.name, () => {
  it('gives what is in the file now, without the line end', () => {
    const mounted = own(new MountedSecret({ password: 'first' }));
    const secrets = new SecretFiles({ MQTT_PASSWORD: mounted.path('password') });
    expect(secrets.current('MQTT_PASSWORD', 'at start')).toBe('first');
    mounted.update({ password: 'second\r\n' });
    expect(secrets.current('MQTT_PASSWORD', 'at start')).toBe('second');
  });

  it('gives the value of the start for what is in no file', () => {
    expect(new SecretFiles({}).current('MQTT_PASSWORD', 'at start')).toBe('at start');
    expect(new SecretFiles({}).current('MQTT_PASSWORD', undefined)).toBeUndefined();
  });

  it.each([
    ['gone', {}, 'ENOENT'],
    ['empty', { password: '\n' }, 'it is empty'],
  ])('goes on with the last content when the file is %s, and says so once', (_what, content, why) => {
    const mounted = own(new MountedSecret({ password: 'first' }));
    const secrets = new SecretFiles({ MQTT_PASSWORD: mounted.path('password') });
    secrets.current('MQTT_PASSWORD', 'at start');
    mounted.update(content);
    expect(secrets.current('MQTT_PASSWORD', 'at start')).toBe('first');
    expect(secrets.current('MQTT_PASSWORD', 'at start')).toBe('first');
    expect(said).toEqual([`MQTT_PASSWORD_FILE cannot be read (${why}): what was in it before goes on`]);
  });
});

describe(CertificateExpiry.name, () => {
  const ends = (pem: string): number => Date.parse(new X509Certificate(pem).validTo) / 1000;

  it('says when the first certificate of each setting expires, as it is at the scrape', async () => {
    const certificates = own(makeCertificates());
    const ca = certificates.pem('ca.crt');
    const mounted = own(new MountedSecret({ ca: `${ca}\n${certificates.pem('server.crt')}` }));
    const metrics = new Metrics();
    new CertificateExpiry(loadConfig({ MQTT_CA_FILE: mounted.path('ca'), REDIS_CA: ca }), metrics);
    const values = async (): Promise<unknown> =>
      Object.fromEntries(
        (await metrics.certificateExpires.get()).values.map(({ labels, value }) => [
          labels['certificate'],
          value,
        ]),
      );
    const first = Math.min(ends(ca), ends(certificates.pem('server.crt')));
    expect(await values()).toEqual({ MQTT_CA: first, REDIS_CA: ends(ca) });
    mounted.update({ ca: 'no certificate' });
    expect(await values()).toEqual({ REDIS_CA: ends(ca) });
    mounted.update({ ca: certificates.pem('other.crt') });
    expect(await values()).toEqual({ MQTT_CA: ends(certificates.pem('other.crt')), REDIS_CA: ends(ca) });
  });
});
