import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Certificates {
  /** Path of `<name>.crt` or `<name>.key`. */
  path(name: string): string;
  /** Its content. */
  pem(name: string): string;
  stop(): void;
}

/** A certificate authority `ca` with a server certificate for 127.0.0.1, a client certificate, and a strange authority `other`. */
export function makeCertificates(): Certificates {
  const directory = mkdtempSync(join(tmpdir(), 'certificates-'));
  const path = (name: string): string => join(directory, name);
  const openssl = (...args: string[]): void =>
    void execFileSync('openssl', args, { stdio: 'pipe', cwd: directory });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  const authority = (name: string): void =>
    openssl('req', '-x509', ...key, '-keyout', `${name}.key`, '-out', `${name}.crt`, '-subj', `/CN=${name}`);
  const signed = (name: string, names: string): void =>
    openssl(
      'req',
      '-x509',
      ...key,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.crt`,
      '-subj',
      `/CN=${name}`,
      '-addext',
      `subjectAltName=${names}`,
      '-CA',
      'ca.crt',
      '-CAkey',
      'ca.key',
    );
  authority('ca');
  authority('other');
  signed('server', 'IP:127.0.0.1,DNS:localhost');
  signed('stranger', 'DNS:broker.example.com');
  signed('client', 'DNS:client');
  return {
    path,
    pem: (name) => readFileSync(path(name), 'utf8'),
    stop: () => rmSync(directory, { recursive: true, force: true }),
  };
}
