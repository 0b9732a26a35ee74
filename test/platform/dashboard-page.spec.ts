import { jest } from '@jest/globals';
import { connectAsync } from 'mqtt';
import type { Page } from 'playwright-core';
import { withBrowser } from '../support/browser.js';
import { stopAfterEach } from '../support/cleanup.js';
import { startMosquitto } from '../support/mosquitto.js';
import { signToken } from '../support/tokens.js';
import { type RunningApp, startApp } from './capture.js';

// A browser and a broker per test, on a machine that does other things.
jest.setTimeout(90_000);

const HOSTILE = '<img src=x onerror="document.title=1">';
const tile = (page: Page, id: string) => page.locator(`.tile[data-device-id='${id.replaceAll("'", "\\'")}']`);
const pageUrl = (app: RunningApp, token: string) => `http://127.0.0.1:${app.ports.port}/#token=${token}`;

describe('the dashboard page', () => {
  const own = stopAfterEach();

  async function startWithBroker(env: Record<string, string> = {}) {
    const broker = own(await startMosquitto());
    const fast = { 'mqtt.reconnectMinMs': '50', 'mqtt.reconnectMaxMs': '200' };
    const app = own(await startApp({ MQTT_URL: broker.url, ...fast, ...env }));
    await app.app.ready();
    const device = await connectAsync(broker.url, { reconnectPeriod: 100 });
    device.on('error', () => undefined);
    own({ stop: () => device.endAsync(true) });
    return { broker, app, device };
  }

  it('shows what devices say as text, whatever they say, and asks nobody else', async () => {
    const { app, device } = await startWithBroker();
    const token = await signToken({ deviceIds: [HOSTILE, '__proto__', 'odd'] });
    await withBrowser(async ({ page, problems, requests }) => {
      await page.goto(pageUrl(app, token));
      const hostile = tile(page, HOSTILE);
      await hostile.waitFor();
      const meta = {
        name: HOSTILE,
        location: '\u202egnp.exe',
        units: { [HOSTILE]: HOSTILE },
        commands: [HOSTILE],
      };
      await device.publishAsync(`devices/${HOSTILE}/meta`, JSON.stringify(meta), { retain: true });
      await device.publishAsync(`devices/${HOSTILE}/telemetry`, JSON.stringify({ [HOSTILE]: HOSTILE, n: 4 }));
      await device.publishAsync('devices/__proto__/telemetry', '{"__proto__":{"x":1},"constructor":2}');
      await device.publishAsync('devices/odd/telemetry', '[1,[2,{"a":null}]]');
      await hostile.getByText('4', { exact: true }).waitFor();
      await tile(page, '__proto__').getByText('__proto__.x').waitFor();
      await tile(page, 'odd').getByText('[1,[2,{"a":null}]]').waitFor();
      expect(await hostile.locator('h3').textContent()).toBe(HOSTILE);
      expect(await page.locator('img').count()).toBe(0);
      expect(await page.title()).toBe('Sluice');
      expect(problems).toEqual([]);
      for (const request of requests) {
        expect(new URL(request).host).toBe(`127.0.0.1:${app.ports.port}`);
        expect(request).not.toContain(token);
      }
    });
  });

  it('takes the token out of the address and keeps it for the tab alone', async () => {
    const { app } = await startWithBroker();
    const token = await signToken({ deviceIds: ['a'] });
    await withBrowser(async ({ page }, browser) => {
      await page.goto(pageUrl(app, token));
      await tile(page, 'a').waitFor();
      expect(page.url()).toBe(`http://127.0.0.1:${app.ports.port}/`);
      await page.reload();
      await tile(page, 'a').waitFor();
      const other = await browser.newPage();
      await other.goto(page.url());
      await other.getByLabel('Access token').waitFor();
      await other.getByLabel('Access token').fill(`Bearer ${token}`);
      await other.getByRole('button', { name: 'Connect' }).click();
      await tile(other, 'a').waitFor();
      await other.getByRole('button', { name: 'Sign out' }).click();
      await other.getByLabel('Access token').waitFor();
      expect(await other.evaluate('sessionStorage.length')).toBe(0);
    });
  });

  it('says why when the token is not accepted', async () => {
    const { app } = await startWithBroker();
    await withBrowser(async ({ page }) => {
      await page.goto(pageUrl(app, await signToken({ lifetimeS: -3_600 })));
      await page.getByText(/token (was not accepted|has expired)/).waitFor();
      await page.getByLabel('Access token').waitFor();
    });
  });

  it('sends commands and tells their outcome', async () => {
    const { app, device } = await startWithBroker();
    const commands: string[] = [];
    device.on('message', (_topic, payload) => commands.push(payload.toString()));
    await device.subscribeAsync('devices/pump/commands', { qos: 1 });
    await device.publishAsync('devices/pump/meta', '{"commands":[{"action":"stop"}]}', { retain: true });
    await withBrowser(async ({ page }) => {
      const claims = { deviceIds: ['pump', 'deaf'] };
      await page.goto(pageUrl(app, await signToken(claims)));
      const pump = tile(page, 'pump');
      await pump.getByRole('button', { name: 'Command' }).click();
      await pump.getByRole('button', { name: '{"action":"stop"}' }).click();
      await pump.getByRole('button', { name: 'Send' }).click();
      await pump.getByText('the broker has accepted it').waitFor();
      expect(commands).toEqual(['{"action":"stop"}']);

      await pump.getByLabel('Command as JSON').fill('stop it');
      await pump.getByRole('button', { name: 'Send' }).click();
      await pump.getByText('not valid JSON').waitFor();

      const deaf = tile(page, 'deaf');
      await deaf.getByRole('button', { name: 'Command' }).click();
      await deaf.getByLabel('Command as JSON').fill('1');
      await deaf.getByRole('button', { name: 'Send' }).click();
      await deaf.getByText('no device was listening').waitFor();
    });
    await withBrowser(async ({ page }) => {
      await page.goto(pageUrl(app, await signToken({ deviceIds: ['pump'], permissions: ['read'] })));
      const pump = tile(page, 'pump');
      await pump.getByRole('button', { name: 'Command' }).click();
      await pump.getByLabel('Command as JSON').fill('1');
      await pump.getByRole('button', { name: 'Send' }).click();
      await pump.getByText('Not allowed').waitFor();
    });
    expect(commands).toHaveLength(1);
  });

  it('watches further devices by id, within the grants', async () => {
    const { app, device } = await startWithBroker();
    await withBrowser(async ({ page }) => {
      await page.goto(pageUrl(app, await signToken({ deviceIds: ['plant-7.*'] })));
      await page.getByText('No devices yet').waitFor();
      for (const id of ['plant-7.valve', 'plant-8.valve']) {
        await page.getByLabel('Watch a device by its id').fill(id);
        await page.getByRole('button', { name: 'Watch', exact: true }).click();
      }
      await page.getByText('Your token does not grant “plant-8.valve”.').waitFor();
      await device.publishAsync('devices/plant-7.valve/telemetry', '{"open":true}');
      await tile(page, 'plant-7.valve').getByText('yes', { exact: true }).waitFor();
      await page.reload();
      await tile(page, 'plant-7.valve').getByText('yes', { exact: true }).waitFor();
      await tile(page, 'plant-7.valve').getByRole('button', { name: 'Stop watching' }).click();
      await page.getByText('No devices yet').waitFor();
    });
  });

  it('marks values as stale while no device message can reach the server, and goes on after that', async () => {
    const { app, broker, device } = await startWithBroker();
    await withBrowser(async ({ page }) => {
      await page.goto(pageUrl(app, await signToken({ deviceIds: ['a'] })));
      await tile(page, 'a').waitFor();
      await device.publishAsync('devices/a/telemetry', '41');
      await tile(page, 'a').getByText('41', { exact: true }).waitFor();
      expect(await tile(page, 'a').getByText('Stale').isVisible()).toBe(false);
      await broker.kill();
      await page.getByRole('alert').getByText('No device messages reach the server').waitFor();
      expect(await tile(page, 'a').getByText('Stale').isVisible()).toBe(true);
      await broker.restart();
      await page.getByRole('alert').waitFor({ state: 'hidden' });
      await app.app.ready();
      await device.publishAsync('devices/a/telemetry', '42', { qos: 1 });
      await tile(page, 'a').getByText('42', { exact: true }).waitFor();
    });
  });

  it('fits a phone', async () => {
    const { app } = await startWithBroker();
    const token = await signToken({ deviceIds: [`long-${'x'.repeat(120)}`, HOSTILE] });
    await withBrowser(
      async ({ page }) => {
        await page.goto(pageUrl(app, token));
        await tile(page, HOSTILE).waitFor();
        await tile(page, HOSTILE).getByRole('button', { name: 'Command' }).click();
        expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(390);
      },
      { width: 390, height: 844 },
    );
  });

  it('comes back by itself when the instance is restarted', async () => {
    const broker = own(await startMosquitto());
    const first = own(await startApp({ MQTT_URL: broker.url, DRAIN_SPREAD_MS: '1' }));
    await first.app.ready();
    await withBrowser(async ({ page }) => {
      await page.goto(pageUrl(first, await signToken({ deviceIds: ['a'] })));
      await page.locator('#link[data-state=live]').waitFor();
      await first.stop();
      await page.getByRole('alert').getByText('The connection was lost').waitFor();
      const second = own(await startApp({ MQTT_URL: broker.url, PORT: String(first.ports.port) }));
      await second.app.ready();
      await page.locator('#link[data-state=live]').waitFor();
      await page.getByRole('alert').waitFor({ state: 'hidden' });
    });
  });
});
