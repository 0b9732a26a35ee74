import { jest } from '@jest/globals';
import type { Page } from 'playwright-core';
import { TestBrowser, type WatchedPage } from '../support/browser.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { mosquittoPub, mosquittoSub } from '../support/mosquitto-clients.js';
import { type Mosquitto, startMosquitto } from '../support/mosquitto.js';
import { type Sluice, startSluice } from '../support/sluice.js';
import { signToken } from '../support/tokens.js';

jest.setTimeout(90_000);

const tile = (page: Page, id: string) => page.locator(`.tile[data-device-id='${id}']`);

/** The built product, a real broker, Mosquitto's own clients as devices and a real browser: nothing of ours in between. */
describe('the main job, end to end', () => {
  const shared = stopAfterAll();
  const own = stopAfterEach();
  let broker: Mosquitto;
  let sluice: Sluice;
  let browser: TestBrowser;

  beforeAll(async () => {
    broker = shared(await startMosquitto());
    sluice = shared(await startSluice({ env: { MQTT_URL: broker.url } }));
    browser = shared(await TestBrowser.start());
  });

  /** A tab with a profile of its own. */
  async function open(): Promise<WatchedPage> {
    const watched = await browser.open();
    own({ stop: () => watched.page.context().close() });
    return watched;
  }

  it('shows what mosquitto_pub publishes, a status change, and brings a command to mosquitto_sub', async () => {
    const machine = own(await mosquittoSub(broker, 'devices/press-4/commands'));
    const meta = '{"name":"Press 4","units":{"pressure":"bar"}}';
    await mosquittoPub(broker, 'devices/press-4/meta', meta, { retain: true });

    const { page, problems } = await open();
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

    await press.getByRole('link', { name: 'Press 4' }).click();
    await page.getByLabel('Command as JSON').fill('{"speed": 1.50, "serial": 12345678901234567890}');
    await page.getByRole('button', { name: 'Send' }).click();
    await page.getByText('the broker has accepted it').waitFor();
    const [, payload] = await machine.line(/^devices\/press-4\/commands (.*)$/);
    expect(payload).toBe('{"speed": 1.50, "serial": 12345678901234567890}');
    expect(problems).toEqual([]);
  });

  // A value nested some thousand levels deep could not be written as JSON; the error left the loop over all changed tiles with that one
  // first in line again, and no other tile was drawn any more. An error of one tile ends there now.
  it('draws the other tiles when one cannot be drawn, and that one when it can', async () => {
    const { page, problems } = await open();
    await page.goto(`${sluice.url}/#token=${await signToken({ deviceIds: ['a-bad', 'b-good'] })}`);
    await tile(page, 'b-good').waitFor();
    // The browser fails to write one number, in which the tile of the first device cannot be drawn.
    await page.evaluate(`(() => {
      const { get } = Object.getOwnPropertyDescriptor(Intl.NumberFormat.prototype, 'format');
      Object.defineProperty(Intl.NumberFormat.prototype, 'format', {
        get() {
          const format = get.call(this);
          return (number) => {
            if (number === 666) throw new Error('cannot be drawn');
            return format(number);
          };
        },
      });
    })()`);
    await mosquittoPub(broker, 'devices/a-bad/telemetry', '{"pressure":666}');
    await tile(page, 'a-bad').waitFor({ state: 'detached' });
    await page.getByText('This part cannot be shown.').waitFor();
    await mosquittoPub(broker, 'devices/b-good/telemetry', '{"pressure":17.25}');
    await tile(page, 'b-good').getByText('17.25').waitFor();
    expect(problems).toContain('cannot be drawn');
    await mosquittoPub(broker, 'devices/a-bad/telemetry', '{"pressure":1}');
    await tile(page, 'a-bad').getByText('1', { exact: true }).waitFor();
  });

  // A link with `#token=` took the place of an open session without a word: anybody who could send a link put values of other devices
  // under an operator's eyes, and their commands under another name. The page asks now, and says whom the new token names.
  it('asks before a link takes the place of an open session, and then does what was answered', async () => {
    const link = async (userId: string, deviceId: string) =>
      `${sluice.url}/#token=${await signToken({ userId, deviceIds: [deviceId] })}`;
    const mallory = await link('<b>mallory</b>', 'other');

    const { page, problems } = await open();
    const question = page.getByRole('dialog', { name: 'Open another session?' });
    await page.goto(await link('ann', 'press-4'));
    await tile(page, 'press-4').waitFor();
    expect(await question.count()).toBe(0);

    // The same page, and a page that loads in the same tab.
    for (const leaveFirst of [false, true]) {
      if (leaveFirst) {
        await page.goto('about:blank');
      }
      await page.goto(mallory);
      await question.getByText('<b>mallory</b>').waitFor();
      await question.getByText('ann', { exact: true }).waitFor();
      expect(page.url()).toBe(`${sluice.url}/`);
      await page.keyboard.press('Enter');
      await question.waitFor({ state: 'hidden' });
      await tile(page, 'press-4').waitFor();
      expect(await tile(page, 'other').count()).toBe(0);
    }
    await page.reload();
    await tile(page, 'press-4').waitFor();

    await page.goto(mallory);
    await question.waitFor();
    await page.keyboard.press('Escape');
    await question.waitFor({ state: 'hidden' });
    await page.goto(mallory);
    await question.getByRole('button', { name: 'Open the other one' }).click();
    await tile(page, 'other').waitFor();
    expect(await tile(page, 'press-4').count()).toBe(0);
    expect(problems).toEqual([]);
  });

  // The question was laid out at the end of the page for the moment before it was opened, and a phone scrolled there to its button.
  it('asks where one is: the question takes no place in the page', async () => {
    const { page } = await open();
    await page.goto(`${sluice.url}/`);
    await page.getByLabel('Access token').waitFor();
    const display = await page.evaluate<string>(`(() => {
      const question = document.body.appendChild(document.createElement('dialog'));
      question.className = 'card other-session';
      return getComputedStyle(question).display;
    })()`);
    expect(display).toBe('none');
  });

  it('does not ask where the link brings the token that is open, or where nothing is open', async () => {
    const link = `${sluice.url}/#token=${await signToken({ deviceIds: ['press-4'] })}`;
    const { page } = await open();
    await page.goto(sluice.url);
    await page.getByLabel('Access token').waitFor();
    for (let time = 0; time < 2; time++) {
      await page.goto(link);
      await tile(page, 'press-4').waitFor();
      expect(await page.getByRole('dialog').count()).toBe(0);
    }
    await page.getByRole('button', { name: 'Settings' }).click();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.goto(`${sluice.url}/#token=${await signToken({ userId: 'ben', deviceIds: ['press-5'] })}`);
    await tile(page, 'press-5').waitFor();
  });
});
