import { jest } from '@jest/globals';
import type { Page } from 'playwright-core';
import { withBrowser } from '../support/browser.js';
import { stopAfterEach } from '../support/cleanup.js';
import { mosquittoPub, mosquittoSub } from '../support/mosquitto-clients.js';
import { startMosquitto } from '../support/mosquitto.js';
import { startSluice } from '../support/sluice.js';
import { signToken } from '../support/tokens.js';

jest.setTimeout(90_000);

const tile = (page: Page, id: string) => page.locator(`.tile[data-device-id='${id}']`);

/** The built product, a real broker, Mosquitto's own clients as devices and a real browser: nothing of ours in between. */
describe('the main job, end to end', () => {
  const own = stopAfterEach();

  it('shows what mosquitto_pub publishes, a status change, and brings a command to mosquitto_sub', async () => {
    const broker = own(await startMosquitto());
    const sluice = own(await startSluice({ env: { MQTT_URL: broker.url } }));
    const machine = own(await mosquittoSub(broker, 'devices/press-4/commands'));
    const meta = '{"name":"Press 4","units":{"pressure":"bar"}}';
    await mosquittoPub(broker, 'devices/press-4/meta', meta, { retain: true });

    await withBrowser(async ({ page, problems }) => {
      await page.goto(`${sluice.url}/#token=${await signToken({ deviceIds: ['press-4'] })}`);
      const press = tile(page, 'press-4');
      await press.getByText('Press 4').waitFor();

      await mosquittoPub(broker, 'devices/press-4/telemetry', '{"pressure":17.25}');
      await press.getByText('17.25').waitFor();
      await press.getByText('bar').waitFor();

      const online = JSON.stringify({ online: true, ts: Date.now() });
      await mosquittoPub(broker, 'devices/press-4/status', online, { retain: true });
      await press.getByText('Online', { exact: true }).waitFor();
      const offline = JSON.stringify({ online: false, ts: Date.now() });
      await mosquittoPub(broker, 'devices/press-4/status', offline, { retain: true });
      await press.getByText(/^Offline/).waitFor();

      await press.getByRole('button', { name: 'Command' }).click();
      await press.getByLabel('Command as JSON').fill('{"speed": 1.50, "serial": 12345678901234567890}');
      await press.getByRole('button', { name: 'Send' }).click();
      await press.getByText('the broker has accepted it').waitFor();
      const [, payload] = await machine.line(/^devices\/press-4\/commands (.*)$/);
      expect(payload).toBe('{"speed": 1.50, "serial": 12345678901234567890}');
      expect(problems).toEqual([]);
    });
  });
});
