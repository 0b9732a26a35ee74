import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { stopAfterAll } from '../support/cleanup.js';
import { connect } from '../support/dashboard-client.js';
import { type RunningApp, startApp } from './capture.js';

const TOKEN = 'a-token-of-the-server-api-for-tests-2';
const cli = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

describe('the command line', () => {
  const shared = stopAfterAll();
  let app: RunningApp;

  beforeAll(async () => {
    app = shared(await startApp({ MANAGEMENT_PORT: '0', API_TOKEN: TOKEN }));
    await app.app.ready();
  });

  function run(args: readonly string[], env: Record<string, string> = {}) {
    const url = `http://127.0.0.1:${app.ports.managementPort}`;
    return new Promise<{ status: number; out: string; err: string }>((resolve) => {
      const child = execFile(
        process.execPath,
        [cli, ...args],
        { env: { SLUICE_URL: url, API_TOKEN: TOKEN, ...env } },
        (_error, out, err) => resolve({ status: child.exitCode ?? -1, out, err }),
      );
    });
  }

  it('shows tables and JSON, kicks, revokes and traces', async () => {
    const ann = await connect(`ws://127.0.0.1:${app.ports.port}/ws`, { claims: { userId: 'ann' } });
    await ann.next('connected');
    const shown = await run(['connections']);
    expect(shown.status).toBe(0);
    expect(shown.out).toMatch(/^CONNECTION +USER/);
    expect(shown.out).toContain('ann');
    const { connections } = JSON.parse((await run(['--json', 'connections'])).out) as {
      connections: { connectionId: string }[];
    };
    expect((await run(['kick', connections[0]!.connectionId])).out).toBe('1 closed\n');
    expect((await ann.closed).code).toBe(1012);
    expect((await run(['revoke', '--user', 'eve'])).out).toContain('kept in memory alone');
    expect((await run(['revoke', '--list'])).out).toContain('eve');
    expect((await run(['trace', '--device', 'd', '--seconds', '5'])).out).toContain('Traced until');
    expect((await run(['top', 'refused'])).out).toMatch(/^KIND +WHO +REFUSED/);
    expect((await run(['top', 'devices', '--by', 'bytes'])).out).toContain('BYTES A SECOND');
    expect((await run(['instances'])).out).toContain('memory');
  });

  it('says by its exit status whether it was refused, misused or not let through', async () => {
    expect((await run(['device', 'never-heard-of'])).status).toBe(1);
    expect((await run(['instances'], { API_TOKEN: `${TOKEN}x` })).status).toBe(1);
    expect((await run(['kick'])).status).toBe(2);
    expect((await run(['unheard-of'])).status).toBe(2);
    expect((await run(['top', 'unheard-of'])).status).toBe(2);
    expect((await run(['top', 'devices', '--by', 'unheard-of'])).status).toBe(1);
    expect((await run(['trace', '--device', 'd', '--seconds', '9999'])).status).toBe(2);
    const away = await run(['instances'], { SLUICE_URL: 'http://127.0.0.1:1' });
    expect([away.status, away.err]).toEqual([3, expect.stringMatching(/cannot be reached: .*--url/)]);
    expect(away.err).not.toContain(TOKEN);
  });

  // It said "http://127.0.0.1:9090 cannot be reached: set API_TOKEN": the instance was never asked.
  it('says that it has no token before it asks anybody', async () => {
    const without = await run(['instances'], { API_TOKEN: '' });
    expect([without.status, without.err]).toEqual([2, expect.stringMatching(/^sluice: there is no token/)]);
    const lost = await run(['instances'], { API_TOKEN: '', API_TOKEN_FILE: '/nowhere/token' });
    expect([lost.status, lost.err]).toEqual([2, expect.stringMatching(/^sluice: ENOENT.*\/nowhere\/token/)]);
  });
});
