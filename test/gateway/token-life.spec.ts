import { connect } from '../support/dashboard-client.js';
import { signToken } from '../support/tokens.js';
import { ConnectionTimers } from '../../src/gateway/socket/connection-timers.js';
import { GatewayApp } from './gateway-app.js';
import { until } from './until.js';

const TOLERANCE_MS = 5_000;

/** Unix ms. */
function expOf(token: string): number {
  const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as {
    exp: number;
  };
  return claims.exp * 1000;
}

describe('the token of a living connection', () => {
  let app: GatewayApp;
  beforeEach(async () => {
    app = await GatewayApp.start({ JWT_CLOCK_TOLERANCE_S: '5' });
  });
  afterEach(() => app.stop());

  /** Moves the clock to a time relative to the end of a token, and lets what is due happen. */
  const moveTo = (token: string, msAfterExp: number): void => {
    app.clock.advance(expOf(token) + msAfterExp - app.clock.now());
    app.nest.get(ConnectionTimers).tick();
  };

  it('closes it with 4002 at exp plus tolerance, not before', async () => {
    const token = await signToken({ lifetimeS: 60 });
    const client = await connect(app.url, { token });
    await client.next('connected');
    moveTo(token, TOLERANCE_MS - 1);
    await client.roundTrip();
    moveTo(token, TOLERANCE_MS);
    expect((await client.closed).code).toBe(4002);
  });

  it('is asked for each message, should the timer be late', async () => {
    const token = await signToken({ lifetimeS: 60 });
    const client = await connect(app.url, { token });
    await client.next('connected');
    app.clock.advance(expOf(token) + TOLERANCE_MS - app.clock.now());
    client.send({ type: 'command', deviceId: 'a', command: 1, id: 'late' });
    expect((await client.closed).code).toBe(4002);
    expect(app.commands.sent).toEqual([]);
  });

  it('is replaced by a newer one of the same user; it then lives as long as that', async () => {
    const [older, newer] = [await signToken({ lifetimeS: 60 }), await signToken({ lifetimeS: 600 })];
    const client = await connect(app.url, { token: older });
    const { userId } = await client.next('connected');
    client.send({ type: 'auth', token: newer });
    expect(await client.next('authenticated')).toEqual({
      type: 'authenticated',
      userId,
      expiresAt: expOf(newer),
    });
    moveTo(older, 60_000);
    await client.roundTrip();
    moveTo(newer, TOLERANCE_MS);
    expect((await client.closed).code).toBe(4002);
    expect(await app.count('auth', { outcome: 'refreshed' })).toBe(1);
  });

  it('may be replaced by one that ends earlier', async () => {
    const earlier = await signToken({ lifetimeS: 60 });
    const client = await connect(app.url, { claims: { lifetimeS: 600 } });
    await client.next('connected');
    client.send({ type: 'auth', token: earlier });
    await client.next('authenticated');
    moveTo(earlier, TOLERANCE_MS);
    expect((await client.closed).code).toBe(4002);
  });

  it('changes the grants at once: rooms no longer granted are left and named, new ones are not joined', async () => {
    const client = await connect(app.url, { claims: { deviceIds: ['a', 'b', 'c-*'] } });
    await client.next('subscribed');
    client.send({ type: 'subscribe', deviceIds: ['c-1', 'c-2'] });
    await client.next('subscribed');
    client.send({
      type: 'auth',
      token: await signToken({ deviceIds: ['b', 'c-2', 'd'], permissions: ['read'] }),
    });
    client.send({ type: 'command', deviceId: 'b', command: 1 });
    client.send({ type: 'subscribe', id: 'after', deviceIds: ['a', 'd'] });
    const left = await client.next('unsubscribed');
    expect(left).toEqual({ type: 'unsubscribed', deviceIds: ['a', 'c-1'] });
    await client.next('authenticated');
    expect(await client.next('error')).toMatchObject({ error: 'Forbidden', deviceId: 'b' });
    expect(await client.next('subscribed', ({ id }) => id === 'after')).toMatchObject({
      rooms: [{ deviceId: 'd' }],
      denied: ['a'],
    });
    for (const deviceId of ['a', 'c-1', 'b', 'd']) {
      app.publish(deviceId, 1);
    }
    await client.next('telemetry', ({ deviceId }) => deviceId === 'd');
    await client.roundTrip();
    expect(client.all('telemetry').map(({ deviceId }) => deviceId)).toEqual(['b', 'd']);
  });

  it.each([
    ['of another user', () => signToken({ userId: 'eve' })],
    ['that is none', () => Promise.resolve('nonsense')],
    ['that is expired', () => signToken({ userId: 'ann', lifetimeS: -60 })],
    ['that is empty', () => Promise.resolve('')],
  ])('is not replaced by one %s: error and 4001', async (_, make) => {
    const client = await connect(app.url, { claims: { userId: 'ann', deviceIds: ['a'] } });
    await client.next('subscribed');
    client.send({ type: 'auth', token: await make() });
    client.send({ type: 'command', deviceId: 'a', command: 1 });
    expect((await client.closed).code).toBe(4001);
    expect(client.received.at(-1)).toMatchObject({ type: 'error', code: 'forbidden' });
    expect(app.commands.sent).toEqual([]);
    await until(async () => Object.values(await app.leftovers()).every((count) => count === 0));
  });

  // A command that waited for the broker was held against the token it came with alone. The publisher asks again when it publishes.
  it('replaced by a narrower one, or ended, takes back commands that still wait for the broker', async () => {
    app.commands.answer = () => new Promise(() => undefined);
    const client = await connect(app.url, { claims: { userId: 'ann', deviceIds: ['a', 'b'] } });
    await client.next('subscribed');
    client.send({ type: 'command', deviceId: 'a', command: 1 });
    client.send({ type: 'command', deviceId: 'b', command: 1 });
    await until(() => app.commands.refusals.length === 2);
    const [a, b] = app.commands.refusals;
    expect([a?.(), b?.()]).toEqual([null, null]);
    client.send({ type: 'auth', token: await signToken({ userId: 'ann', deviceIds: ['b'] }) });
    await client.next('authenticated');
    expect(a?.()).toMatchObject({ code: 'forbidden' });
    expect(b?.()).toBeNull();
    client.socket.terminate();
    await until(() => b?.() !== null);
    expect(b?.()).toMatchObject({ code: 'forbidden' });
  });
});
