import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { settingNames } from '../../src/config/describe-settings.js';
import { loadConfig } from '../../src/config/load-config.js';
import { stopAfterEach } from '../support/cleanup.js';
import { connect } from '../support/dashboard-client.js';
import { freePort } from '../support/free-port.js';
import { mosquittoPub } from '../support/mosquitto-clients.js';
import { startMosquitto } from '../support/mosquitto.js';
import { pathWithDaemons, Program, runProgram } from '../support/program.js';
import { startRedis } from '../support/redis.js';
import { TEST_SECRET } from '../support/tokens.js';

interface Service {
  image?: string;
  command?: string[];
  environment?: Record<string, string>;
  depends_on?: Record<string, unknown>;
  volumes?: string[];
  stop_grace_period?: string;
  networks?: unknown;
}

const root = new URL('../../', import.meta.url);
const read = (file: string): string => readFileSync(new URL(file, root), 'utf8');
const compose = parse(read('compose.yaml'), { merge: true }) as {
  services: Record<string, Service>;
  volumes: Record<string, unknown>;
  networks: { default: { ipam: { config: { subnet: string }[] } } };
};
const { services } = compose;
const instances = ['sluice-1', 'sluice-2'];
/** A server's name in the cfg, and what it is on this machine. */
type Ports = Record<string, { clients: number; management: number }>;

/** compose/haproxy.cfg on loopback ports. */
function onLoopback(cfg: string, port: number, ports: Ports): string {
  return cfg
    .replace('bind :8080', `bind 127.0.0.1:${port}`)
    .replace(/server (\S+) \S+:8080/g, (line, name: string) => {
      const own = ports[name];
      return own ? `server ${name} 127.0.0.1:${own.clients} port ${own.management}` : line;
    });
}

describe('compose.yaml', () => {
  const own = stopAfterEach();

  it('names only files, services, volumes and settings that there are', () => {
    for (const { depends_on = {}, volumes = [] } of Object.values(services)) {
      for (const name of Object.keys(depends_on)) {
        expect(services).toHaveProperty([name]);
      }
      for (const [source = ''] of volumes.map((volume) => volume.split(':'))) {
        expect(source.startsWith('./') ? existsSync(new URL(source, root)) : source in compose.volumes).toBe(
          true,
        );
      }
    }
    const { environment } = services['sluice-1']!;
    expect(settingNames()).toEqual(expect.arrayContaining(Object.keys(environment!)));
    const config = loadConfig({ ...environment, JWT_SECRET: TEST_SECRET, WS_ALLOWED_ORIGINS: 'http://a' });
    expect(config.http.trustedProxies).toEqual([compose.networks.default.ipam.config[0]!.subnet]);
    expect(Number.parseInt(services['sluice-1']!.stop_grace_period!, 10) * 1000).toBeGreaterThan(
      config.drain.timeoutMs + config.drain.noticeMs,
    );
  });

  it('is two instances behind HAProxy that serve on when one of them stops', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-compose-'));
    own({ stop: () => rmSync(folder, { recursive: true, force: true }) });
    const brokerConfig = read('compose/mosquitto.conf')
      .replace(/^listener .*/m, '')
      .replace('/mosquitto/data/', `${folder}/`);
    const broker = own(await startMosquitto({ config: brokerConfig }));
    const redis = own(await startRedis({ args: services['redis']!.command!.slice(1) }));
    const ports: Ports = {};
    const programs = new Map<string, Program>();
    for (const name of instances) {
      const mine = (ports[name] = { clients: await freePort(), management: await freePort() });
      const program = new Program(name, process.execPath, ['dist/main.js'], {
        cwd: new URL('.', root).pathname,
        env: {
          PATH: process.env['PATH'],
          ...services[name]!.environment,
          HOST: '127.0.0.1',
          PORT: String(mine.clients),
          MANAGEMENT_PORT: String(mine.management),
          MQTT_URL: broker.url,
          REDIS_URL: redis.url,
          JWT_SECRET: TEST_SECRET,
          WS_ALLOWED_ORIGINS: 'http://localhost:8080',
          TRUSTED_PROXIES: '127.0.0.1',
          DRAIN_SPREAD_MS: '500',
        },
      });
      programs.set(name, own(program));
    }
    for (const name of instances) {
      const health = `http://127.0.0.1:${ports[name]!.management}/health/ready`;
      const isReady = (): Promise<boolean> =>
        fetch(health).then(
          ({ ok }) => ok,
          () => false,
        );
      await programs.get(name)!.poll(isReady, 'ready', 60_000);
    }
    const port = await freePort();
    const cfg = join(folder, 'haproxy.cfg');
    writeFileSync(cfg, onLoopback(read('compose/haproxy.cfg'), port, ports));
    const env = pathWithDaemons();
    expect(await runProgram('haproxy', ['-c', '-f', cfg], { env })).toMatchObject({ code: 0 });
    const haproxy = own(new Program('haproxy', 'haproxy', ['-f', cfg], { env, stopTimeoutMs: 1_000 }));
    const url = `ws://127.0.0.1:${port}/ws`;
    const answers = (): Promise<boolean> =>
      fetch(`http://127.0.0.1:${port}/`).then(
        ({ ok }) => ok,
        () => false,
      );
    await haproxy.poll(answers, 'answering');

    expect((await fetch(`http://127.0.0.1:${port}/metrics`)).status).toBe(404);
    const headers = { origin: 'http://localhost:8080' };
    const clients = [];
    for (let index = 0; index < 4; index += 1) {
      const client = own(await connect(url, { claims: { deviceIds: ['a'] }, headers }));
      await client.next('subscribed');
      clients.push(client);
    }
    await mosquittoPub(broker, 'devices/a/telemetry', '{"n":1}');
    await Promise.all(clients.map((client) => client.next('telemetry')));

    const { code } = await programs.get('sluice-1')!.stop();
    expect(code).toBe(0);
    // Balanced by the number of connections: two each.
    const ended = clients.filter(({ socket }) => socket.readyState === socket.CLOSED);
    expect(ended).toHaveLength(2);
    for (const client of ended) {
      expect(await client.closed).toMatchObject({ code: 1012 });
    }
    const again = own(await connect(url, { claims: { deviceIds: ['a'] }, headers }));
    await again.next('subscribed');
    await mosquittoPub(broker, 'devices/a/telemetry', '{"n":2}');
    await again.next('telemetry', ({ offset }) => offset === 2);
    expect(haproxy.output).toMatch(/ sluice\/sluice-[12] GET \/ws 101 /);
  }, 120_000);
});
