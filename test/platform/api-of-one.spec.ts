import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApiTokens } from '../../src/api/api-tokens.js';
import { BroadcastAdapter } from '../../src/rooms/broadcast-adapter.js';
import { publish } from '../contract/broadcast-adapter.contract.js';
import { stopAfterAll } from '../support/cleanup.js';
import { testConfig } from '../support/test-config.js';
import { call, TOKEN } from './api-calls.js';
import { startApp } from './capture.js';

describe('the server API of one instance', () => {
  const shared = stopAfterAll();

  it('is not there without a token: its paths are unknown ones', async () => {
    const app = shared(await startApp({ MANAGEMENT_PORT: '0' }));
    const url = (port: number): string => `http://127.0.0.1:${port}/api/v1/devices`;
    const answers = await Promise.all(
      [url(app.ports.managementPort), url(app.ports.port)].map((one) => fetch(one)),
    );
    expect(answers.map(({ status }) => status)).toEqual([404, 404]);
  });

  it('takes tokens anew from its file, keeps the old ones when the file is faulty, and is on PORT in development', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-api-'));
    shared({ stop: () => rmSync(folder, { recursive: true }) });
    const file = join(folder, 'token');
    writeFileSync(file, `${TOKEN}\n`);
    let now = 0;
    const tokens = new ApiTokens(testConfig({ API_TOKEN_FILE: file }), () => now);
    const isGood = async (token: string): Promise<boolean> =>
      (await tokens.nameOf(`Bearer ${token}`)) !== null;
    const next = 'b'.repeat(40);
    writeFileSync(file, `${TOKEN} ${next}`);
    expect([await isGood(TOKEN), await isGood(next)]).toEqual([true, false]);
    now += 10_000;
    expect([await isGood(TOKEN), await isGood(next)]).toEqual([true, true]);
    writeFileSync(file, next);
    now += 10_000;
    expect([await isGood(TOKEN), await isGood(next)]).toEqual([false, true]);
    writeFileSync(file, 'short');
    now += 10_000;
    expect(await isGood(next)).toBe(true);
  });

  it('walks 100 000 devices without stopping the event loop', async () => {
    const app = shared(
      await startApp({
        API_TOKEN: TOKEN,
        MAX_DEVICES: '200000',
        HISTORY_MAX_PUBLICATIONS: '0',
        LOG_LEVEL: 'warn',
      }),
    );
    const adapter = app.app.nest.get(BroadcastAdapter, { strict: false });
    for (let n = 0; n < 100_000; n += 1) {
      await publish(adapter, `d-${n}`, n);
    }
    for (let n = 0; n < 30; n += 1) {
      await publish(adapter, `large-${n}`, 'x'.repeat(200_000));
    }
    let longest = 0;
    let last = performance.now();
    const watch = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 1);
    let count = 0;
    let cursor = '';
    for (let page = 0; page < 5; page += 1) {
      const { body } = await call(app, 'GET', `/devices?limit=1000${cursor}`);
      count += body['devices'].length;
      cursor = `&cursor=${body['cursor']}`;
    }
    clearInterval(watch);
    expect(count).toBe(5_000);
    // Defect: the entry that went over 4 MiB was in the answer.
    const pages: number[] = [];
    for (cursor = ''; cursor !== '&cursor=undefined';) {
      const { body } = await call(app, 'GET', `/devices?pattern=large-*&limit=1000${cursor}`);
      pages.push(body['devices'].length);
      cursor = `&cursor=${body['cursor']}`;
    }
    expect(pages).toEqual([20, 10]);
    process.stderr.write(`listing 100 000 devices: longest turn ${Math.round(longest)} ms\n`);
  });
});
