import { jest } from '@jest/globals';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright-core';
import { withBrowser, type WatchedPage } from '../support/browser.js';
import { stopAfterAll } from '../support/cleanup.js';
import { freePort } from '../support/free-port.js';
import { Program } from '../support/program.js';
import { startSluice, type Sluice } from '../support/sluice.js';
import { signToken } from '../support/tokens.js';

jest.setTimeout(60_000);

const root = fileURLToPath(new URL('../..', import.meta.url));
/** Debian's, which has paho and websockets (clients/python); another one on the PATH may not. The device in shell needs mosquitto_pub. */
const PYTHON = '/usr/bin/python3';
const API_TOKEN = 'the-servers-API-token-of-the-tests-alone';
const TYPES: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript' };

describe('the examples', () => {
  const own = stopAfterAll();
  let sluice: Sluice;
  let token: string;
  let pump: Program;
  let sensor: Program;
  let vite: Program;
  let site: string;
  let vitePort: number;

  /** What the README says that the page's policy must allow, and nothing else. */
  const policy = (): string =>
    [
      "default-src 'none'",
      `script-src 'self' ${sluice.url}`,
      `connect-src ${sluice.url.replace('http', 'ws')}`,
      'img-src data:',
    ].join('; ');

  /** Somebody's site: the files of an example, with the addresses of this test. */
  async function serveExamples(): Promise<void> {
    const server = createServer((request, response) => {
      const path = new URL(request.url ?? '/', 'http://site').pathname.replace(/\/$/, '/index.html');
      void readFile(`${root}examples${path}`, 'utf8').then(
        (text) => {
          response.setHeader('Content-Type', TYPES[extname(path)] ?? 'text/plain');
          if (path.startsWith('/embed/')) {
            response.setHeader('Content-Security-Policy', policy());
          }
          response.end(text.replaceAll('http://localhost:8080', sluice.url).replace('"TOKEN"', `"${token}"`));
        },
        () => response.writeHead(404).end(),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    own({ stop: () => (server.closeAllConnections(), server.close()) });
    site = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  const start = (command: string, args: string[], env: NodeJS.ProcessEnv = {}): Program =>
    own(
      new Program(args[0] ?? command, command, args, {
        cwd: root,
        env: { PATH: process.env['PATH'], PYTHONDONTWRITEBYTECODE: '1', ...env },
        stopTimeoutMs: 1_000,
      }),
    );

  const textOf = (page: Page, selector: string): Promise<string> => page.locator(selector).innerText();

  async function see({ page }: WatchedPage, selector: string, text: RegExp): Promise<void> {
    await page.locator(selector).filter({ hasText: text }).first().waitFor();
  }

  beforeAll(async () => {
    await serveExamples();
    const mqttPort = await freePort();
    vitePort = await freePort();
    sluice = own(
      await startSluice({
        env: {
          MQTT_EMBEDDED_PORT: String(mqttPort),
          WS_ALLOWED_ORIGINS: `${site},http://127.0.0.1:${vitePort}`,
          API_TOKEN,
        },
      }),
    );
    token = await signToken({ deviceIds: ['*'] });
    pump = start(PYTHON, ['examples/device-python/device.py', 'pump-1', '127.0.0.1', String(mqttPort)]);
    sensor = start('examples/device-shell/device.sh', ['pump-2', '127.0.0.1', String(mqttPort)]);
    const address = ['--host', '127.0.0.1', '--port', String(vitePort), '--strictPort'];
    vite = start(process.execPath, ['node_modules/vite/bin/vite.js', 'examples/react', ...address], {
      SLUICE_URL: sluice.url,
    });
  });

  const known = async (deviceId: string): Promise<any> => {
    const headers = { authorization: `Bearer ${API_TOKEN}` };
    return (await sluice.fetch(`/api/v1/devices/${deviceId}`, { headers })).json();
  };

  it.each([
    ['in Python', 'pump-1', () => pump],
    ['in shell', 'pump-2', () => sensor],
  ])('a device %s is online, has metadata and publishes', async (_, id, program) => {
    await program().poll(async () => (await known(id)).telemetry?.payload.flow > 0, 'heard of');
    expect(await known(id)).toMatchObject({ status: { isOnline: true }, meta: { units: { flow: 'l/min' } } });
  });

  it.each([
    ['Node.js', process.execPath, 'examples/node/watch.js'],
    ['Python', PYTHON, 'examples/python/watch.py'],
  ])('a backend in %s gets the answer of the device, and its values', async (_, command, script) => {
    const env = {
      SLUICE_URL: `${sluice.url}/ws`,
      TOKEN: token,
      PYTHONPATH: 'clients/python',
      PYTHONUNBUFFERED: '1',
    };
    const program = start(command, [script], env);
    await program.line(/^pump-1 answered .*replied.*1200/);
    await program.line(/pump-1 \{.*flow.*\}/);
    await program.line(/pump-2 \{.*flow.*\}/);
    program.send('SIGINT');
    expect((await program.exited).code).toBe(0);
  });

  it('the pages show the fleet, a chart that opens full and the answer to a command, without a word on the console', async () => {
    await vite.line(/Local:/);
    await withBrowser(async (watched) => {
      const { page, problems } = watched;
      await page.goto(`${site}/html/#token=${token}`);
      await see(watched, 'tr', /^pump-1\s*\{.*"flow"/);
      await see(watched, 'tr', /^pump-2\s*\{.*"flow"/);
      expect(await textOf(page, '#state')).toBe('live');

      await page.goto(`${site}/embed/`);
      await see(watched, 'live-chart', /^pump-1 flow: \d/);
      await page.waitForFunction(() => {
        const { document } = globalThis as any;
        return document
          .querySelector('live-chart')
          .shadowRoot.querySelector('path')
          .getAttribute('d')
          .includes('L');
      });

      await page.goto(`http://127.0.0.1:${vitePort}/#token=${token}`);
      await see(watched, 'li', /pump-2.*flow/);
      await page.getByRole('button', { name: 'pump-1' }).click();
      await page.waitForFunction(() => {
        const { document } = globalThis as any;
        return document.querySelector('svg path')?.getAttribute('d').includes('L');
      });
      await page.getByRole('button', { name: 'Stop' }).click();
      await see(watched, 'output', /"outcome":"replied".*"speed":0/);
      expect(problems).toEqual([]);
    });
  });

  it('the answers for Grafana have what its selectors name', async () => {
    const headers = { authorization: `Bearer ${API_TOKEN}` };
    const history: any = await (
      await sluice.fetch('/api/v1/devices/pump-1/history?limit=1000', { headers })
    ).json();
    expect(history.publications.at(-1)).toMatchObject({
      serverTs: expect.any(Number),
      payload: { flow: expect.any(Number) },
    });
    const fleet: any = await (
      await sluice.fetch('/api/v1/devices?pattern=pump-*&limit=1000', { headers })
    ).json();
    expect(fleet.devices).toHaveLength(2);
    expect(fleet.devices[0]).toMatchObject({
      deviceId: 'pump-1',
      telemetry: { payload: { flow: expect.any(Number) } },
      status: { isOnline: true },
    });
  });

  it('the broker says that a device is gone when its program dies', async () => {
    await sensor.stop();
    await pump.kill();
    for (const id of ['pump-1', 'pump-2']) {
      const gone = async (): Promise<boolean> => (await known(id)).status.isOnline === false;
      await vite.poll(gone, 'told');
      expect(await gone()).toBe(true);
    }
  });
});
