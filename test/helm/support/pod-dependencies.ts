import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { chmodSync, writeFileSync } from 'node:fs';
import { SignJWT } from 'jose';
import { makeCertificates } from '../../devices/certificates.js';
import { runProgram } from '../../support/program.js';
import type { PodSandbox, Secrets } from './pod-sandbox.js';

const PASSWORD = 'broker-password';
const REDIS_PASSWORD = 'redis-password';
const MOSQUITTO = '/usr/sbin/mosquitto';

export interface Production {
  /** What ci/production-values.yaml refers to. */
  secrets: Secrets;
  /** A token of the issuer that the values name. */
  token(): Promise<string>;
}

/**
 * The surroundings of ci/production-values.yaml, all inside the pod's network: Mosquitto as broker.example.com with mutual TLS
 * and a password, Redis with TLS and a password, and the Secrets with keys and certificates.
 */
export async function startProduction(sandbox: PodSandbox): Promise<Production> {
  const certificates = makeCertificates();
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  try {
    await startBroker(sandbox, certificates);
    await startRedis(sandbox, certificates);
    return {
      secrets: {
        'sluice-jwt': { 'public.pem': publicKey.export({ type: 'spki', format: 'pem' }).toString() },
        'sluice-mqtt': { 'mqtt-password': PASSWORD },
        'sluice-mqtt-tls': {
          'ca.crt': certificates.pem('ca.crt'),
          'tls.crt': certificates.pem('client.crt'),
          'tls.key': certificates.pem('client.key'),
        },
        'sluice-redis': { 'redis-url': `rediss://:${REDIS_PASSWORD}@localhost:6379\n` },
        'sluice-redis-tls': { 'ca.crt': certificates.pem('ca.crt') },
      },
      token: () => issue(privateKey),
    };
  } finally {
    certificates.stop();
  }
}

function issue(key: KeyObject): Promise<string> {
  return new SignJWT({ userId: 'operator', deviceIds: ['press-1'] })
    .setProtectedHeader({ alg: 'ES256' })
    .setIssuer('https://login.example.com')
    .setAudience('sluice')
    .setExpirationTime('10 minutes')
    .sign(key);
}

type Pems = Pick<ReturnType<typeof makeCertificates>, 'pem'>;

/** Puts files where the programs inside find them: they must outlive the certificates' own folder. */
function place(sandbox: PodSandbox, pems: Pems, names: string[]): (name: string) => string {
  for (const name of names) {
    writeFileSync(sandbox.hostPath(name), pems.pem(name));
    chmodSync(sandbox.hostPath(name), 0o644);
  }
  return (name) => sandbox.hostPath(name);
}

async function startBroker(sandbox: PodSandbox, pems: Pems): Promise<void> {
  // The authority of these tests has signed `stranger` for the name broker.example.com.
  const at = place(sandbox, pems, ['ca.crt', 'stranger.crt', 'stranger.key']);
  await runProgram('mosquitto_passwd', ['-b', '-c', at('passwords'), 'sluice', PASSWORD], {
    env: process.env,
  });
  chmodSync(at('passwords'), 0o644);
  const lines = [
    'listener 8883 127.0.0.1',
    `cafile ${at('ca.crt')}`,
    `certfile ${at('stranger.crt')}`,
    `keyfile ${at('stranger.key')}`,
    'require_certificate true',
    'allow_anonymous false',
    `password_file ${at('passwords')}`,
    // For the test's own device.
    'listener 1883 127.0.0.1',
  ];
  writeFileSync(at('mosquitto.conf'), `${lines.join('\n')}\n`);
  await sandbox.run(MOSQUITTO, ['-c', at('mosquitto.conf')]).ready(/mosquitto version .* running/);
}

async function startRedis(sandbox: PodSandbox, pems: Pems): Promise<void> {
  const at = place(sandbox, pems, ['server.crt', 'server.key']);
  const tls = [
    '--tls-cert-file',
    at('server.crt'),
    '--tls-key-file',
    at('server.key'),
    '--tls-auth-clients',
    'no',
  ];
  await sandbox
    .run('/usr/bin/redis-server', [
      ...['--port', '0', '--tls-port', '6379', '--bind', '127.0.0.1', ...tls],
      ...['--requirepass', REDIS_PASSWORD, '--save', '', '--dir', '/tmp'],
    ])
    .ready(/Ready to accept connections/);
}

/** Publishes as a device inside the pod's network. */
export async function publish(sandbox: PodSandbox, topic: string, payload: string): Promise<void> {
  const { code, output } = await sandbox.finish('/usr/bin/mosquitto_pub', [
    ...['-h', '127.0.0.1', '-u', 'sluice', '-P', PASSWORD, '-q', '1', '-t', topic, '-m', payload],
  ]);
  if (code !== 0) {
    throw new Error(output);
  }
}
