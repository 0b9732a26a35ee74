import { connect, type DashboardClient } from '../support/dashboard-client.js';
import { signToken } from '../support/tokens.js';
import { eventually } from '../devices/device-harness.js';
import { GatewayApp } from './gateway-app.js';

describe('what a connection asks for', () => {
  let app: GatewayApp;
  const clients: DashboardClient[] = [];

  beforeEach(async () => {
    app = await GatewayApp.start({ 'ws.maxPatternsPerConnection': '2' });
  });
  afterEach(() => app.stop());

  async function open(claims: Record<string, unknown>, query = '?subscribe=none'): Promise<DashboardClient> {
    const client = await connect(`${app.url}${query}`, { token: await signToken(claims) });
    clients.push(client);
    return client;
  }

  it('subscribes by pattern within the grants, to present and future devices', async () => {
    app.publish('plant-7.a', 1);
    app.publish('plant-8.a', 1);
    const client = await open({ deviceIds: ['plant-7.*'] });
    client.send({ type: 'subscribe', pattern: 'plant-7.*', id: 'p' });
    expect(await client.next('subscribed')).toMatchObject({
      id: 'p',
      pattern: 'plant-7.*',
      rooms: [{ deviceId: 'plant-7.a', offset: 1 }],
      denied: [],
    });
    expect(await client.next('snapshot')).toMatchObject({ devices: [{ deviceId: 'plant-7.a' }] });
    app.publish('plant-7.new', 'first');
    app.publish('plant-8.new', 'first');
    const announced = await client.next('subscribed');
    expect(announced).toMatchObject({ pattern: 'plant-7.*', rooms: [{ deviceId: 'plant-7.new' }] });
    expect(announced).not.toHaveProperty('id');
    expect(await client.next('snapshot')).toMatchObject({ devices: [{ deviceId: 'plant-7.new' }] });
    app.publish('plant-7.new', 'second');
    expect(await client.next('telemetry')).toMatchObject({ payload: 'second', offset: 2 });
    client.send({ type: 'unsubscribe', pattern: 'plant-7.**', id: 'u' });
    expect(await client.next('unsubscribed')).toEqual({
      type: 'unsubscribed',
      id: 'u',
      pattern: 'plant-7.*',
      deviceIds: [],
    });
    expect(app.rooms.roomCount).toBe(0);
  });

  it.each([
    [{ pattern: '*' }, { code: 'forbidden', error: 'Forbidden' }],
    [{ pattern: 'plant-*' }, { code: 'forbidden', error: 'Forbidden' }],
    [{ pattern: 'a/*' }, { code: 'forbidden', error: 'Forbidden' }],
    [{ pattern: 7 }, { code: 'invalid_message' }],
    [{ pattern: 'plant-7.*', deviceIds: ['plant-7.a'] }, { code: 'invalid_message' }],
    [{ pattern: 'plant-7.*', since: {} }, { code: 'invalid_message' }],
    [{ pattern: 'plant-7.*', delivery: { aggregate: true } }, { code: 'invalid_message' }],
    [{ pattern: 'plant-7.*', delivery: { mode: 'every', maxRateHz: 1 } }, { code: 'invalid_message' }],
  ])('refuses %j', async (fields, answer) => {
    const client = await open({ deviceIds: ['plant-7.*'] });
    client.send({ type: 'subscribe', id: 'x', ...fields });
    expect(await client.next('error')).toMatchObject({ id: 'x', ...answer });
  });

  it('bounds the patterns of a connection', async () => {
    const client = await open({ deviceIds: ['*'] });
    ['a*', 'b*', 'c*'].forEach((pattern) => client.send({ type: 'subscribe', pattern, id: pattern }));
    expect(await client.next('error')).toMatchObject({ id: 'c*', code: 'too_many_rooms' });
  });

  it('leaves the patterns that a newer token no longer covers', async () => {
    app.publish('plant-7.a', 1);
    app.publish('plant-8.a', 1);
    const client = await open({ deviceIds: ['plant-*'] });
    client.send({ type: 'subscribe', pattern: 'plant-*', id: 1 });
    client.send({ type: 'subscribe', pattern: 'plant-7.*', id: 2 });
    await client.next('subscribed');
    await client.next('subscribed');
    client.send({ type: 'auth', token: await signToken({ deviceIds: ['plant-7.*'] }) });
    expect(await client.next('unsubscribed')).toMatchObject({ pattern: 'plant-*' });
    await client.next('authenticated');
    app.publish('plant-8.a', 2);
    app.publish('plant-7.a', 2);
    expect(await client.next('telemetry')).toMatchObject({ deviceId: 'plant-7.a' });
    expect(app.rooms.subscriptionCount).toBe(1);
  });

  it('serves no more than the rate of its token', async () => {
    const client = await open({ deviceIds: ['d'], maxRateHz: 0.01 }, '');
    await client.next('subscribed');
    for (let n = 1; n <= 5; n += 1) {
      app.publish('d', n);
    }
    expect(await client.next('telemetry')).toMatchObject({ payload: 1 });
    await client.roundTrip();
    expect(app.metrics.hot.conflated).toBe(3);
  });

  it('refuses more rooms than its token allows', async () => {
    const client = await open({ deviceIds: ['*'], maxRooms: 1 });
    client.send({ type: 'subscribe', deviceIds: ['a', 'b'], id: 'x' });
    expect(await client.next('error')).toMatchObject({ id: 'x', code: 'too_many_rooms' });
  });

  it('refuses more different fields than a connection may keep, and takes the same ones for any number of devices', async () => {
    const client = await open({ deviceIds: ['*'] });
    const fields = (name: string): string[] =>
      Array.from({ length: 100 }, (_, n) => `${name}-${n}`.padEnd(250, 'x'));
    const subscribe = async (deviceId: string, name: string): Promise<boolean> => {
      const id = `${deviceId} ${name}`;
      client.send({ type: 'subscribe', id, deviceIds: [deviceId], delivery: { fields: fields(name) } });
      await client.roundTrip();
      const refusal = client.all('error').find((error) => error.id === id);
      expect([undefined, 'too_many_rooms']).toContain(refusal?.code);
      return refusal === undefined;
    };
    let sets = 0;
    while (sets < 40 && (await subscribe(`d${sets}`, `set${sets}`))) {
      sets += 1;
    }
    expect(sets).toBeGreaterThan(10);
    expect(sets).toBeLessThan(40);
    for (let n = 0; n < 10; n += 1) {
      expect(await subscribe(`same${n}`, 'set0')).toBe(true);
    }
    client.send({ type: 'unsubscribe', deviceIds: ['d1'] });
    expect(await subscribe('d1', 'set-in-place-of-another')).toBe(true);
  });

  it('hears that a window left something out', async () => {
    const client = await open({ deviceIds: ['d'] });
    const delivery = { mode: 'latest', maxRateHz: 10, aggregate: true };
    client.send({ type: 'subscribe', deviceIds: ['d'], delivery });
    await client.next('snapshot');
    app.publish('d', Object.fromEntries(Array.from({ length: 4_000 }, (_, at) => [`f${at}`, at])));
    const message: { payload: unknown; aggregated?: unknown } = await client.next('telemetry');
    expect(Object.keys(message.payload as object)).toHaveLength(3_000);
    expect(message.aggregated).toMatchObject({ count: 1, truncated: true });
  });

  it('gets all that is due within batchMs in one message', async () => {
    const client = await open({ deviceIds: ['d'] }, '?batchMs=50&subscribe=none');
    client.send({ type: 'subscribe', deviceIds: ['d'] });
    // What is due alone leaves as the message itself.
    const types = (): string[] =>
      client.received
        .flatMap((message) => (message.type === 'batch' ? message.messages : [message]))
        .map(({ type }) => type);
    await eventually(() => types().includes('snapshot'));
    app.publish('d', 1);
    app.publish('d', 2);
    await eventually(() => types().includes('telemetry'));
    expect(types()).toEqual(['connected', 'subscribed', 'snapshot', 'telemetry', 'telemetry']);
    expect(client.received.at(-1)).toMatchObject({
      type: 'batch',
      messages: [{ type: 'telemetry' }, { type: 'telemetry' }],
    });
  });

  it.each(['-1', '1001', 'abc', '1.5'])('refuses batchMs=%s with 400', async (batchMs) => {
    await expect(open({ deviceIds: ['d'] }, `?batchMs=${batchMs}`)).rejects.toThrow('400');
  });
});
