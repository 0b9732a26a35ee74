import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { decodeJwt } from 'jose';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { DashboardClient } from '../support/dashboard-client.js';
import { freePort } from '../support/free-port.js';
import { Program } from '../support/program.js';
import { TEST_SECRET, signToken } from '../support/tokens.js';

const checker = fileURLToPath(new URL('../../scripts/config-check.js', import.meta.url));
const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

describe('node dist/main.js', () => {
  const own = stopAfterEach();

  const start = (env: Record<string, string>): Program =>
    new Program('sluice', process.execPath, [main], { env: { PATH: process.env['PATH'], ...env } });
  const run = (env: Record<string, string>): Program => own(start(env));

  describe('in production', () => {
    it('refuses to start without settings, naming every missing one together', async () => {
      const program = run({ NODE_ENV: 'production' });
      expect(await program.exited).toEqual({ code: 1, signal: null });
      for (const name of ['JWT_SECRET', 'MQTT_URL', 'WS_ALLOWED_ORIGINS']) {
        expect(program.output).toMatch(new RegExp(`^  - ${name}: `, 'm'));
      }
      expect(program.output).not.toMatch(/\n\s+at /);
    });

    it('names wrong settings beside the missing ones', async () => {
      const program = run({ NODE_ENV: 'production', PORT: 'eighty', JWT_SECRET: 'short' });
      expect(await program.exited).toEqual({ code: 1, signal: null });
      for (const name of ['PORT', 'JWT_SECRET', 'MQTT_URL', 'WS_ALLOWED_ORIGINS']) {
        expect(program.output).toMatch(new RegExp(`^  - ${name}: `, 'm'));
      }
      expect(program.output).not.toContain('short"');
    });
  });

  describe('in production, asked for metrics again and again', () => {
    const production = async (more: Record<string, string> = {}) => ({
      NODE_ENV: 'production',
      PORT: String(await freePort()),
      HOST: '127.0.0.1',
      JWT_SECRET: TEST_SECRET,
      MQTT_URL: `mqtt://127.0.0.1:${await freePort()}`,
      WS_ALLOWED_ORIGINS: '*',
      ...more,
    });
    /** How many different texts ten requests at once get; the CPU used is in each. */
    const texts = async (port: string): Promise<number> => {
      const url = `http://127.0.0.1:${port}/metrics`;
      const all = await Promise.all(Array.from({ length: 10 }, async () => (await fetch(url)).text()));
      return new Set(all).size;
    };

    describe('on PORT', () => {
      const shared = stopAfterAll();
      let program: Program;
      let port: string;

      beforeAll(async () => {
        const env = await production();
        port = env.PORT;
        program = shared(start(env));
        await program.line(/SLUICE listening/);
      });

      // Defect: each request took 4.6 ms of the event loop, and on PORT anybody may send as many as he likes.
      it('answers with one text a second', async () => {
        expect(await texts(port)).toBeLessThan(5);
      });

      it('listens while its broker is away, logs JSON, prints no token, and leaves with 0', async () => {
        expect(program.output).toMatch(
          /"level":"warn".*can read \/metrics and \/health: set MANAGEMENT_PORT/,
        );
        expect((await fetch(`http://127.0.0.1:${port}/health/live`)).status).toBe(200);
        expect((await fetch(`http://127.0.0.1:${port}/health/ready`)).status).toBe(503);
        expect(await program.stop()).toEqual({ code: 0, signal: null });
        for (const line of program.lines) {
          expect(JSON.parse(line)).toMatchObject({ service: 'sluice', level: expect.any(String) });
        }
        expect(program.output).not.toMatch(/token|eyJ/);
      });
    });

    it('answers on MANAGEMENT_PORT with the newest, and warns of nothing', async () => {
      const MANAGEMENT_PORT = String(await freePort());
      const program = run(await production({ MANAGEMENT_PORT }));
      await program.line(/SLUICE listening/);
      expect(await texts(MANAGEMENT_PORT)).toBe(10);
      expect(program.output).not.toContain('MANAGEMENT_PORT');
    });
  });

  describe('in development', () => {
    it('needs no settings and prints one line with the dashboard and a token that works', async () => {
      const port = await freePort();
      const program = run({ PORT: String(port), HOST: '127.0.0.1', MQTT_EMBEDDED_PORT: '0' });
      const [, url, token = ''] = await program.line(/^Dashboard: (\S+)#token=(\S+)$/);
      expect(url).toBe(`http://localhost:${port}/`);
      await program.line(/SLUICE ready/);
      const { deviceIds } = decodeJwt<{ deviceIds: string[] }>(token);
      expect(deviceIds).toHaveLength(13);
      expect(deviceIds.at(-1)).toBe('*');

      const client = own(await DashboardClient.connect(`ws://127.0.0.1:${port}/ws`, { token }));
      const { rooms, denied } = await client.next('subscribed');
      expect(rooms.map(({ deviceId }) => deviceId).sort()).toEqual(deviceIds.slice(0, -1).sort());
      expect(denied).toEqual([]);
      // The first value may come before the metadata, which the broker retains and is read beside it.
      const telemetry = await client.next(
        'telemetry',
        ({ deviceId, meta }) => deviceId === 'hall-1.pump' && meta !== null,
      );
      expect(telemetry.meta).toMatchObject({ name: 'Pump', units: { flow: 'l/min' } });

      client.send({ type: 'command', deviceId: 'hall-1.pump', command: { action: 'stop' }, id: 1 });
      await client.next('command_sent', ({ id }) => id === 1);
      await client.next(
        'telemetry',
        ({ deviceId, payload }) =>
          deviceId === 'hall-1.pump' && (payload as { running: boolean }).running === false,
      );
      await program.stop();
      expect(program.lines.filter((line) => line.includes(token))).toHaveLength(1);
      expect(program.lines.filter((line) => line.includes('eyJ'))).toHaveLength(1);
    });

    describe('with a secret that somebody chose', () => {
      const shared = stopAfterAll();
      let program: Program;
      let port: number;

      beforeAll(async () => {
        port = await freePort();
        program = shared(
          start({
            PORT: String(port),
            HOST: '127.0.0.1',
            MQTT_EMBEDDED_PORT: '0',
            DEMO_DEVICES: '0',
            JWT_SECRET: TEST_SECRET,
            LOG_LEVEL: 'trace',
          }),
        );
        await program.line(/SLUICE ready/);
      });

      it('signs no token, and says where the dashboard asks for one', async () => {
        const [, url] = await program.line(/Dashboard on (http:[^\s"]+)/);
        expect(url).toBe(`http://localhost:${port}/`);
        expect(program.output).not.toMatch(/token|eyJ/);
      });

      it('logs no token, however it travels and whatever becomes of it', async () => {
        const address = `ws://127.0.0.1:${port}/ws`;
        const good = await signToken({ deviceIds: ['a'] });
        const expired = await signToken({ deviceIds: ['a'], lifetimeS: -3_600 });
        const tokens = [good, expired, `${good.slice(0, -6)}AAAAAA`, 'opaque-secret-token'];
        for (const token of tokens) {
          for (const via of ['header', 'subprotocol', 'query', 'message'] as const) {
            const client = own(await DashboardClient.connect(address, { token, via }));
            await (token === good ? client.next('subscribed') : client.closed);
          }
        }
        await fetch(`http://127.0.0.1:${port}/nothing?token=${good}`);
        expect(await program.stop()).toEqual({ code: 0, signal: null });
        for (const token of tokens) {
          expect(program.output).not.toContain(token);
          expect(program.output).not.toContain(token.split('.')[1] ?? token);
        }
      });
    });
  });

  describe('beside another instance', () => {
    const shared = stopAfterAll();
    let first: Program;
    let ports: { PORT: string; MQTT_EMBEDDED_PORT: string };

    beforeAll(async () => {
      ports = { PORT: String(await freePort()), MQTT_EMBEDDED_PORT: String(await freePort()) };
      const env = { HOST: '127.0.0.1', DEMO_DEVICES: '0', LOG_FORMAT: 'json', WS_MAX_IN_FLIGHT: 'many' };
      first = shared(start({ ...env, ...ports }));
      await first.line(/SLUICE listening/);
    });

    it('warned of a variable that was a setting once, and started', () => {
      const warnings = first.lines.filter((line) => line.includes('"level":"warn"'));
      expect(warnings).toEqual([expect.stringContaining('WS_MAX_IN_FLIGHT: is no setting any more')]);
      expect(warnings[0]).toContain('64 holds');
    });

    it('names PORT when it is taken', async () => {
      const { PORT } = ports;
      const second = run({ PORT, HOST: '127.0.0.1', MQTT_EMBEDDED_PORT: '0', DEMO_DEVICES: '0' });
      expect(await second.exited).toEqual({ code: 1, signal: null });
      expect(second.output).toContain(`PORT: port ${PORT} is taken`);
      expect(second.output).not.toMatch(/\n\s+at /);
    });

    it('names MQTT_EMBEDDED_PORT when that was asked for and is taken', async () => {
      const { MQTT_EMBEDDED_PORT } = ports;
      const second = run({ PORT: '0', HOST: '127.0.0.1', MQTT_EMBEDDED_PORT, DEMO_DEVICES: '0' });
      expect(await second.exited).toEqual({ code: 1, signal: null });
      expect(second.output).toContain('MQTT_EMBEDDED_PORT: ');
    });
  });

  it('logs what nobody foresaw and exits with 1', async () => {
    const fault = 'process.once("SIGUSR2",()=>{Promise.reject(new Error("boom"))})';
    const program = run({
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(fault)}`,
      PORT: '0',
      HOST: '127.0.0.1',
      MQTT_EMBEDDED_PORT: '0',
      DEMO_DEVICES: '0',
      LOG_FORMAT: 'json',
    });
    await program.line(/SLUICE ready/);
    program.send('SIGUSR2');
    expect(await program.exited).toEqual({ code: 1, signal: null });
    const [, line = ''] = await program.line(/^(\{.*Unhandled rejection.*\})$/);
    expect(JSON.parse(line)).toMatchObject({ level: 'fatal', err: { message: 'boom' } });
  });

  it('exits at once at a second signal', async () => {
    const program = run({
      PORT: '0',
      HOST: '127.0.0.1',
      MQTT_EMBEDDED_PORT: '0',
      DEMO_DEVICES: '0',
      DRAIN_NOTICE_MS: '20000',
    });
    await program.line(/SLUICE ready/);
    program.send('SIGTERM');
    await program.line(/Draining/);
    program.send('SIGTERM');
    expect(await program.exited).toEqual({ code: 1, signal: null });
  });
});

describe('npm run config:check', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-check-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  async function check(content: string): Promise<{ code: number | null; output: string }> {
    const file = join(folder, 'my.env');
    writeFileSync(file, content);
    const program = new Program('config:check', process.execPath, [checker, file], { env: process.env });
    return { code: (await program.exited).code, output: program.output };
  }

  it('warns of a variable that was a setting once, which is no reason not to start', async () => {
    const { code, output } = await check('REDIS_PROBE_MS=1000\n');
    expect(output).toContain(
      'Warning: REDIS_PROBE_MS: is no setting any more and changes nothing, 2000 holds',
    );
    expect(output).toContain('Sluice would start with these settings');
    expect(code).toBe(0);
  });

  it('refuses a name that never was one', async () => {
    const { code, output } = await check('REDIS_PROBES=1000\n');
    expect(output).toContain('REDIS_PROBES: is no setting of Sluice');
    expect(code).toBe(1);
  });
});
