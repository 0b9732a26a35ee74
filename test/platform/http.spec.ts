import { get } from 'node:http';
import { stopAfterAll } from '../support/cleanup.js';
import { DashboardClient } from '../support/dashboard-client.js';
import { type RunningApp, startApp } from './capture.js';

/** fetch() adds `Cache-Control: no-cache` to conditional requests; a browser that comes back does not. */
function statusWithETag(port: number, etag: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port, path: '/', headers: { 'if-none-match': etag } }, (response) => {
      response.resume();
      resolve(response.statusCode);
    }).once('error', reject);
  });
}

describe('HTTP', () => {
  const own = stopAfterAll();
  let app: RunningApp;

  beforeAll(async () => {
    app = own(await startApp());
    await app.app.ready();
  });

  it('listens to IPv4 and IPv6 with HOST=::, as a pod that has both needs', async () => {
    const { ports } = own(await startApp({ HOST: '::' }));
    for (const host of ['127.0.0.1', '[::1]']) {
      expect([host, (await fetch(`http://${host}:${ports.port}/health/live`)).status]).toEqual([host, 200]);
    }
  });

  it('gives metrics as Prometheus text by default', async () => {
    for (const accept of ['*/*', 'text/plain']) {
      const response = await app.get('/metrics', { headers: { accept } });
      expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/);
      const text = await response.text();
      expect(text).toContain('sluice_connections_open 0');
      expect(text).toContain('process_resident_memory_bytes');
      expect(text).toContain('nodejs_eventloop_lag_p99_seconds');
    }
  });

  it('gives OpenMetrics to whoever asks for that, as Prometheus does', async () => {
    const accept = 'application/openmetrics-text;version=1.0.0,text/plain;q=0.5,*/*;q=0.1';
    const response = await app.get('/metrics', { headers: { accept } });
    expect(response.headers.get('content-type')).toMatch(/^application\/openmetrics-text; version=1\.0\.0/);
    const text = await response.text();
    expect(text).toContain('sluice_connections_open 0');
    expect(text.endsWith('# EOF\n')).toBe(true);
  });

  it('gives exactly the small summary to whoever asks for JSON', async () => {
    const client = own(
      await DashboardClient.connect(`ws://127.0.0.1:${app.ports.port}/ws`, {
        claims: { deviceIds: ['a', 'b'] },
      }),
    );
    await client.next('subscribed');
    const response = await app.get('/metrics', { headers: { accept: 'application/json' } });
    expect(response.headers.get('content-type')).toMatch(/^application\/json/);
    const summary = (await response.json()) as Record<string, number>;
    expect(summary).toEqual({
      connections: 1,
      deviceRooms: 2,
      mqttConnected: true,
      uptime: expect.any(Number),
      memoryMB: expect.any(Number),
    });
    expect(Number.isInteger(summary['uptime']) && Number.isInteger(summary['memoryMB'])).toBe(true);
    expect(summary['memoryMB']).toBeGreaterThan(5);
  });

  it('serves the dashboard with a strict policy and answers 304 to who has it', async () => {
    const response = await app.get('/');
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8');
    const policy = response.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("script-src 'self'");
    expect(policy).not.toMatch(/unsafe|https?:|\*/);
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    expect(response.headers.get('x-powered-by')).toBeNull();
    expect(await statusWithETag(app.ports.port, response.headers.get('etag') ?? '')).toBe(304);
  });

  it('names no other server in the page', async () => {
    const page = await (await app.get('/')).text();
    const links = [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1] ?? '');
    expect(links.length).toBeGreaterThan(2);
    for (const link of links.filter((link) => link.startsWith('/'))) {
      expect([link, (await app.get(link)).status]).toEqual([link, 200]);
    }
    expect(links.filter((link) => !/^[/#]/.test(link))).toEqual([]);
  });

  it('does not repeat a URL with a token in an error, nor in the log', async () => {
    for (const path of [
      '/nothing?token=opaque-secret',
      '/ws?token=opaque-secret',
      '/%E0%A4%A?token=opaque-secret',
    ]) {
      const response = await app.get(path);
      expect(response.status).toBeGreaterThanOrEqual(400);
      expect(response.status).toBeLessThan(500);
      expect(await response.text()).not.toContain('opaque-secret');
    }
    expect(app.log.text).not.toContain('opaque-secret');
  });

  it('does not serve files outside the page', async () => {
    for (const path of ['/../serve-dashboard.js', '/..%2f..%2fmain.js', '/.env', '/js/', '/page/']) {
      expect([path, (await app.get(path)).status >= 400]).toEqual([path, true]);
    }
  });
});
