import { version } from '../../src/logging/version.js';
import { stopAfterEach } from '../support/cleanup.js';
import { freePort } from '../support/free-port.js';
import { startMosquitto } from '../support/mosquitto.js';
import { type RunningApp, eventually, startApp } from './capture.js';

const FAST = { 'mqtt.reconnectMinMs': '50', 'mqtt.reconnectMaxMs': '200' };

type Indicators = Record<string, { status: string }>;

interface Report {
  status: string;
  info: Indicators;
  error: Indicators;
  details: Indicators;
}

async function readiness(app: RunningApp): Promise<{ code: number; body: Report }> {
  const response = await app.get('/health/ready');
  return { code: response.status, body: (await response.json()) as Report };
}

/** Keeps this thread from everything else, as a long computation does. */
const holdUp = (ms: number) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

const isReady = (app: RunningApp, code: number, status: string) => async () => {
  const { code: got, body } = await readiness(app);
  return got === code && body.status === status;
};

describe('health', () => {
  const own = stopAfterEach();

  it('is not ready before the broker was reached, ready then, and degraded when the broker is lost', async () => {
    const broker = own(await startMosquitto());
    await broker.kill();
    const app = own(await startApp({ MQTT_URL: broker.url, ...FAST }));
    expect((await app.get('/health/live')).status).toBe(200);
    const before = await readiness(app);
    expect(before).toMatchObject({
      code: 503,
      body: { status: 'error', error: { mqtt: { status: 'down' } } },
    });

    await broker.restart();
    await eventually(isReady(app, 200, 'ok'));
    const { body } = await readiness(app);
    expect(Object.keys(body).sort()).toEqual(['details', 'error', 'info', 'status', 'version']);
    expect(JSON.parse(app.log.lines[0] ?? '')).toMatchObject({ version, node: process.versions.node });
    expect(Object.keys(body.details).sort()).toEqual(['eventLoop', 'memory', 'mqtt']);
    await app.app.ready();

    await broker.kill();
    await eventually(isReady(app, 200, 'degraded'));
    expect((await readiness(app)).body.details['mqtt']).toMatchObject({ status: 'degraded' });
    expect((await app.get('/health/live')).status).toBe(200);
  });

  it('answers 503 from the moment a drain begins, and is live until the end', async () => {
    const app = own(await startApp({ DRAIN_NOTICE_MS: '1500' }));
    await eventually(isReady(app, 200, 'ok'));
    const stopped = app.stop();
    expect(await readiness(app)).toMatchObject({
      code: 503,
      body: { status: 'shutting_down', details: { mqtt: { status: 'up' } } },
    });
    const live = await app.get('/health/live');
    expect([live.status, await live.json()]).toEqual([200, { status: 'ok', version }]);
    await stopped;
  });

  it('does not fill the log with what every probe finds', async () => {
    const port = await freePort();
    const app = own(await startApp({ MQTT_URL: `mqtt://127.0.0.1:${port}`, ...FAST }));
    const lines = app.log.lines.length;
    for (let probe = 0; probe < 5; probe++) {
      expect((await readiness(app)).code).toBe(503);
    }
    expect(app.log.lines.slice(lines).filter((line) => /health/i.test(line))).toEqual([]);
  });

  it('says degraded when the event loop was held up for too long', async () => {
    const app = own(await startApp({ 'health.eventLoopMaxLagMs': '300' }));
    await eventually(isReady(app, 200, 'ok'));
    await eventually(async () => {
      holdUp(600);
      return (await readiness(app)).body.details['eventLoop']?.status === 'degraded';
    });
    expect((await readiness(app)).code).toBe(200);
  });
});

describe('the management port', () => {
  const own = stopAfterEach();

  it('serves health and metrics and nothing else, and PORT then answers 404 for them', async () => {
    const app = own(await startApp({ MANAGEMENT_PORT: '0' }));
    const { port, managementPort } = app.ports;
    expect(managementPort).not.toBe(port);
    const management = (path: string) => fetch(`http://127.0.0.1:${managementPort}${path}`);
    expect((await management('/health/live')).status).toBe(200);
    expect((await management('/metrics')).status).toBe(200);
    const layouts = (await (await management('/layouts')).json()) as object;
    expect(layouts).toMatchObject({
      layouts: [{ name: 'sluice', templates: [{ topic: 'devices/{device}/telemetry' }, {}, {}] }],
      subscriptions: ['devices/+/telemetry', 'devices/+/status', 'devices/+/meta'],
      withoutTemplate: [],
    });
    await eventually(async () => (await management('/health/ready')).status === 200);
    for (const path of ['/', '/index.html', '/asyncapi.yaml', '/health', '/metrics/', '/nothing']) {
      expect([path, (await management(path)).status]).toEqual([path, 404]);
    }
    const paths = [
      '/layouts',
      '/health/live',
      '/health/ready',
      '/metrics',
      '/METRICS',
      '/metrics/',
      '/health/live/?x=1',
    ];
    for (const path of paths) {
      expect([path, (await app.get(path)).status]).toEqual([path, 404]);
    }
    expect((await app.get('/')).status).toBe(200);
  });

  it('names MANAGEMENT_PORT when that port is taken', async () => {
    const taken = own(await startApp());
    await expect(startApp({ MANAGEMENT_PORT: String(taken.ports.port) })).rejects.toThrow(
      `MANAGEMENT_PORT: port ${taken.ports.port} is taken`,
    );
  });
});
