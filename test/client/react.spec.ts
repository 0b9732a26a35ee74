import { jest } from '@jest/globals';
import { build } from 'esbuild';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Page } from 'playwright-core';
import { fileURLToPath } from 'node:url';
import { GatewayApp } from '../gateway/gateway-app.js';
import { until } from '../gateway/until.js';
import { TestBrowser } from '../support/browser.js';
import { stopAfterAll } from '../support/cleanup.js';
import { signToken } from '../support/tokens.js';
import type { ReactLab } from './react-page.js';

jest.setTimeout(60_000);

declare const window: { lab: ReactLab };

const entry = fileURLToPath(new URL('react-page.ts', import.meta.url));

describe('sluice-client/react, in StrictMode', () => {
  const shared = stopAfterAll();
  let browser: TestBrowser;
  beforeAll(async () => {
    browser = shared(await TestBrowser.start());
  });

  describe.each([
    ['18', { react: 'react-18', 'react-dom': 'react-dom-18' }],
    ['19', {}],
  ])('in React %s', (major, alias) => {
    const own = stopAfterAll();
    let app: GatewayApp;
    let address: string;

    beforeAll(async () => {
      const { outputFiles } = await build({
        entryPoints: [entry],
        bundle: true,
        write: false,
        alias,
        define: { 'process.env.NODE_ENV': '"development"' },
        logLevel: 'warning',
      });
      const script = outputFiles[0]!.text;
      const server = createServer((request, response) => {
        const isScript = request.url === '/page.js';
        response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
        response.end(
          isScript
            ? script
            : '<!doctype html><link rel="icon" href="data:,"><div id="root"></div><script src="/page.js"></script>',
        );
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      own({ stop: () => (server.closeAllConnections(), server.close()) });
      const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      app = own(await GatewayApp.start({ WS_ALLOWED_ORIGINS: origin }));
      const token = await signToken({ deviceIds: ['a', 'b', 'other', 'p.*'] });
      address = `${origin}/#${encodeURIComponent(JSON.stringify([app.url, token]))}`;
    });

    const texts = (page: Page) => page.evaluate(() => window.lab.texts());
    const shows = (page: Page, id: string, text: string) =>
      page.waitForFunction((wanted) => window.lab.texts()[wanted[0]] === wanted[1], [id, text] as const);

    it('shows devices, fleets, histories and commands, and renders once a frame what a component asked for', async () => {
      for (let n = 1; n <= 3; n += 1) {
        app.publish('a', { n, m: -n });
      }
      app.publish('b', { n: 7 });
      app.publish('p.x', { n: 0 });
      const { page, problems } = await browser.open();
      await page.goto(address);
      await shows(page, 'history', '[1,2,3]');
      await shows(page, 'a', '{"n":3,"m":-3}');
      await shows(page, 'fleet', '[["p.x",0]]');
      expect(await page.evaluate(() => window.lab.version)).toMatch(new RegExp(`^${major}\\.`));
      expect(await texts(page)).toMatchObject({ again: '{"n":3}', state: '"live"', other: '' });
      expect(await page.evaluate(() => window.lab.denied)).toEqual(['not-mine']);
      expect(app.rooms.subscriptionCount).toBe(3); // each device once: a, other, p.x

      // Many messages, few renders.
      const before = await page.evaluate(() => ({ ...window.lab.commits, frames: window.lab.frames }));
      for (let n = 4; n <= 503; n += 1) {
        app.publish('a', { n, m: -n });
        if (n % 10 === 0) {
          await new Promise(setImmediate);
        }
      }
      await shows(page, 'a', '{"n":503,"m":-503}');
      await shows(page, 'again', '{"n":503}');
      await page.waitForFunction(() => window.lab.texts()['history']?.endsWith(',503]'));
      const after = await page.evaluate(() => ({ ...window.lab.commits, frames: window.lab.frames }));
      const grew = (name: string): number =>
        ((after as Record<string, number>)[name] ?? 0) - ((before as Record<string, number>)[name] ?? 0);
      for (const name of ['a', 'again', 'history']) {
        expect(grew(name)).toBeGreaterThan(0);
        expect(grew(name)).toBeLessThanOrEqual(grew('frames') + 1);
      }
      expect(['other', 'mine', 'fleet', 'state', 'command'].map(grew)).toEqual([0, 0, 0, 0, 0]);

      // A publication without the fields of a component.
      const again = await page.evaluate(() => window.lab.commits['again']);
      app.publish('a', { m: 1 });
      await shows(page, 'a', '{"m":1}');
      expect(await page.evaluate(() => window.lab.commits['again'])).toBe(again);

      // Entries that have not changed stay the same; a new device appears.
      app.publish('p.y', { n: 5 });
      await shows(page, 'fleet', '[["p.x",0],["p.y",5]]');

      await page.evaluate(() => window.lab.command());
      await shows(page, 'command', '["done",true,null]');
      app.commands.answer = () => Promise.reject(new Error('away'));
      await page.evaluate(() => window.lab.command());
      await page.waitForFunction(() => window.lab.texts()['command']?.startsWith('["failed"'));

      // Another device in the same component, then nothing at all.
      await page.evaluate(() => window.lab.watch('b'));
      await shows(page, 'history', '[7]');
      await shows(page, 'command', '["idle",null,null]');
      expect(await texts(page)).toMatchObject({ a: '{"n":7}', again: '{"n":7}' });
      await page.evaluate(() => window.lab.show(['state']));
      await until(() => app.rooms.subscriptionCount === 0);
      expect(problems).toEqual([]);
      await page.context().close();
    });
  });
});
