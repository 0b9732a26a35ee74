import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { connectDevice, type Device } from '../devices/device-harness.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { connect, type DashboardClient } from '../support/dashboard-client.js';
import { freePort } from '../support/free-port.js';
import { startMosquitto } from '../support/mosquitto.js';
import { pathWithDaemons, Program, runProgram } from '../support/program.js';
import { type Sluice, startSluice } from '../support/sluice.js';
import { signToken } from '../support/tokens.js';

/** What the chart gives an Ingress of ingress-nginx, in the words of nginx. */
const golden = new URL('../helm/golden/nginx-ingress.golden.yaml', import.meta.url);
const { metadata } = parse(readFileSync(golden, 'utf8')) as {
  metadata: { annotations: Record<string, string> };
};
const seconds = (name: string): string =>
  metadata.annotations[`nginx.ingress.kubernetes.io/proxy-${name}-timeout`]!;

/** docs/kubernetes.md: a token in the headers may have 16 KB. */
const NGINX = (port: number, to: number, folder: string): string => `
daemon off; pid ${folder}/pid; error_log stderr warn; worker_processes 1;
events { worker_connections 256; }
http {
  access_log off; client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p;
  fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  map $http_upgrade $connection_upgrade { default upgrade; '' close; }
  large_client_header_buffers 4 16k;
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://127.0.0.1:${to};
      proxy_http_version 1.1; proxy_buffering off; proxy_next_upstream off;
      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      proxy_read_timeout ${seconds('read')}s; proxy_send_timeout ${seconds('send')}s;
    }
  }
}`;
/** `timeout-tunnel` is what the chart sets for both controllers of HAProxy. */
const HAPROXY = (port: number, to: number): string => `
global
  tune.bufsize 32768
defaults
  mode http
  timeout connect 3s
  retries 0
  timeout client 30s
  timeout server 30s
  timeout tunnel 1h
  option forwardfor
frontend clients
  bind 127.0.0.1:${port}
  default_backend sluice
backend sluice
  server one 127.0.0.1:${to}
`;

interface Proxy {
  readonly port: number;
  readonly program: Program;
}

/** What docs/kubernetes.md says of proxies in front, with those of Debian. */
describe.each(['nginx', 'haproxy'])('dashboards behind %s', (name) => {
  const shared = stopAfterAll();
  const own = stopAfterEach();
  let sluice: Sluice;
  let device: Device;
  let proxy: Proxy;

  const start = async (): Promise<Proxy> => {
    const folder = mkdtempSync(join(tmpdir(), `sluice-${name}-`));
    mkdirSync(join(folder, 'p'));
    shared({ stop: () => rmSync(folder, { recursive: true, force: true }) });
    const port = await freePort();
    const file = join(folder, 'conf');
    writeFileSync(file, (name === 'nginx' ? NGINX : HAPROXY)(port, sluice.port, folder));
    const env = pathWithDaemons();
    const check = name === 'nginx' ? ['-t', '-c', file] : ['-c', '-f', file];
    expect(await runProgram(name, check, { env })).toMatchObject({ code: 0 });
    const args = name === 'nginx' ? ['-c', file] : ['-W', '-f', file];
    const program = shared(new Program(name, name, args, { env, stopTimeoutMs: 1_000 }));
    const answers = (): Promise<boolean> =>
      fetch(`http://127.0.0.1:${port}/`).then(
        ({ ok }) => ok,
        () => false,
      );
    await program.poll(answers, 'reachable');
    return { port, program };
  };
  const open = async (options?: Parameters<typeof connect>[1]): Promise<DashboardClient> =>
    own(await connect(`ws://127.0.0.1:${proxy.port}/ws`, options));

  beforeAll(async () => {
    const broker = shared(await startMosquitto());
    sluice = shared(
      await startSluice({
        env: { MQTT_URL: broker.url, TRUSTED_PROXIES: '127.0.0.1', DRAIN_SPREAD_MS: '500' },
      }),
    );
    device = shared(await connectDevice(broker.url));
    proxy = await start();
  }, 60_000);

  it('come with a token by every carrier, one of 8 KB in a header too, and hear each value at once', async () => {
    const deviceIds = ['p', ...Array.from({ length: 200 }, (_, at) => `device-with-a-long-name-${at}`)];
    const token = await signToken({ deviceIds });
    expect(token.length).toBeGreaterThan(7_000);
    const dashboards = await Promise.all([
      open({ token, via: 'header' }),
      ...(['subprotocol', 'query', 'message'] as const).map((via) =>
        open({ claims: { deviceIds: ['p'] }, via }),
      ),
    ]);
    await Promise.all(dashboards.map((dashboard) => dashboard.next('subscribed')));
    for (const value of [1, 2, 3]) {
      await device.publish('devices/p/telemetry', String(value));
      const heard = await Promise.all(dashboards.map((dashboard) => dashboard.next('telemetry')));
      expect(heard.map(({ payload }) => payload)).toEqual([value, value, value, value]);
    }
  });

  it('keep their connections while it loads its configuration anew', async () => {
    const dashboard = await open({ claims: { deviceIds: ['p'] } });
    await dashboard.next('subscribed');
    const { port } = proxy;
    proxy.program.send(name === 'nginx' ? 'SIGHUP' : 'SIGUSR2');
    // New ones come by the new configuration.
    await proxy.program.poll(
      () =>
        fetch(`http://127.0.0.1:${port}/`).then(
          ({ ok }) => ok,
          () => false,
        ),
      'reachable again',
    );
    await open({ claims: { deviceIds: ['p'] } });
    await device.publish('devices/p/telemetry', '4');
    expect((await dashboard.next('telemetry', ({ payload }) => payload === 4)).payload).toBe(4);
  });

  it('hear by their own code when to come back from an instance that stops', async () => {
    const dashboard = await open({ claims: { deviceIds: ['p'] } });
    await dashboard.next('subscribed');
    await sluice.stop();
    const { code, reason } = await dashboard.closed;
    expect(code).toBe(1012);
    expect(JSON.parse(reason)).toMatchObject({ retryAfterMs: expect.any(Number) as unknown });
    await expect(open()).rejects.toThrow('Unexpected server response: 50');
  });
});
