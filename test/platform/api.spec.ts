import { connect as connectTcp } from 'node:net';
import { Validator } from '@seriousme/openapi-schema-validator';
import mqtt from 'mqtt';
import { BroadcastAdapter } from '../../src/rooms/broadcast-adapter.js';
import { InstanceBus } from '../../src/instances/instance-bus.js';
import { publish } from '../contract/broadcast-adapter.contract.js';
import { stopAfterAll } from '../support/cleanup.js';
import { connect } from '../support/dashboard-client.js';
import { startMosquitto } from '../support/mosquitto.js';
import { type RedisServer, startRedis } from '../support/redis.js';
import type { TokenClaims } from '../support/tokens.js';
import { type Answer, call, document, TOKEN } from './api-calls.js';
import { eventually, type RunningApp, startApp } from './capture.js';
import { programWithGeneratedClient } from './generated-client.js';

describe('the document of the server API', () => {
  it('is valid OpenAPI 3.1 to a validator of others', async () => {
    const validator = new Validator();
    expect(await validator.validate(document as never)).toEqual({ valid: true });
    expect(validator.version).toBe('3.1');
  });
});

describe('the server API of two instances', () => {
  const shared = stopAfterAll();
  let redis: RedisServer;
  let a: RunningApp;
  let b: RunningApp;
  let broker: string;

  beforeAll(async () => {
    redis = shared(await startRedis());
    broker = shared(await startMosquitto()).url;
    const env = {
      MANAGEMENT_PORT: '0',
      API_TOKEN: `${TOKEN} another-token-of-the-server-api-in-its-place`,
      MQTT_URL: broker,
      REDIS_URL: redis.url,
      REDIS_TIMEOUT_MS: '1500',
      LOG_LEVEL: 'warn',
    };
    a = shared(await startApp(env));
    b = shared(await startApp(env));
    await Promise.all([a.app.ready(), b.app.ready()]);
    await eventually(
      async () => busOf(a).connected && (await call(a, 'GET', '/instances')).body['instances'].length === 2,
    );
  }, 60_000);

  const busOf = (app: RunningApp): InstanceBus => app.app.nest.get(InstanceBus, { strict: false });
  const adapterOf = (app: RunningApp): BroadcastAdapter =>
    app.app.nest.get(BroadcastAdapter, { strict: false });
  const dashboard = (app: RunningApp, claims: TokenClaims) =>
    connect(`ws://127.0.0.1:${app.ports.port}/ws`, { claims });
  /** Of both: instances of one process write to the log of the last one. */

  const linesOf = (context: string): Record<string, any>[] =>
    [...a.log.lines, ...b.log.lines]
      .map((line) => JSON.parse(line))
      .filter((line) => line.context === context);

  it('answers 401 without a token, 404 for what is not there, 405 with what is, and nothing on PORT', async () => {
    for (const token of [null, 'x', `${TOKEN}x`]) {
      const { status, body, headers } = await call(a, 'GET', '/devices', { token });
      expect([status, body['code'], headers.get('www-authenticate')]).toEqual([
        401,
        'unauthorized',
        'Bearer',
      ]);
    }
    expect((await call(a, 'GET', '/nothing')).body).toMatchObject({ status: 404, code: 'not_found' });
    const { status, headers } = await call(a, 'POST', '/devices', { body: {} });
    expect([status, headers.get('allow')]).toEqual([405, 'GET']);
    expect((await a.get('/api/v1/devices', { headers: { authorization: `Bearer ${TOKEN}` } })).status).toBe(
      404,
    );
    expect((await call(a, 'GET', '/openapi.json')).body).toEqual(document);
  });

  it('lists devices page by page, each once, while others come and go, and reads one with its history', async () => {
    const ids = Array.from({ length: 25 }, (_, n) => `list-${String(n).padStart(2, '0')}`);
    await Promise.all(ids.map((id) => publish(adapterOf(a), id, { n: 1.5 })));
    const seen: string[] = [];
    let cursor = '';
    do {
      const { body } = await call(b, 'GET', `/devices?pattern=list-*&limit=7${cursor}`);
      seen.push(...body['devices'].map(({ deviceId }: { deviceId: string }) => deviceId));
      cursor = body['cursor'] === undefined ? '' : `&cursor=${body['cursor']}`;
      await publish(adapterOf(a), `list-00-${seen.length}`, 1);
    } while (cursor !== '');
    expect(seen.filter((id) => ids.includes(id))).toEqual(ids);
    for (let n = 2; n <= 5; n += 1) {
      await publish(adapterOf(a), 'list-00', { n });
    }
    const { body: device } = await call(b, 'GET', '/devices/list-00');
    expect(device).toMatchObject({ offset: 5, telemetry: { payload: { n: 5 } } });
    const offsets = ({ body }: Answer): number[] =>
      body['publications'].map(({ offset }: { offset: number }) => offset);
    expect(offsets(await call(b, 'GET', '/devices/list-00/history?limit=2'))).toEqual([4, 5]);
    const first = await call(b, 'GET', `/devices/list-00/history?epoch=${device['epoch']}&offset=1&limit=2`);
    expect(offsets(first)).toEqual([2, 3]);
    expect(offsets(await call(b, 'GET', `/devices/list-00/history?cursor=${first.body['cursor']}`))).toEqual([
      4, 5,
    ]);
    const gone = await call(b, 'GET', '/devices/list-00/history?epoch=other&offset=1');
    expect(gone.body).toMatchObject({ status: 410, code: 'history_gone' });
    expect((await call(b, 'GET', '/devices/never-heard-of')).body['code']).toBe('not_found');
  });

  it('sends a command and gives the device’s answer, its numbers as they were written', async () => {
    const device = await mqtt.connectAsync(broker, { protocolVersion: 5 });
    await device.subscribeAsync('devices/pump-1/commands', { qos: 1 });
    const heard: string[] = [];
    device.on('message', (_topic, payload, { properties }) => {
      heard.push(payload.toString());
      const { responseTopic, correlationData } = properties ?? {};
      device.publish(responseTopic as string, '{"ok":1.50}', {
        qos: 1,
        properties: { correlationData: correlationData as Buffer },
      });
    });
    const body = '{"command":{"v":1.50,"n":12345678901234567890},"waitMs":20000,"key":"k1"}';
    const response = await call(b, 'POST', '/devices/pump-1/commands', { body });
    expect(response.body).toMatchObject({ outcome: 'replied', payload: { ok: 1.5 } });
    expect(heard).toEqual(['{"v":1.50,"n":12345678901234567890}']);
    const conflict = await call(a, 'POST', '/devices/pump-1/commands', { body: { command: 1, key: 'k1' } });
    expect(conflict.body).toMatchObject({ status: 409, code: 'key_conflict' });
    expect(
      (await call(a, 'POST', '/devices/pump-1/commands', { body: { command: null } })).body['outcome'],
    ).toBe('sent');
    expect(linesOf('CommandAudit')[0]).toMatchObject({ deviceId: 'pump-1', outcome: 'sent' });
    expect(b.log.text + a.log.text).not.toContain(TOKEN);
    await device.endAsync();
  });

  it('lists the connections of all instances, whichever is asked, and closes one or those of a user with 1012', async () => {
    const ann = [
      await dashboard(a, { userId: 'ann' }),
      await dashboard(b, { userId: 'ann', deviceIds: ['w-1'] }),
    ];
    const bob = await dashboard(b, { userId: 'bob', deviceIds: ['w-1', 'w-2'] });
    await Promise.all([...ann, bob].map((client) => client.next('connected')));
    await ann[1]!.next('subscribed');
    await bob.next('subscribed');
    const { body } = await call(a, 'GET', '/connections?userId=ann');
    expect(body['connections'].map(({ instance }: { instance: string }) => instance).sort()).toEqual(
      [busOf(a).instanceId, busOf(b).instanceId].sort(),
    );
    expect((await call(a, 'GET', '/connections?deviceId=w-2')).body['connections']).toMatchObject([
      { userId: 'bob', rooms: 2, address: '127.0.0.1', queuedBytes: 0, skipped: 0, rttMs: null },
    ]);
    const pages: string[] = [];
    let cursor = '';
    do {
      const page = await call(b, 'GET', `/connections?limit=1${cursor}`);
      pages.push(
        ...page.body['connections'].map(({ connectionId }: { connectionId: string }) => connectionId),
      );
      cursor = page.body['cursor'] === undefined ? '' : `&cursor=${page.body['cursor']}`;
    } while (cursor !== '');
    expect(pages).toEqual([...new Set(pages)].sort());
    expect(pages).toHaveLength(3);
    expect((await call(a, 'DELETE', '/users/ann/connections')).body).toEqual({ closed: 2, silent: [] });
    expect((await Promise.all(ann.map(({ closed }) => closed))).map(({ code }) => code)).toEqual([
      1012, 1012,
    ]);
    const { connectionId } = (await call(a, 'GET', '/connections?userId=bob')).body['connections'][0];
    expect((await call(a, 'DELETE', `/connections/${connectionId}`)).body).toEqual({ closed: 1, silent: [] });
    expect((await bob.closed).code).toBe(1012);
    expect((await call(a, 'DELETE', '/connections/nobody')).body['code']).toBe('not_found');
    expect(linesOf('ApiAudit')).toContainEqual(
      expect.objectContaining({ operation: 'closeUserConnections', userId: 'ann', closed: 2 }),
    );
  });

  it('revokes tokens on every instance, lists the revocation, and lifts it', async () => {
    const eve = await dashboard(b, { userId: 'eve' });
    await eve.next('connected');
    const { status, body } = await call(a, 'POST', '/revocations', { body: { userId: 'eve' } });
    expect([status, body['durable']]).toEqual([201, true]);
    expect((await eve.closed).code).toBe(4001);
    expect((await call(b, 'GET', '/revocations')).body['revocations']).toMatchObject([
      { id: body['id'], userId: 'eve' },
    ]);
    expect((await call(b, 'DELETE', `/revocations/${body['id']}`)).status).toBe(200);
    expect((await call(a, 'DELETE', `/revocations/${body['id']}`)).status).toBe(404);
    for (const wrong of [
      {},
      { jti: 'a', userId: 'b' },
      { jti: 'a', issuedBefore: 1 },
      { jti: 'a', more: 1 },
    ]) {
      expect((await call(a, 'POST', '/revocations', { body: wrong })).status).toBe(400);
    }
  });

  it('says who sends most, to whom most is sent, and who is refused, of all instances', async () => {
    const bob = await dashboard(b, { userId: 'bob-of-the-top', deviceIds: ['loud'] });
    await bob.next('subscribed');
    const device = await mqtt.connectAsync(broker);
    for (let n = 0; n < 20; n += 1) {
      await device.publishAsync('devices/loud/telemetry', `{"n":${n}}`, { qos: 1 });
    }
    await device.publishAsync('devices/large/telemetry', JSON.stringify('x'.repeat(10_000)), { qos: 1 });
    await device.publishAsync('devices/broken/telemetry', 'no json', { qos: 1 });
    await device.endAsync();
    const expired = await dashboard(a, { userId: 'late', lifetimeS: -600 });
    expect((await expired.closed).code).toBe(4001);
    const idOf =
      (list: string, at = 0) =>
      async (query: string) =>
        (await call(a, 'GET', `/top/${list}?${query}`)).body[list][at] as Record<string, unknown> | undefined;
    await eventually(async () => (await idOf('refused')('kind=devices'))?.['id'] === 'broken');
    expect(await idOf('devices')('by=messages')).toMatchObject({ deviceId: 'loud' });
    expect(await idOf('devices')('by=bytes')).toMatchObject({ deviceId: 'large' });
    const { connections } = (await call(a, 'GET', '/top/connections?by=bytes')).body;
    expect(connections.map(({ userId }: { userId: string }) => userId)).toContain('bob-of-the-top');
    expect(await idOf('refused')('kind=tokens')).toMatchObject({
      id: 'late',
      refused: 1,
      reason: 'expired',
      hash: expect.stringMatching(/^[0-9a-f]{12}$/) as string,
      instance: busOf(a).instanceId,
    });
    expect((await call(a, 'GET', '/top/connections?by=skipped')).body['connections']).toEqual([]);
    expect((await call(a, 'GET', '/top/devices?by=skipped')).status).toBe(400);
    expect(linesOf('Refused')).toContainEqual(
      expect.objectContaining({ kind: 'devices', id: 'broken', reason: 'not_json' }),
    );
  });

  it('names the instance that does not answer, in all that holds over all instances', async () => {
    const lost = 'sluice-killed.0';
    await redis.command('ZADD', 'sluice:{all.mt}:instances', String(Date.now() + 60_000), lost);
    const { body } = await call(a, 'GET', '/instances');
    expect(body).toMatchObject({ silent: [lost] });
    expect(body['instances']).toHaveLength(2);
    expect(body['instances'].filter(({ holdsLease }: { holdsLease: boolean }) => holdsLease)).toHaveLength(1);
    expect((await call(a, 'DELETE', '/connections/nobody')).body).toEqual({ closed: 0, silent: [lost] });
    await redis.command('ZREM', 'sluice:{all.mt}:instances', lost);
  });

  it('traces a device and a user on all instances, for a while, without payloads', async () => {
    const traced = { deviceIds: ['seen'], userIds: ['carl'], seconds: 60 };
    expect((await call(a, 'PUT', '/traces', { body: traced })).body).toMatchObject({
      ...{ deviceIds: ['seen'] },
      silent: [],
    });
    const carl = await dashboard(b, { userId: 'carl', deviceIds: ['seen'], permissions: ['read'] });
    await carl.next('connected');
    carl.send({ type: 'subscribe', deviceIds: ['seen', 'other'] });
    await carl.next('subscribed', ({ denied }) => denied.length === 1);
    carl.send({ type: 'command', deviceId: 'other', command: { secret: 1 } });
    await carl.next('error');
    await carl.close();
    await eventually(() => Promise.resolve(linesOf('UserTrace').some(({ event }) => event === 'close')));
    expect(linesOf('UserTrace').map(({ event }) => event)).toEqual(['open', 'subscribe', 'refused', 'close']);
    expect(linesOf('UserTrace')[1]).toMatchObject({ deviceIds: ['seen', 'other'], denied: ['other'] });
    const client = await mqtt.connectAsync(broker);
    await client.publishAsync('devices/seen/telemetry', '{"secret":2}', { qos: 1 });
    await client.publishAsync('devices/unseen/telemetry', '{"secret":2}', { qos: 1 });
    await client.endAsync();
    await eventually(() => Promise.resolve(linesOf('DeviceTrace').length > 0));
    expect(a.log.text + b.log.text).not.toContain('secret');
    await call(b, 'PUT', '/traces', { body: { seconds: 1 } });
    expect((await call(a, 'PUT', '/traces', { body: { seconds: 3_601 } })).status).toBe(400);
    expect((await call(a, 'PUT', '/traces', { body: { deviceIds: ['a/b'], seconds: 1 } })).status).toBe(400);
  });

  it('refuses hostile requests, each with a reason, and goes on', async () => {
    const post = (body: unknown, headers = {}) => call(a, 'POST', '/revocations', { body, headers });
    const codes = async (...answers: Promise<Answer>[]) =>
      (await Promise.all(answers)).map(({ body }) => body['code']);
    expect(
      await codes(
        post('{'),
        post(''),
        post('[1]'),
        post('{"jti":"a","__proto__":{"x":1}}'),
        post(`{"jti":${'['.repeat(5_000)}${']'.repeat(5_000)}}`),
        call(a, 'GET', '/devices?limit=0'),
        call(a, 'GET', '/devices?limit=1&limit=2'),
        call(a, 'GET', '/devices?unknown=1'),
        call(a, 'GET', `/devices?pattern=${encodeURIComponent('a/*')}`),
        call(a, 'GET', `/devices?pattern=${encodeURIComponent('a/b')}`),
        call(a, 'GET', `/revocations?cursor=${Buffer.from('["an epoch","2"]').toString('base64url')}`),
        call(a, 'GET', '/devices?cursor=%00'),
        call(a, 'GET', `/devices?cursor=${Buffer.from('["a/b"]').toString('base64url')}`),
        call(a, 'GET', `/devices?cursor=${Buffer.from('{"length":1}').toString('base64url')}`),
        call(a, 'GET', '/devices/list-00/history?epoch=a'),
        call(a, 'GET', '/devices/%ff'),
      ),
    ).toEqual(Array.from({ length: 16 }, () => 'invalid_request'));
    expect(
      await codes(post('a=1', { 'content-type': 'text/plain' }), post('{}', { 'content-encoding': 'gzip' })),
    ).toEqual(['unsupported_media_type', 'unsupported_media_type']);
    expect((await post(JSON.stringify({ jti: 'x'.repeat(60_000) }))).body['code']).toBe('payload_too_large');
    expect((await call(a, 'GET', '/instances')).status).toBe(200);
  });

  it('is what a client does that was generated from the document, in its types too', async () => {
    const run = await programWithGeneratedClient(`
      import * as api from './client/index.js';
      import { client } from './client/client.gen.js';

      client.setConfig({ baseUrl: process.env.URL + '/api/v1', auth: () => process.env.TOKEN });
      const path = { deviceId: 'generated-1' };
      const device = await api.getDevice({ path });
      const offset: number | undefined = device.data?.offset;
      const page = await api.listDevices({ query: { pattern: 'generated-*', limit: 1 } });
      const rest = await api.listDevices({ query: { pattern: 'generated-*', cursor: page.data?.cursor } });
      const history = await api.getHistory({ path, query: { limit: 10 } });
      const sent = await api.sendCommand({ path, body: { command: { speed: 1200 }, key: 'generated' } });
      const outcome: 'sent' | 'replied' | 'timeout' | undefined = sent.data?.outcome;
      const refused = await api.sendCommand({ path, body: { command: 2, key: 'generated' } });
      const revoked = await api.addRevocation({ body: { jti: 'generated', expiresAt: Date.now() + 60_000 } });
      const id: string = revoked.data!.id;
      const lifted = await api.removeRevocation({ path: { id } });
      const traced = await api.setTraces({ body: { deviceIds: ['generated-1'], seconds: 1 } });
      const closed = await api.closeUserConnections({ path: { userId: 'nobody/é' } });
      const instances = await api.listInstances();
      const connections = await api.listConnections({ query: { userId: 'nobody' } });
      // @ts-expect-error the document says that it is a number
      const wrong = await api.sendCommand({ path, body: { command: 1, waitMs: 'soon' } });
      // @ts-expect-error the document says that a command is needed
      const empty = await api.sendCommand({ path, body: {} });
      const status = (answer: { response?: Response }): number | undefined => answer.response?.status;
      console.log(JSON.stringify({
        offset,
        ids: [page, rest].map(({ data }) => data?.devices.map(({ deviceId }) => deviceId)),
        history: history.data?.publications.map(({ payload }) => payload),
        outcome,
        refused: refused.error?.code,
        statuses: [revoked, lifted, traced, closed, wrong, empty].map(status),
        instances: instances.data?.instances.length,
        connections: connections.data?.connections,
      }));
    `);
    await publish(adapterOf(a), 'generated-1', { n: 1 });
    await publish(adapterOf(a), 'generated-2', { n: 2 });
    const url = `http://127.0.0.1:${b.ports.managementPort}`;
    expect(await run({ URL: url, TOKEN })).toEqual({
      offset: 1,
      ids: [['generated-1'], ['generated-2']],
      history: [{ n: 1 }],
      outcome: 'sent',
      refused: 'key_conflict',
      statuses: [201, 200, 200, 200, 400, 400],
      instances: 2,
      connections: [],
    });
  }, 120_000);

  it('ends a request whose body goes on and on, whatever it says of its length', async () => {
    const socket = connectTcp(a.ports.managementPort, '127.0.0.1');
    let answer = '';
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString()));
    socket.on('error', () => undefined);
    const ended = new Promise((resolve) => socket.once('close', resolve));
    socket.write(
      `POST /api/v1/revocations HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${TOKEN}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`,
    );
    const chunk = `4000\r\n${' '.repeat(0x4000)}\r\n`;
    for (let n = 0; n < 8 && !socket.destroyed; n += 1) {
      socket.write(chunk);
    }
    await ended;
    expect(answer).toMatch(/^HTTP\/1.1 413 /);
  });

  // Last: it takes Redis away.
  it('answers 202 while Redis is away, acts on the instance that was asked, and passes it on when it is back', async () => {
    const here = await dashboard(a, { userId: 'dan' });
    const there = await dashboard(b, { userId: 'dan' });
    await Promise.all([here.next('connected'), there.next('connected')]);
    await redis.kill();
    await eventually(() => Promise.resolve(!busOf(a).connected && !busOf(b).connected));
    const { status, body } = await call(a, 'DELETE', '/users/dan/connections');
    expect([status, body]).toEqual([202, { closed: 1, pending: true, silent: [busOf(b).instanceId] }]);
    expect((await here.closed).code).toBe(1012);
    const revoked = await call(a, 'POST', '/revocations', { body: { jti: 'lost' } });
    expect([revoked.status, revoked.body['durable']]).toEqual([202, false]);
    const traces = await call(a, 'PUT', '/traces', { body: { userIds: ['dora'], seconds: 600 } });
    expect([traces.status, traces.body['pending']]).toEqual([202, true]);
    await redis.start();
    expect((await there.closed).code).toBe(1012);
    await eventually(async () => {
      const dora = await dashboard(b, { userId: 'dora' });
      await dora.close();
      return linesOf('UserTrace').some(({ userId }) => userId === 'dora');
    });
  }, 60_000);
});
