import { connect, type DashboardClient } from '../support/dashboard-client.js';
import { GatewayApp } from './gateway-app.js';

const ids = (count: number, prefix = 'd'): string[] =>
  Array.from({ length: count }, (_, at) => `${prefix}-${at}`);

describe('the work that a connection asks for', () => {
  let app: GatewayApp;
  let client: DashboardClient;
  afterEach(() => app.stop());

  /** 100 rooms a second, 1 000 at once. */
  const FEW = { WS_MAX_MESSAGES_PER_SECOND: '1', 'ws.maxMessageBurst': '4' };
  async function begin(env: Record<string, string> = {}, claims = {}): Promise<void> {
    app = await GatewayApp.start(env);
    client = await connect(app.url, { query: { subscribe: 'none' }, claims });
    await client.next('connected');
  }

  // A message that subscribed to a thousand devices cost as much as a ping: a hundred of them a second were the whole event loop.
  it('is counted by rooms: who owes is refused, and told when to come back', async () => {
    await begin(FEW);
    client.send({ type: 'subscribe', id: 1, deviceIds: ids(1_000), delivery: { fields: ['t'] } });
    client.send({ type: 'subscribe', id: 2, deviceIds: ['x'] });
    client.send({ type: 'unsubscribe', id: 3, deviceIds: ['d-1'] });
    const refused = await client.next('error');
    expect(refused).toMatchObject({ code: 'rate_limited', id: 2 });
    expect(refused.retryAfterMs).toBeGreaterThan(1_000);
    expect(await client.next('error')).toMatchObject({ code: 'rate_limited', id: 3 });
    expect(client.all('subscribed').map(({ id }) => id)).toEqual([1]);
  });

  it('is counted by positions in `since`', async () => {
    await begin(FEW);
    const since = Object.fromEntries(ids(600).map((id) => [id, { epoch: 'e', offset: 1 }]));
    client.send({ type: 'subscribe', id: 1, deviceIds: ids(600), since });
    client.send({ type: 'subscribe', id: 2, deviceIds: ['x'] });
    expect(await client.next('error')).toMatchObject({ code: 'rate_limited', id: 2 });
  });

  // A rewind costs what it brings: a message of 60 bytes asks for a thousand publications of each device.
  it.each([{ deviceIds: ids(20) }, { pattern: 'd-*' }])(
    'is counted by the publications of a rewind: %j',
    async (target) => {
      await begin(FEW);
      for (let n = 0; n < 500; n += 1) {
        ids(20).forEach((id) => app.publish(id, n));
      }
      client.send({ type: 'subscribe', id: 1, ...target });
      client.send({ type: 'subscribe', id: 2, ...target, rewind: { count: 1_000 } });
      await client.next('subscribed', ({ id }) => id === 2);
      client.send({ type: 'subscribe', id: 3, deviceIds: ['x'] });
      const { retryAfterMs, ...refused } = await client.next('error');
      expect(refused).toMatchObject({ code: 'rate_limited', id: 3 });
      expect(retryAfterMs).toBeGreaterThan(1_000);
    },
  );

  // All of a connection's patterns were worked off at once, so that each was begun before what the one before it cost was known.
  it('is counted by the devices of a pattern, one pattern after the other', async () => {
    await begin(FEW);
    ids(2_000).forEach((id) => app.publish(id, 1));
    client.send({ type: 'subscribe', id: 1, pattern: 'd*' });
    client.send({ type: 'subscribe', id: 2, pattern: 'd-*' });
    expect(await client.next('error')).toMatchObject({ code: 'rate_limited', id: 2 });
    await client.next('snapshot');
    expect(new Set(client.all('subscribed').map(({ id }) => id))).toEqual(new Set([1]));
  });

  it('ends in 1008 for who goes on', async () => {
    await begin({ WS_MAX_MESSAGES_PER_SECOND: '1', 'ws.maxMessageBurst': '200' }, {});
    ids(60_000).forEach((id) => app.publish(id, 1));
    client.send({ type: 'subscribe', pattern: 'd-*' });
    for (let id = 1; id <= 101; id += 1) {
      client.send({ type: 'subscribe', id, pattern: 'x*' });
    }
    expect((await client.closed).code).toBe(1008);
    expect(client.all('error')).toHaveLength(100);
  });

  it('is enough for a dashboard that comes back with ten thousand devices', async () => {
    await begin({ WS_MAX_ROOMS_PER_CONNECTION: '10000' });
    for (let id = 0; id < 10; id += 1) {
      client.send({ type: 'subscribe', id, deviceIds: ids(1_000, `p${id}`), delivery: { fields: ['t'] } });
    }
    await client.next('subscribed', ({ id }) => id === 9);
    expect(client.all('error')).toEqual([]);
  });

  it('is done in order for patterns: one that is left right after it was asked for stays left', async () => {
    await begin();
    client.send({ type: 'subscribe', id: 1, pattern: 'a-*' });
    client.send({ type: 'subscribe', id: 2, pattern: 'b-*' });
    client.send({ type: 'unsubscribe', id: 3, pattern: 'b-*' });
    await client.next('unsubscribed');
    expect(client.all('subscribed').map(({ id }) => id)).toEqual([1, 2]);
    app.publish('b-1', 1);
    app.publish('a-1', 1);
    await client.next('snapshot', ({ devices }) => devices.some(({ deviceId }) => deviceId === 'a-1'));
    await client.roundTrip();
    expect(JSON.stringify(client.received)).not.toContain('"b-1"');
  });
});

describe('what a token does not grant', () => {
  let app: GatewayApp;
  beforeEach(async () => {
    app = await GatewayApp.start();
    ['public', 'secret'].forEach((id) => [1, 2, 3].forEach((value) => app.publish(id, { value })));
  });
  afterEach(() => app.stop());

  it('is neither resumed by `since` nor aggregated', async () => {
    const owner = await connect(app.url, { claims: { deviceIds: ['secret'] } });
    const { rooms } = await owner.next('subscribed');
    const { epoch } = rooms[0] ?? { epoch: '' };
    const eve = await connect(app.url, {
      claims: { deviceIds: ['public'] },
      query: { subscribe: 'none' },
    });
    eve.send({
      type: 'subscribe',
      id: 1,
      deviceIds: ['secret', 'public'],
      since: { secret: { epoch, offset: 1 }, public: { epoch, offset: 1 } },
    });
    eve.send({
      type: 'subscribe',
      id: 2,
      deviceIds: ['secret', 'public'],
      delivery: { maxRateHz: 100, aggregate: true },
    });
    for (const id of [1, 2]) {
      const answer = await eve.next('subscribed', (one) => one.id === id);
      expect(answer.denied).toEqual(['secret']);
      expect(answer.rooms.map(({ deviceId }) => deviceId)).toEqual(['public']);
    }
    app.publish('secret', { value: 4 });
    app.publish('public', { value: 5 });
    await eve.next('telemetry', ({ payload }) => JSON.stringify(payload).includes('5'));
    const heard = [...eve.all('telemetry'), ...eve.all('snapshot').flatMap(({ devices }) => devices)];
    expect(new Set(heard.map(({ deviceId }) => deviceId))).toEqual(new Set(['public']));
  });

  it('is not heard by a pattern where the token may only command', async () => {
    const eve = await connect(app.url, { claims: { deviceIds: ['*'], permissions: ['command'] } });
    eve.send({ type: 'subscribe', id: 1, pattern: '*' });
    expect(await eve.next('error')).toMatchObject({ code: 'forbidden', id: 1 });
    app.publish('secret', { value: 4 });
    app.publish('new', { value: 4 });
    await eve.roundTrip();
    expect([...eve.all('telemetry'), ...eve.all('snapshot')]).toEqual([]);
  });
});
