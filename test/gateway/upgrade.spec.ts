import { once } from 'node:events';
import { connect as connectSocket } from 'node:net';
import { connect } from '../support/dashboard-client.js';
import { connected, turn } from '../support/event-loop.js';
import { signToken } from '../support/tokens.js';
import { GatewayApp } from './gateway-app.js';
import { clientFrame, rawSocket, tryUpgrade, upgradeRequest, written } from './raw-upgrade.js';
import { until } from './until.js';

describe('the upgrade', () => {
  let app: GatewayApp;
  afterEach(() => app.stop());

  const bearer = async (claims = {}): Promise<Record<string, string>> => ({
    authorization: `Bearer ${await signToken(claims)}`,
  });

  it('takes WS_PATH and /, and no other path', async () => {
    app = await GatewayApp.start({ WS_PATH: '/live/ws' });
    const headers = await bearer();
    for (const [path, status] of [
      ['/live/ws', 101],
      ['/live/ws?subscribe=none', 101],
      ['/', 101],
      ['/ws', 404],
      ['/live/ws/', 404],
      ['//', 404],
      ['/live/ws%20', 404],
      ['/health/live', 404],
    ] as const) {
      expect([path, (await tryUpgrade(app.port, path, headers)).status]).toEqual([path, status]);
    }
    expect(await app.count('connections', { outcome: 'refused_path' })).toBe(5);
  });

  it('refuses pages of other origins with 403 and lets those pass that are no browsers', async () => {
    app = await GatewayApp.start({ WS_ALLOWED_ORIGINS: 'https://dash.example.com,http://localhost:5173' });
    const headers = await bearer();
    for (const [origin, status] of [
      ['https://dash.example.com', 101],
      ['http://localhost:5173', 101],
      ['https://dash.example.com.evil.net', 403],
      ['https://evil.net', 403],
      ['http://dash.example.com', 403],
      ['https://dash.example.com:444', 403],
      ['null', 403],
      ['', 403],
    ] as const) {
      expect([origin, (await tryUpgrade(app.port, '/ws', { ...headers, origin })).status]).toEqual([
        origin,
        status,
      ]);
    }
    expect((await tryUpgrade(app.port, '/ws', headers)).status).toBe(101);
  });

  it('refuses a request with two origins, even where it may come from each', async () => {
    app = await GatewayApp.start({ WS_ALLOWED_ORIGINS: 'https://a.example,https://b.example' });
    const twice = { ...(await bearer()), origin: ['https://a.example', 'https://b.example'] };
    expect((await tryUpgrade(app.port, '/ws', twice)).status).toBe(403);
  });

  it('goes by the first Authorization alone: a bad one is not made good by another, nor by the query', async () => {
    app = await GatewayApp.start();
    const token = await signToken();
    const [good, bad] = [`authorization: Bearer ${token}`, `authorization: Bearer ${token}x`];
    for (const [path, headers, verified] of [
      [`/ws?token=${token}`, [bad], 0],
      ['/ws', [bad, good], 0],
      ['/ws', [good, bad], 1],
    ] as const) {
      const outcomes = async () => [
        await app.count('auth', { outcome: 'verified' }),
        await app.count('auth', { outcome: 'invalid' }),
      ];
      const before = await outcomes();
      const socket = await written(app.port, upgradeRequest(path, headers));
      await until(async () => (await app.count('auth', {})) > (before[0] ?? 0) + (before[1] ?? 0));
      expect(await outcomes()).toEqual([(before[0] ?? 0) + verified, (before[1] ?? 0) + 1 - verified]);
      socket.destroy();
    }
  });

  it('answers only the subprotocol sluice.v1, never the token', async () => {
    app = await GatewayApp.start();
    const token = await signToken();
    const answer = async (protocols: string): Promise<string | undefined> =>
      (await tryUpgrade(app.port, '/ws', { 'sec-websocket-protocol': protocols })).headers[
        'sec-websocket-protocol'
      ];
    expect(await answer(`sluice.v1, bearer.${token}`)).toBe('sluice.v1');
    expect(await answer(`bearer.${token}, sluice.v1`)).toBe('sluice.v1');
    expect(await answer(`bearer.${token}`)).toBeUndefined();
    expect(await answer('graphql-ws')).toBeUndefined();
  });

  it('offers no compression', async () => {
    app = await GatewayApp.start();
    const { headers } = await tryUpgrade(app.port, '/ws', {
      ...(await bearer()),
      'sec-websocket-extensions': 'permessage-deflate; client_max_window_bits',
    });
    expect(headers['sec-websocket-extensions']).toBeUndefined();
  });

  it.each([
    ['no key', { 'sec-websocket-key': '' }],
    ['an old version', { 'sec-websocket-version': '7' }],
    ['another protocol', { upgrade: 'h2c' }],
    ['doubled subprotocols', { 'sec-websocket-protocol': 'a, a' }],
  ])('answers 400 to %s and gives its place back', async (_, headers) => {
    app = await GatewayApp.start();
    expect((await tryUpgrade(app.port, '/ws', headers)).status).toBe(400);
    expect(await app.count('connections', { outcome: 'refused_request' })).toBe(1);
    expect(Object.values(await app.leftovers()).every((count) => count === 0)).toBe(true);
  });

  it('refuses with 503 and Retry-After over the bound of all connections', async () => {
    app = await GatewayApp.start({ WS_MAX_CONNECTIONS: '2' });
    const clients = [await connect(app.url), await connect(app.url)];
    const refused = await tryUpgrade(app.port, '/ws', await bearer());
    expect(refused.status).toBe(503);
    expect(Number(refused.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect(await app.count('connections', { outcome: 'refused_capacity' })).toBe(1);
    await clients[0]?.close();
    await until(async () => (await app.leftovers())['places'] === 1);
    expect((await tryUpgrade(app.port, '/ws', await bearer())).status).toBe(101);
  });

  it('refuses with 503 over the bound of one address, counting the client behind a trusted proxy', async () => {
    app = await GatewayApp.start({ WS_MAX_CONNECTIONS_PER_ADDRESS: '1', TRUSTED_PROXIES: '127.0.0.1' });
    const from = (address: string) => ({ headers: { 'x-forwarded-for': address } });
    await connect(app.url, from('1.1.1.1'));
    await connect(app.url, from('2.2.2.2'));
    const again = await tryUpgrade(app.port, '/ws', { ...(await bearer()), 'x-forwarded-for': '1.1.1.1' });
    const lying = await tryUpgrade(app.port, '/ws', {
      ...(await bearer()),
      'x-forwarded-for': '9.9.9.9, 1.1.1.1',
    });
    expect([again.status, lying.status]).toEqual([503, 503]);
    expect(await app.count('connections', { outcome: 'refused_address' })).toBe(2);
  });

  it('does not believe X-Forwarded-For when no proxy is trusted', async () => {
    app = await GatewayApp.start({ WS_MAX_CONNECTIONS_PER_ADDRESS: '1' });
    await connect(app.url, { headers: { 'x-forwarded-for': '1.1.1.1' } });
    const other = await tryUpgrade(app.port, '/ws', { ...(await bearer()), 'x-forwarded-for': '2.2.2.2' });
    expect(other.status).toBe(503);
  });

  it('refuses with 503 over the rate, before any token is looked at', async () => {
    app = await GatewayApp.start({ WS_MAX_CONNECTIONS_PER_SECOND: '1', WS_ADMISSION_WAIT_MS: '0' });
    const headers = await bearer();
    const statuses: number[] = [];
    for (let at = 0; at < 3; at += 1) {
      statuses.push((await tryUpgrade(app.port, '/ws', headers)).status);
    }
    expect(statuses).toEqual([101, 503, 503]);
    expect(await app.count('auth', {})).toBe(1);
    expect(await app.count('connections', { outcome: 'refused_rate' })).toBe(2);
  });

  it('has those over the rate wait in line instead, and lets them in one by one', async () => {
    app = await GatewayApp.start({ WS_MAX_CONNECTIONS_PER_SECOND: '20' });
    const headers = await bearer();
    const port = app.port;
    const attempts = Array.from({ length: 10 }, () => tryUpgrade(port, '/ws', headers));
    const statuses = (await Promise.all(attempts)).map(({ status }) => status);
    expect(statuses).toEqual(Array.from({ length: 10 }, () => 101));
    expect(await app.count('connections', { outcome: 'accepted' })).toBe(10);
    expect(app.admission.waiting).toBe(0);
  });

  it('lets nobody in who is gone when the turn comes, and refuses who waits when the instance drains', async () => {
    app = await GatewayApp.start({ WS_MAX_CONNECTIONS_PER_SECOND: '1', WS_ADMISSION_WAIT_MS: '60000' });
    const { port } = app;
    const headers = await bearer();
    await tryUpgrade(port, '/ws', headers);
    const gone = await rawSocket(port, `/ws?token=${await signToken()}`);
    const waiting = [tryUpgrade(port, '/ws', headers), tryUpgrade(port, '/ws', headers)];
    await until(() => app.admission.waiting === 3);
    gone.resetAndDestroy();
    await until(async () => (await app.count('connections', { outcome: 'refused_request' })) === 1);
    app.admission.drain();
    const statuses = (await Promise.all(waiting)).map(({ status }) => status);
    expect(statuses).toEqual(expect.arrayContaining([503]));
    expect(app.admission.waiting).toBe(0);
  });

  it('bounds the connections without a token; those with one are not held up by them', async () => {
    app = await GatewayApp.start({ 'ws.maxPendingConnections': '2' });
    const quiet = [await connect(app.url, { token: null }), await connect(app.url, { token: null })];
    expect((await tryUpgrade(app.port, '/ws')).status).toBe(503);
    expect((await tryUpgrade(app.port, '/ws', await bearer())).status).toBe(101);
    quiet[0]?.send({ type: 'auth', token: await signToken() });
    await quiet[0]?.next('authenticated');
    expect((await tryUpgrade(app.port, '/ws')).status).toBe(101);
  });

  it('looks at the requests of a crowd over several turns of the event loop', async () => {
    app = await GatewayApp.start();
    const crowd = Array.from({ length: 100 }, () => connectSocket(app.port, '127.0.0.1'));
    await connected(app.nest.getHttpServer(), crowd.length);
    crowd.forEach((socket) => socket.write(upgradeRequest('/ws')));
    let most = 0;
    while (app.admission.connections < crowd.length) {
      const before = app.admission.connections;
      await turn();
      most = Math.max(most, app.admission.connections - before);
    }
    expect(most).toBeLessThanOrEqual(8);
    crowd.forEach((socket) => socket.destroy());
  });

  it('survives clients that are gone before the answer, and reads what came together with the request', async () => {
    app = await GatewayApp.start();
    const token = await signToken({ userId: 'early' });
    for (let at = 0; at < 20; at += 1) {
      (await rawSocket(app.port, `/ws?token=${token}x${at}`)).resetAndDestroy();
      (await rawSocket(app.port, `/ws?token=${token}`)).end();
    }
    const ping = clientFrame(1, '{"type":"ping","id":"early"}');
    const socket = await rawSocket(app.port, `/ws?token=${token}`, ping);
    let text = '';
    while (!text.includes('"pong"')) {
      text += String(((await once(socket, 'data')) as [Buffer])[0]);
    }
    expect(text).toMatch(/101 Switching.*"connected".*"pong","id":"early"/s);
    socket.destroy();
    await until(async () => Object.values(await app.leftovers()).every((count) => count === 0));
  });
});
