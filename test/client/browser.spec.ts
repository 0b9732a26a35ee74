import { jest } from '@jest/globals';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type * as Library from '../../client/src/index.js';
import { connectDevice } from '../devices/device-harness.js';
import { stopAfterAll } from '../support/cleanup.js';
import { TestBrowser } from '../support/browser.js';
import { startMosquitto } from '../support/mosquitto.js';
import { startSluice, type Sluice } from '../support/sluice.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { signToken, type TokenClaims } from '../support/tokens.js';

jest.setTimeout(120_000);

/** The global object within a page. */
interface PageGlobal extends EventTarget {
  document: EventTarget;
  WebSocket: Library.WebSocketClass;
  Sluice: typeof Library;
  lab: Lab;
}
declare const window: PageGlobal;

/** What the test puts on the window of a page. */
interface Lab {
  heard: unknown[];
  /** Values of snapshots. */
  shown: unknown[];
  denied: string[];
  states: { name: string; since: number; retryAt?: number; code?: number }[];
  /** The token function returns the last one; where that was refused, the next one. */
  tokens: string[];
  pushed?: () => void;
  /** Whether it was told each time that the last one was refused. */
  asked: boolean[];
  sockets: { send(text: string): void }[];
  client: {
    state: { name: string; code?: number };
    connect(): void;
    refresh(): Promise<void>;
    close(): void;
  };
}

const API_TOKEN = 'the-servers-API-token-of-the-tests-alone';

describe('the client library in Chromium', () => {
  const own = stopAfterAll();
  let sluice: Sluice;
  let proxy: TcpProxy;
  let device: Awaited<ReturnType<typeof connectDevice>>;
  let page: string;
  let browser: TestBrowser;

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
    sluice = own(await startSluice({ env: { MQTT_URL: broker.url, WS_ALLOWED_ORIGINS: page, API_TOKEN } }));
    proxy = own(await startTcpProxy(sluice.port));
    browser = own(await TestBrowser.start());
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
    const { tab, problems, isLive, isWaiting, forget, hears } = await begin([
      await signToken({ deviceIds: ['a'] }),
    ]);
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
    await tab.evaluate(() => window.dispatchEvent(new Event('online')));
    await hears(4);
    expect(await tab.evaluate(() => window.lab.heard)).toEqual([1, 2, 3, 4]);
    expect(problems.filter((text) => !/WebSocket connection/.test(text))).toEqual([]);
    await tab.context().close();
  });

  it('does what a close code says, and goes on with the tokens that it gets: 1012, 4002, 4001, 1008', async () => {
    const api = (method: string, path: string, body?: object): Promise<Response> =>
      sluice.fetch(`/api/v1/${path}`, {
        method,
        headers: { authorization: `Bearer ${API_TOKEN}`, 'content-type': 'application/json' },
        ...(body && { body: JSON.stringify(body) }),
      });
    const deviceIds = ['b', 'c'];
    // Of a device that nothing is known of there is nothing to go on with.
    await device.publish('devices/b/telemetry', '"first"');
    while ((await api('GET', 'devices/b')).status !== 200) {
      // asked again
    }
    const { tab, isLive, forget, hears } = await begin([await signToken({ deviceIds: ['b'] })], deviceIds);
    const next = async (claims: TokenClaims): Promise<void> =>
      tab.evaluate(
        (token) => {
          window.lab.tokens.push(token);
          window.lab.pushed?.();
        },
        await signToken({ deviceIds, ...claims }),
      );
    const hasClosed = (code: number): Promise<unknown> =>
      tab.waitForFunction((wanted) => window.lab.states.some((state) => state.code === wanted), code);
    const refresh = (): Promise<void> => tab.evaluate(() => window.lab.client.refresh());
    await tab.waitForFunction(isLive);
    await tab.waitForFunction(() => window.lab.denied.includes('c') && window.lab.shown.includes('first'));

    // A token that grants more, on the open connection; what was denied is asked for again.
    await next({});
    await device.publish('devices/c/telemetry', '"granted"');
    await refresh();
    await tab.waitForFunction(() => window.lab.shown.includes('granted'));

    // The server closes it, as when it stops: within the second that it names and one of jitter the page is back, and misses nothing.
    await tab.evaluate(forget);
    expect((await api('DELETE', 'users/user-1/connections')).status).toBe(200);
    await hasClosed(1012);
    await device.publish('devices/b/telemetry', '1');
    const waitMs = await tab.evaluate(() => {
      const { since, retryAt } = window.lab.states.find(({ code }) => code === 1012)!;
      return retryAt! - since;
    });
    expect(waitMs).toBeGreaterThanOrEqual(0);
    expect(waitMs).toBeLessThanOrEqual(2_001); // both are whole milliseconds
    await hears(1);
    await tab.waitForFunction(isLive);

    // The token ends.
    await tab.evaluate(forget);
    await next({ lifetimeS: 2 });
    await refresh();
    await hasClosed(4002);
    await next({ jti: 'one' });
    await device.publish('devices/b/telemetry', '2');
    await hears(2);
    await tab.waitForFunction(isLive);
    expect(await tab.evaluate(() => window.lab.asked.at(-1))).toBe(true);

    // It is taken back; the next one counts.
    await tab.evaluate(forget);
    expect((await api('POST', 'revocations', { jti: 'one' })).ok).toBe(true);
    await hasClosed(4001);
    await next({ jti: 'two' });
    await device.publish('devices/b/telemetry', '3');
    await hears(3);
    await tab.waitForFunction(isLive);

    // Somebody uses the connection wrongly: it is over until it is asked for.
    await tab.evaluate(() => {
      const socket = window.lab.sockets.at(-1)!;
      for (let sent = 0; sent < 1_000; sent += 1) {
        socket.send('{"type":"ping"}');
      }
    });
    await hasClosed(1008);
    expect(await tab.evaluate(() => window.lab.client.state)).toMatchObject({ name: 'closed', code: 1008 });
    await device.publish('devices/b/telemetry', '4');
    await tab.evaluate(() => window.lab.client.connect());
    await hears(4);
    expect(await tab.evaluate(() => window.lab.heard)).toEqual([1, 2, 3, 4]);
    await tab.context().close();
  });

  /** A page of its own, in which the library watches devices. */
  async function begin(tokens: string[], deviceIds = ['a']) {
    const { page: tab, problems } = await browser.open();
    await tab.goto(page);
    await tab.evaluate(
      ({ url, tokens: first, ids }) => {
        const lab: Lab = {
          ...{ heard: [], shown: [], denied: [], states: [], tokens: first, asked: [], sockets: [] },
          client: undefined as never,
        };
        class Kept extends window.WebSocket {
          constructor(to: string, protocols: string[]) {
            super(to, protocols);
            lab.sockets.push(this);
          }
        }
        let used: string | undefined;
        const client = new window.Sluice.SluiceClient({
          url,
          WebSocket: Kept,
          token: async (rejected) => {
            lab.asked.push(rejected);
            while (rejected && lab.tokens.at(-1) === used) {
              await new Promise<void>((resolve) => (lab.pushed = resolve));
            }
            return (used = lab.tokens.at(-1)!);
          },
        });
        lab.client = client;
        client.on('state', (state) => lab.states.push(state));
        const some = client.subscribe(ids);
        some.on('telemetry', ({ payload }) => lab.heard.push(payload));
        some.on('snapshot', ({ telemetry }) => lab.shown.push(telemetry?.payload));
        some.on('denied', ({ deviceIds: denied }) => lab.denied.push(...denied));
        Object.assign(window, { lab });
      },
      { url: `ws://127.0.0.1:${proxy.port}/ws`, tokens, ids: deviceIds },
    );
    return {
      tab,
      problems,
      isLive: () => window.lab.client.state.name === 'live',
      isWaiting: () => window.lab.states.some(({ name }) => name === 'waiting'),
      forget: () => (window.lab.states = []),
      hears: (count: number): Promise<unknown> =>
        tab.waitForFunction((wanted) => window.lab.heard.length >= wanted, count),
    };
  }
});
