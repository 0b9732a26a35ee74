import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { jest } from '@jest/globals';
import { withBrowser } from '../support/browser.js';
import { stopAfterAll } from '../support/cleanup.js';
import { DashboardClient } from '../support/dashboard-client.js';
import { freePort } from '../support/free-port.js';
import { Program } from '../support/program.js';

// Installs everything from the registry, with whatever the machine has in npm's cache.
const INSTALL_MS = 400_000;
jest.setTimeout(INSTALL_MS + 60_000);

const root = fileURLToPath(new URL('../..', import.meta.url));
/** What a clone does not have. */
const NOT_CLONED = ['node_modules', 'dist', 'coverage', '.git', '.env'];

/** The environment of a new terminal: without what `npm test` and Jest set, and without settings of Sluice. */
function freshEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) =>
      ['PATH', 'HOME', 'LANG', 'TMPDIR', 'NODE_EXTRA_CA_CERTS'].includes(name) ||
      /^(npm_config_|https?_proxy$|no_proxy$)/i.test(name),
  );
  return Object.fromEntries(kept.filter(([name]) => name !== 'npm_config_loglevel'));
}

describe('npm start on a fresh clone', () => {
  const own = stopAfterAll();
  const folder = mkdtempSync(join(tmpdir(), 'sluice-clone-'));
  let start: Program;
  let url: string;

  beforeAll(async () => {
    own({ stop: () => rmSync(folder, { recursive: true, force: true }) });
    cpSync(root, folder, { recursive: true, filter: (path) => !NOT_CLONED.includes(basename(path)) });
    start = own(
      new Program('npm start', 'npm', ['start'], {
        cwd: folder,
        env: { ...freshEnvironment(), PORT: String(await freePort()), MQTT_EMBEDDED_PORT: '0' },
      }),
    );
    url = (await start.line(/^Dashboard: (http\S+)$/, INSTALL_MS))[1]!;
  }, INSTALL_MS + 30_000);

  it('prints nothing but what it does: no warning, one token', () => {
    // What npm says about the settings of this machine is not ours.
    const warnings = start.lines.filter(
      (line) => /npm (warn|error)/i.test(line) && !/Unknown \w+ config/.test(line),
    );
    expect(warnings).toEqual([]);
    expect(start.output.match(/eyJ[\w-]+\.[\w-]+\.[\w-]+/g)).toHaveLength(1);
  });

  it('shows the fleet moving at the printed address', async () => {
    await withBrowser(async ({ page, problems }) => {
      await page.goto(url);
      await page.locator('.tile').nth(11).waitFor();
      expect(await page.locator('.tile').count()).toBe(12);
      const values = (): Promise<string[]> => page.locator('.tile .number').allTextContents();
      const before = await values();
      const moved = async (): Promise<boolean> =>
        (await values()).filter((text, index) => text !== '–' && text !== before[index]).length >= 3;
      await start.poll(moved, 'moving');
      expect(problems).toEqual([]);
    });
  });

  it('starts again without installing or building', async () => {
    const second = new Program('npm start', 'npm', ['start'], {
      cwd: folder,
      env: { ...freshEnvironment(), PORT: String(await freePort()), MQTT_EMBEDDED_PORT: '0' },
    });
    await second.line(/^Dashboard: /, 30_000);
    expect(second.output).not.toMatch(/Installing|Building/);
    expect(await second.stop()).toEqual({ code: 0, signal: null });
  });

  it('tells its clients 1012 when npm gets SIGTERM, and ends with 0', async () => {
    const address = new URL(url);
    const token = new URLSearchParams(address.hash.slice(1)).get('token');
    const clients = await Promise.all(
      Array.from({ length: 5 }, () =>
        DashboardClient.connect(`ws://127.0.0.1:${address.port}/ws`, { token }),
      ),
    );
    await Promise.all(clients.map((client) => client.next('subscribed')));
    const ended = start.stop();
    for (const client of clients) {
      const { code, reason } = await client.closed;
      expect(code).toBe(1012);
      expect(JSON.parse(reason)).toEqual({ retryAfterMs: expect.any(Number) });
    }
    expect(await ended).toEqual({ code: 0, signal: null });
  });
});
