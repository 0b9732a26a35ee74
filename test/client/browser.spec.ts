import { jest } from '@jest/globals';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type * as Library from '../../client/src/index.js';
import { connectDevice } from '../devices/device-harness.js';
import { stopAfterAll } from '../support/cleanup.js';
import { withBrowser } from '../support/browser.js';
import { startMosquitto } from '../support/mosquitto.js';
import { startSluice, type Sluice } from '../support/sluice.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { signToken } from '../support/tokens.js';

jest.setTimeout(120_000);

/** The global object within a page. */
interface PageGlobal extends EventTarget {
  document: EventTarget;
  Sluice: typeof Library;
  lab: Lab;
}
declare const window: PageGlobal;

/** What the test puts on the window of a page. */
interface Lab {
  heard: unknown[];
  states: { name: string; code?: number }[];
  client: { state: { name: string }; close(): void };
}

describe('the client library in Chromium', () => {
  const own = stopAfterAll();
  let sluice: Sluice;
  let proxy: TcpProxy;
  let device: Awaited<ReturnType<typeof connectDevice>>;
  let page: string;

  beforeAll(async () => {
    const broker = own(await startMosquitto());
    device = own(await connectDevice(broker.url));
    const server = createServer((_request, response) => {
      response.setHeader('content-type', 'text/html');
      response.end(
        `<!doctype html><title>Elsewhere</title><link rel="icon" href="data:,"><script src="http://127.0.0.1:${sluice.port}/client.js"></script>`,
      );
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    own({ stop: () => (server.closeAllConnections(), server.close()) });
    page = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    sluice = own(await startSluice({ env: { MQTT_URL: broker.url, WS_ALLOWED_ORIGINS: page } }));
    proxy = own(await startTcpProxy(sluice.port));
  });

  it.each(['/client.js', '/client.mjs'])('is served as %s to pages of any origin', async (path) => {
    const response = await sluice.fetch(path);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toMatch(/javascript/);
    expect(response.headers.get('access-control-allow-origin')).toBe('*');
    expect(response.headers.get('cross-origin-resource-policy')).toBe('cross-origin');
    const map = await sluice.fetch(`/${response.headers.get('sourcemap')}`);
    expect(await map.json()).toMatchObject({ sourcesContent: expect.arrayContaining([expect.any(String)]) });
  });

  it("runs on somebody else's page, through a cut, a dead link, a network that comes back and a clock that jumps", async () => {
    const token = await signToken({ deviceIds: ['a'] });
    await withBrowser(async ({ page: tab, problems }) => {
      await tab.goto(page);
      const begin = ([url, jwt]: readonly [string, string]): void => {
        const { Sluice } = window;
        const client = new Sluice.SluiceClient({ url, token: () => jwt });
        const lab: Lab = { heard: [], states: [], client };
        client.on('state', (state) => lab.states.push(state));
        client.subscribe(['a']).on('telemetry', ({ payload }) => lab.heard.push(payload));
        Object.assign(window, { lab });
      };
      await tab.evaluate(begin, [`ws://127.0.0.1:${proxy.port}/ws`, token] as const);
      const isLive = () => window.lab.client.state.name === 'live';
      const isWaiting = () => window.lab.states.some(({ name }) => name === 'waiting');
      const forget = () => (window.lab.states = []);
      const hears = (count: number): Promise<unknown> =>
        tab.waitForFunction((wanted) => window.lab.heard.length >= wanted, count);
      await tab.waitForFunction(isLive);
      await device.publish('devices/a/telemetry', '1');
      await hears(1);

      proxy.cut();
      await device.publish('devices/a/telemetry', '2');
      await tab.waitForFunction(isWaiting);
      await tab.evaluate(() => window.dispatchEvent(new Event('online')));
      await hears(2);
      await tab.waitForFunction(isLive);

      await tab.evaluate(forget);
      proxy.stall();
      await tab.evaluate(() => window.dispatchEvent(new Event('online')));
      await tab.waitForFunction(isWaiting);
      proxy.cut();
      proxy.heal();
      await device.publish('devices/a/telemetry', '3');
      await tab.evaluate(() => window.document.dispatchEvent(new Event('visibilitychange')));
      await hears(3);
      await tab.waitForFunction(isLive);

      await tab.evaluate(forget);
      proxy.stall();
      await tab.evaluate(() => {
        const now = Date.now.bind(Date);
        Date.now = () => now() + 3_600_000;
      });
      await tab.waitForFunction(isWaiting);
      proxy.cut();
      proxy.heal();
      await device.publish('devices/a/telemetry', '4');
      await hears(4);
      expect(await tab.evaluate(() => window.lab.heard)).toEqual([1, 2, 3, 4]);
      expect(problems.filter((text) => !/WebSocket connection/.test(text))).toEqual([]);
    });
  });
});
