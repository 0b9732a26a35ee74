import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { gzipSync } from 'node:zlib';
import { jest } from '@jest/globals';
import { connectAsync, type MqttClient } from 'mqtt';
import type { BrowserContextOptions, Page, WebSocketRoute } from 'playwright-core';
import { TestBrowser, type WatchedPage } from '../support/browser.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { type Mosquitto, startMosquitto } from '../support/mosquitto.js';
import { signToken, type TokenClaims } from '../support/tokens.js';
import { type RunningApp, startApp } from './capture.js';

// A browser on a machine that does other things.
jest.setTimeout(60_000);

const HOSTILE = '<img src=x onerror="document.title=1">';
const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true };
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const tile = (page: Page, id: string) => page.locator(`.tile[data-device-id='${id.replaceAll("'", "\\'")}']`);

/** What axe-core finds that is serious or critical, as short sentences. */
async function seriousFindings(page: Page): Promise<string[]> {
  if (!(await page.evaluate('window.axe !== undefined'))) {
    await page.evaluate(axe);
  }
  return page.evaluate<string[]>(`axe.run(document, {
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
    resultTypes: ['violations'],
  }).then(({ violations }) => violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => id + ': ' + nodes.slice(0, 3).map(({ html }) => html.slice(0, 160)).join(' | ')))`);
}

describe('the dashboard page', () => {
  const shared = stopAfterAll();
  const own = stopAfterEach();
  let broker: Mosquitto;
  let app: RunningApp;
  let device: MqttClient;
  let browser: TestBrowser;
  let tests = 0;
  let prefix: string;

  beforeAll(async () => {
    broker = shared(await startMosquitto());
    app = shared(await startApp({ MQTT_URL: broker.url }));
    await app.app.ready();
    device = await connectAsync(broker.url);
    shared({ stop: () => device.endAsync(true) });
    browser = shared(await TestBrowser.start());
  });
  beforeEach(() => {
    tests += 1;
    prefix = `t${tests}.`;
  });

  const id = (name: string): string => prefix + name;
  const link = async (claims: TokenClaims, port = app.ports.port): Promise<string> =>
    `http://127.0.0.1:${port}/#token=${await signToken(claims)}`;
  const say = (name: string, payload: unknown): Promise<unknown> =>
    device.publishAsync(
      `devices/${id(name)}/telemetry`,
      typeof payload === 'string' ? payload : JSON.stringify(payload),
      { qos: 1 },
    );
  const describeDevice = (name: string, meta: object): Promise<unknown> =>
    device.publishAsync(`devices/${id(name)}/meta`, JSON.stringify(meta), { retain: true, qos: 1 });
  const status = (name: string, online: boolean): Promise<unknown> =>
    device.publishAsync(`devices/${id(name)}/status`, JSON.stringify({ online, ts: Date.now() }), {
      retain: true,
      qos: 1,
    });

  /** A page of its own, which shows what the token grants; with options, in a profile of its own. */
  async function open(claims: TokenClaims, options?: BrowserContextOptions): Promise<WatchedPage> {
    const watched = await (options === undefined ? browser.tab() : browser.open(options));
    own({ stop: () => (options === undefined ? watched.page : watched.page.context()).close() });
    await watched.page.goto(await link(claims));
    return watched;
  }
  const devicePage = async (page: Page, name: string): Promise<void> => {
    await page.evaluate(`location.hash = '#/devices/' + encodeURIComponent(${JSON.stringify(id(name))})`);
    await page.locator('.device').waitFor();
  };
  async function signOut(page: Page): Promise<void> {
    await page.getByRole('button', { name: 'Settings' }).click();
    await page.getByRole('button', { name: 'Sign out' }).click();
  }

  it('is under 150 KB gzipped in all', async () => {
    const html = await (await app.get('/')).text();
    const files = [...html.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map((match) => match[1] ?? '');
    const texts = await Promise.all(files.map(async (file) => (await app.get(file)).text()));
    const bytes = [html, ...texts].reduce((sum, text) => sum + gzipSync(text).length, 0);
    expect(bytes).toBeLessThan(150_000);
  });

  it('shows what devices say as text, whatever they say, and asks nobody else', async () => {
    const token = await signToken({ deviceIds: [HOSTILE, '__proto__', id('odd')] });
    const { page, problems, requests } = await browser.open();
    own({ stop: () => page.context().close() });
    await page.goto(`http://127.0.0.1:${app.ports.port}/#token=${token}`);
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
    await say('odd', '[1,[2,{"a":null}]]');
    await hostile.getByText('4', { exact: true }).waitFor();
    await tile(page, '__proto__').getByText('__proto__.x').waitFor();
    await tile(page, id('odd')).getByText('[1,[2,{"a":null}]]').waitFor();
    expect(await hostile.locator('h3').textContent()).toBe(HOSTILE);
    await hostile.getByRole('link').click();
    await page.getByRole('heading', { level: 1, name: HOSTILE }).waitFor();
    await page.locator('.messages pre').first().waitFor();
    expect(await page.locator('img').count()).toBe(0);
    await page.goBack();
    await hostile.waitFor();
    expect(await page.title()).toBe('Sluice');
    expect(problems).toEqual([]);
    for (const request of requests) {
      expect(new URL(request).host).toBe(`127.0.0.1:${app.ports.port}`);
      expect(request).not.toContain(token);
    }
  });

  it('takes the token out of the address and keeps it for the tab alone', async () => {
    const { page } = await open({ deviceIds: [id('a')] });
    await tile(page, id('a')).waitFor();
    expect(page.url()).toBe(`http://127.0.0.1:${app.ports.port}/`);
    await page.reload();
    await tile(page, id('a')).waitFor();
    const other = await page.context().newPage();
    own({ stop: () => other.close() });
    await other.goto(page.url());
    await other.getByLabel('Access token').fill(`Bearer ${await signToken({ deviceIds: [id('a')] })}`);
    await other.getByRole('button', { name: 'Connect' }).click();
    await tile(other, id('a')).waitFor();
    await signOut(other);
    await other.getByLabel('Access token').waitFor();
    expect(await other.evaluate('sessionStorage.length')).toBe(0);
  });

  it('says why when the token is not accepted', async () => {
    const { page } = await open({ lifetimeS: -3_600 });
    await page.getByText(/token (was not accepted|has expired)/).waitFor();
    await page.getByLabel('Access token').fill('not a token');
    await page.getByRole('button', { name: 'Connect' }).click();
    await page.getByText('This is no access token').waitFor();
    expect(await seriousFindings(page)).toEqual([]);
  });

  // A token of patterns showed an empty page: its patterns were thrown away.
  it('shows what the patterns of a token stand for, present and future devices', async () => {
    await say('present', 1);
    const { page } = await open({ deviceIds: [`${prefix}*`, id('silent')] });
    await tile(page, id('present')).getByText('1', { exact: true }).waitFor();
    await tile(page, id('silent')).getByText('Nothing received yet').waitFor();
    await say('future', 2);
    await tile(page, id('future')).getByText('2', { exact: true }).waitFor();
  });

  // A token that names more devices than a connection may watch showed none of the rest, and nothing said so.
  it('shows what may be watched of a token with more devices, and says what is missing', async () => {
    const deviceIds = ['a', 'b', 'c', 'd', 'e'].map(id);
    const { page } = await open({ deviceIds, maxRooms: 3 });
    await page.getByText('3 are shown, 2 are not').waitFor();
    await say('b', 5);
    await tile(page, id('b')).getByText('5', { exact: true }).waitFor();
    expect(await page.locator('.tile').count()).toBe(3);
    expect(await seriousFindings(page)).toEqual([]);
  });

  it('finds by name, place, field and state, filters, groups and orders, all of it in the address', async () => {
    await describeDevice('a', { name: 'Pump', location: 'Hall 1', kind: 'pump' });
    await describeDevice('b', { name: 'Door', location: 'Hall 2', kind: 'door' });
    await say('a', { pressure: 3.5 });
    await say('b', { open: true });
    await status('a', true);
    await status('b', false);
    const { page } = await open({ deviceIds: [`${prefix}*`] });
    await tile(page, id('b')).getByText('Offline').waitFor();
    await page.getByLabel('Find by name, place or field').fill('pressure');
    await tile(page, id('b')).waitFor({ state: 'detached' });
    expect(page.url()).toMatch(/#\/\?q=pressure$/);
    await page.getByLabel('Find by name, place or field').fill('nothing like it');
    await page.getByText('No device matches.').waitFor();
    await page.getByRole('button', { name: 'Show all' }).click();
    await page.getByRole('button', { name: /^Offline/ }).click();
    await tile(page, id('a')).waitFor({ state: 'detached' });
    await page.goto(`${page.url().replace(/#.*/, '')}#/?sort=worst&group=place&view=table`);
    await page.reload();
    await page.getByRole('heading', { name: /^Hall 1/ }).waitFor();
    const names = page.locator('.row .name');
    expect(await names.allTextContents()).toEqual(['Door', 'Pump']);
    expect(await seriousFindings(page)).toEqual([]);
  });

  it('sends commands by forms and as JSON, and tells their outcome', async () => {
    const commands: string[] = [];
    const listen = (topic: string, payload: Buffer): unknown =>
      topic === `devices/${id('pump')}/commands` && commands.push(payload.toString());
    device.on('message', listen);
    own({ stop: () => void device.off('message', listen) });
    await device.subscribeAsync(`devices/${id('pump')}/commands`, { qos: 1 });
    await describeDevice('pump', {
      commands: [{ action: 'stop' }, { speed: 2400 }],
      units: { speed: 'rpm' },
    });
    const claims = { deviceIds: [id('pump'), id('deaf')] };
    const { page, problems } = await open(claims);
    await tile(page, id('pump')).getByRole('link').click();
    await page.getByRole('button', { name: 'stop' }).click();
    await page.getByRole('button', { name: 'Send' }).click();
    await page.getByText('the broker has accepted it').waitFor();
    expect(commands).toEqual(['{"action":"stop"}']);

    await page.getByRole('button', { name: 'speed' }).click();
    await page.getByLabel('speed rpm').fill('1.50');
    await page.getByRole('button', { name: 'Send' }).click();
    await page.locator('.sent li').nth(1).waitFor();
    await page.locator('.sent li').first().getByText('the broker has accepted it').waitFor();
    expect(commands).toEqual(['{"action":"stop"}', '{"speed":1.50}']);

    await page.getByRole('button', { name: 'JSON', exact: true }).click();
    await page.getByLabel('Command as JSON').fill('stop it');
    await page.getByRole('button', { name: 'Send' }).click();
    await page.getByText('not valid JSON').waitFor();
    expect(await seriousFindings(page)).toEqual([]);

    await devicePage(page, 'deaf');
    await page.getByLabel('Command as JSON').fill('1');
    await page.getByRole('button', { name: 'Send' }).click();
    await page.getByText('no device was listening').waitFor();
    expect(problems).toEqual([]);
  });

  it('shows what the device answers to a command', async () => {
    await describeDevice('clever', { commands: [{ id: 7, action: 'measure' }] });
    const topic = `devices/${id('clever')}/commands`;
    const answer = (on: string): unknown =>
      on === topic &&
      device.publishAsync(`devices/${id('clever')}/replies`, '{"id":7,"depth":12.5}', { qos: 1 });
    device.on('message', answer);
    own({ stop: () => void device.off('message', answer) });
    await device.subscribeAsync(topic, { qos: 1 });
    const { page } = await open({ deviceIds: [id('clever')] });
    await tile(page, id('clever')).getByRole('link').click();
    await page.getByRole('button', { name: 'Send' }).click();
    await page.getByText('The device answered:').waitFor();
    await page.getByText('{"id":7,"depth":12.5}').waitFor();
  });

  // Command was offered to who may only read, and refused after Send.
  it('offers no command to a token that may only read', async () => {
    const { page } = await open({ deviceIds: [id('pump')], permissions: ['read'] });
    await tile(page, id('pump')).getByRole('link').click();
    await page.getByText('Your token permits reading only').waitFor();
    expect(await page.getByRole('button', { name: 'Send' }).count()).toBe(0);
  });

  it('watches further devices by id, within the grants, until the session ends', async () => {
    const { page } = await open({ deviceIds: [`${prefix}*`] });
    await page.getByText('No devices yet').waitFor();
    await page.getByRole('button', { name: 'Watch a device…' }).click();
    for (const name of [id('valve'), 'plant-8.valve']) {
      await page.getByLabel('Watch a device by its id').fill(name);
      await page.getByRole('button', { name: 'Watch', exact: true }).click();
    }
    await page.getByText('Your token does not grant “plant-8.valve”.').waitFor();
    await say('valve', { open: true });
    await tile(page, id('valve')).getByText('yes', { exact: true }).waitFor();
    await page.reload();
    await tile(page, id('valve')).getByText('yes', { exact: true }).waitFor();
    await tile(page, id('valve')).getByRole('link').click();
    await page.getByRole('button', { name: 'Stop watching' }).click();
    await tile(page, id('valve')).waitFor();
    await page.getByRole('button', { name: 'Watch a device…' }).click();
    await page.getByLabel('Watch a device by its id').fill(id('other'));
    await page.getByRole('button', { name: 'Watch', exact: true }).click();
    await tile(page, id('other')).waitFor();
    await signOut(page);
    await page.getByLabel('Access token').waitFor();
    // The ids of the last user stayed in the browser for the next one.
    expect(await page.evaluate('JSON.stringify(localStorage)')).not.toContain(prefix);
  });

  it('fits a phone, whatever a device sends, without serious findings', async () => {
    const long = `long-${'x'.repeat(110)}`;
    const commands = [{ action: 'x'.repeat(300) }];
    await describeDevice(long, { name: 'مضخة المياه', location: '東京'.repeat(40), commands });
    await say(long, {
      text: 'word '.repeat(200),
      rtl: 'שלום',
      empty: '',
      none: {},
      n: 1e300,
      deep: { a: { b: { c: 1 } } },
    });
    await say('wide', Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`field-${at}`, at])));
    await say('empty', {});
    const { page, problems } = await open({ deviceIds: [`${prefix}*`] }, PHONE);
    await tile(page, id('empty')).getByText('An empty message').waitFor();
    await tile(page, id('wide')).getByText('+196 fields').waitFor();
    const width = (): Promise<unknown> => page.evaluate('document.documentElement.scrollWidth');
    expect(await width()).toBeLessThanOrEqual(390);
    expect(await seriousFindings(page)).toEqual([]);
    for (const name of [long, 'wide', 'empty']) {
      await devicePage(page, name);
      expect(await width()).toBeLessThanOrEqual(390);
      const send = await page.getByRole('button', { name: 'Send' }).boundingBox();
      expect(send!.x + send!.width).toBeLessThanOrEqual(390);
    }
    await devicePage(page, 'wide');
    expect(await page.locator('.fields-panel tbody tr').count()).toBe(200);
    await page.getByLabel('Find a field').fill('field-177');
    expect(await page.locator('.fields-panel tbody tr').count()).toBe(1);
    await page.getByRole('button', { name: 'Draw field-177' }).click();
    await page.getByRole('img', { name: /field-177 between/ }).waitFor();
    expect(page.url()).toContain('field=field-177');
    expect(await seriousFindings(page)).toEqual([]);
    expect(problems).toEqual([]);
  });

  it('draws what history has when it opens, pauses, zooms and shows another range', async () => {
    await describeDevice('a', { units: { flow: 'l/min' } });
    for (let n = 1; n <= 5; n++) {
      await say('a', { flow: n, on: n % 2 === 0 });
    }
    const { page } = await open({ deviceIds: [id('a')] });
    await tile(page, id('a')).getByRole('link').click();
    await page.getByRole('img', { name: /flow between 1 and 5 l\/min, now 5/ }).waitFor();
    await page.getByRole('button', { name: 'Pause', exact: true }).first().click();
    await say('a', { flow: 6, on: true });
    await page.getByRole('img', { name: /flow between 1 and 5/ }).waitFor();
    await page.getByRole('button', { name: 'Live', exact: true }).first().click();
    await page.getByRole('img', { name: /now 6/ }).waitFor();
    await page.getByText('5 min').click();
    expect(page.url()).toContain('range=5m');
    await page.getByRole('button', { name: 'Zoom in' }).click();
    await page.getByRole('button', { name: 'Live', exact: true }).first().waitFor();
    await page.getByRole('button', { name: 'Pause the messages' }).click();
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.getByRole('button', { name: 'Copy message 6' }).click();
    await page.getByText('Copied').waitFor();
    expect(await page.evaluate('navigator.clipboard.readText()')).toBe('{"flow":6,"on":true}');
    expect(await seriousFindings(page)).toEqual([]);
  });

  it('is worked by the keyboard: one stop for the list, arrows in it, and back to where one was', async () => {
    for (let n = 10; n < 70; n++) {
      await say(`d${n}`, n);
    }
    const { page } = await open({ deviceIds: [`${prefix}*`] });
    await tile(page, id('d10')).waitFor();
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await tile(page, id('d10')).getByRole('link').focus();
    const focused = (): Promise<unknown> =>
      page.evaluate(`document.activeElement.closest('[data-device-id]')?.dataset.deviceId`);
    // The browser's own waiting evaluates text, which the page's policy forbids.
    const focuses = async (name: string): Promise<void> => {
      while ((await focused()) !== id(name)) {
        await page.waitForTimeout(20);
      }
    };
    await page.keyboard.press('ArrowRight');
    await focuses('d11');
    await page.keyboard.press('End');
    await focuses('d69');
    expect(await focused()).toBe(id('d69'));
    expect(await page.locator('.tile [tabindex="0"]').count()).toBe(1);
    // Only what is on the screen is in the document.
    expect(await page.locator('.tile').count()).toBeLessThan(45);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { level: 1, name: id('d69') }).waitFor();
    expect(await page.title()).toBe(`${id('d69')} – Sluice`);
    await page.goBack();
    await tile(page, id('d69')).waitFor();
  });

  it('speaks German, and is dark or light as one likes, also after a reload', async () => {
    await say('a', { on: true });
    const { page } = await open({ deviceIds: [id('a')] }, { locale: 'de-DE', colorScheme: 'dark' });
    await tile(page, id('a')).getByText('ja', { exact: true }).waitFor();
    expect(await page.evaluate('document.documentElement.lang')).toBe('de');
    expect(await seriousFindings(page)).toEqual([]);
    await page.getByRole('button', { name: 'Einstellungen' }).click();
    await page.getByText('English').click();
    await page.getByText('Light', { exact: true }).click();
    expect(await seriousFindings(page)).toEqual([]);
    await page.reload();
    await tile(page, id('a')).getByText('yes', { exact: true }).waitFor();
    expect(await page.evaluate('document.documentElement.dataset.theme')).toBe('light');
  });

  // A component listened from its first painting on: what was told between its drawing and that was lost, and one page in a hundred stayed empty.
  it('is drawn with what comes before the browser paints it', async () => {
    await say('a', { on: true });
    const { page } = await browser.open();
    own({ stop: () => page.context().close() });
    await page.addInitScript(`
      const later = setTimeout;
      window.setTimeout = (run, ms = 0, ...rest) => later(run, ms + 1000, ...rest);
      window.requestAnimationFrame = (run) => later(() => run(performance.now()), 1000);
    `);
    await page.goto(await link({ deviceIds: [id('a')] }));
    await tile(page, id('a')).getByText('yes', { exact: true }).waitFor();
  });

  it('says what the connection does', async () => {
    const { page } = await browser.open(PHONE);
    own({ stop: () => page.context().close() });
    let server: WebSocketRoute | undefined;
    await page.routeWebSocket(/\/ws/, (socket) => {
      server = socket;
      socket.connectToServer();
    });
    await page.goto(await link({ deviceIds: [id('a')] }));
    await tile(page, id('a')).waitFor();
    const told = (more: object): void =>
      server!.send(JSON.stringify({ type: 'upstream', mqtt: 'up', changedAt: Date.now(), ...more }));
    told({ behindMs: 42_000 });
    await page.getByRole('alert').getByText('Device messages reach the server 42 s late').waitFor();
    await page.getByRole('button', { name: 'Connection: Data 42 s late' }).waitFor();
    told({});
    await page.getByRole('button', { name: 'Connection: Live' }).click();
    const panel = page.getByRole('group', { name: 'Connection' });
    await panel.getByText(/^\d+ ms$/).waitFor();
    await panel.getByText('Resumed').waitFor();
    await panel.getByText('Access ends').waitFor();
    expect(await seriousFindings(page)).toEqual([]);
  });

  it('announces the end of the token, and goes on in place with a newer one', async () => {
    await say('a', 1);
    const { page } = await open({ deviceIds: [id('a')], userId: 'ann', lifetimeS: 120 });
    await page.getByText(/Your access ends in \d+ (s|min)/).waitFor();
    expect(await seriousFindings(page)).toEqual([]);
    await page.getByLabel('New access token').fill(await signToken({ deviceIds: [id('a')], userId: 'ann' }));
    await page.getByRole('button', { name: 'Go on with it' }).click();
    await page.getByText(/Your access ends in/).waitFor({ state: 'detached' });
    await say('a', 2);
    await tile(page, id('a')).getByText('2', { exact: true }).waitFor();
  });

  it('keeps the last values when access ends, and goes on where it was', async () => {
    await say('a', 1);
    const { page } = await open({ deviceIds: [id('a')], userId: 'ann', lifetimeS: 2 });
    await tile(page, id('a')).getByText('1', { exact: true }).waitFor();
    await page.getByText(/Your access has ended/).waitFor();
    expect(await tile(page, id('a')).getByText('Stale').isVisible()).toBe(true);
    expect(await seriousFindings(page)).toEqual([]);
    await page.getByLabel('New access token').fill(await signToken({ deviceIds: [id('a')], userId: 'ann' }));
    await page.getByRole('button', { name: 'Go on with it' }).click();
    await page.locator('#link[data-state=live]').waitFor();
    await say('a', 2);
    await tile(page, id('a')).getByText('2', { exact: true }).waitFor();
  });

  it('says on the page of a device that the token does not grant it', async () => {
    const { page } = await open({ deviceIds: [id('a')] });
    await tile(page, id('a')).waitFor();
    await devicePage(page, 'b');
    await page.getByText('Your token does not grant this device.').waitFor();
    expect(await seriousFindings(page)).toEqual([]);
  });

  it('marks values as stale while no device message can reach the server, and goes on after that', async () => {
    const ownBroker = own(await startMosquitto());
    const fast = { 'mqtt.reconnectMinMs': '50', 'mqtt.reconnectMaxMs': '200' };
    const other = own(await startApp({ MQTT_URL: ownBroker.url, ...fast }));
    await other.app.ready();
    const speaker = await connectAsync(ownBroker.url, { reconnectPeriod: 100 });
    speaker.on('error', () => undefined);
    own({ stop: () => speaker.endAsync(true) });
    const { page } = await browser.open();
    own({ stop: () => page.context().close() });
    await page.goto(await link({ deviceIds: ['a'] }, other.ports.port));
    await tile(page, 'a').waitFor();
    await speaker.publishAsync('devices/a/telemetry', '41');
    await tile(page, 'a').getByText('41', { exact: true }).waitFor();
    expect(await tile(page, 'a').getByText('Stale').count()).toBe(0);
    await ownBroker.kill();
    await page.getByRole('alert').getByText('No device messages reach the server').waitFor();
    expect(await tile(page, 'a').getByText('Stale').isVisible()).toBe(true);
    expect(await seriousFindings(page)).toEqual([]);
    await page.emulateMedia({ colorScheme: 'dark' });
    expect(await seriousFindings(page)).toEqual([]);
    await ownBroker.restart();
    await page.getByRole('alert').waitFor({ state: 'hidden' });
    await other.app.ready();
    await speaker.publishAsync('devices/a/telemetry', '42', { qos: 1 });
    await tile(page, 'a').getByText('42', { exact: true }).waitFor();
  });

  it('gets tokens from the operator’s own login, and comes back by itself when the instance is restarted', async () => {
    const settings = { MQTT_URL: broker.url, DRAIN_SPREAD_MS: '1', DASHBOARD_TOKEN_URL: '/login/token' };
    const first = own(await startApp(settings));
    await first.app.ready();
    const { page } = await browser.open();
    own({ stop: () => page.context().close() });
    let isSignedIn = false;
    await page.route('**/login/token', async (route) =>
      isSignedIn
        ? route.fulfill({ json: { token: await signToken({ deviceIds: [id('a')] }) } })
        : route.fulfill({ status: 401, json: { loginUrl: '/login' } }),
    );
    await page.goto(`http://127.0.0.1:${first.ports.port}/`);
    await page.getByText('Sign in to see your devices.').waitFor();
    expect(await page.getByRole('link', { name: 'Sign in' }).getAttribute('href')).toContain(
      '/login?return_to=',
    );
    isSignedIn = true;
    await page.getByRole('button', { name: 'Try again' }).click();
    await page.locator('#link[data-state=live]').waitFor();
    await first.stop();
    await page.getByRole('alert').getByText('The connection was lost').waitFor();
    const second = own(await startApp({ ...settings, PORT: String(first.ports.port) }));
    await second.app.ready();
    await page.locator('#link[data-state=live]').waitFor();
    await page.getByRole('alert').waitFor({ state: 'hidden' });
  });
});
