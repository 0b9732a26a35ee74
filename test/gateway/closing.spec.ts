import { connect } from '../support/dashboard-client.js';
import { signToken } from '../support/tokens.js';
import { GatewayApp } from './gateway-app.js';
import { rawSocket } from './raw-upgrade.js';
import { until } from './until.js';

describe('a connection is closed', () => {
  let app: GatewayApp;
  afterEach(() => app.stop());

  const nothingLeft = () =>
    until(async () => Object.values(await app.leftovers()).every((count) => count === 0));

  it.each([
    ['no JWT', 'nonsense'],
    ['a changed signature', null],
  ])('with 4001 at once when its token is %s, and its messages are not processed', async (_, text) => {
    app = await GatewayApp.start();
    const token = text ?? `${(await signToken()).slice(0, -4)}AAAA`;
    const client = await connect(app.url, { token });
    client.send({ type: 'ping' });
    expect(await client.closed).toMatchObject({ code: 4001 });
    expect(client.received).toEqual([]);
    await nothingLeft();
    expect(await app.count('connections', { outcome: 'unauthorized' })).toBe(1);
    expect(await app.count('connectionsClosed', { code: '4001' })).toBe(1);
  });

  it('with 1006, and nothing is left, when a crowd is cut off at once', async () => {
    app = await GatewayApp.start({ WS_MAX_CONNECTIONS_PER_USER: '200' });
    const token = await signToken();
    const { port } = app;
    const crowd = await Promise.all(Array.from({ length: 200 }, () => rawSocket(port, `/ws?token=${token}`)));
    await until(async () => (await app.count('connections', { outcome: 'accepted' })) === 200);
    crowd.forEach((socket, at) => (at % 2 === 0 ? socket.resetAndDestroy() : socket.destroy()));
    await nothingLeft();
    expect(await app.count('connectionsClosed', { code: '1006' })).toBe(200);
  });

  it('with 4001 when its token is expired already', async () => {
    app = await GatewayApp.start();
    const client = await connect(app.url, { claims: { lifetimeS: -60 } });
    expect((await client.closed).code).toBe(4001);
  });

  it('with 4001 when no token comes in time', async () => {
    app = await GatewayApp.start({ 'ws.authTimeoutMs': '100' });
    const client = await connect(app.url, { token: null });
    expect(await client.closed).toEqual({ code: 4001, reason: 'no token came in time' });
    expect(await app.count('auth', { outcome: 'timeout' })).toBe(1);
    await nothingLeft();
  });

  it.each([
    ['another message', '{"type":"ping"}'],
    ['a subscription', '{"type":"subscribe","deviceIds":["a"]}'],
    ['no JSON', '{'],
    ['a binary frame', Buffer.from('{"type":"auth","token":"x"}')],
  ])('with 4001 at once when its first message is %s', async (_, frame) => {
    app = await GatewayApp.start();
    const client = await connect(app.url, { token: null });
    client.sendRaw(frame);
    expect((await client.closed).code).toBe(4001);
    expect(client.received).toEqual([]);
    await nothingLeft();
  });

  it('with an error and 4001 when its first message has a bad token, and what follows is not processed', async () => {
    app = await GatewayApp.start();
    const client = await connect(app.url, { token: null });
    client.send({ type: 'auth', token: 'nonsense' });
    client.send({ type: 'subscribe', deviceIds: ['pump'] });
    expect((await client.closed).code).toBe(4001);
    expect(client.received).toEqual([{ type: 'error', error: expect.any(String), code: 'forbidden' }]);
    await nothingLeft();
  });

  it('with 4009 when its user has too many connections, and others are not concerned', async () => {
    app = await GatewayApp.start({ WS_MAX_CONNECTIONS_PER_USER: '2' });
    const claims = { userId: 'ann' };
    const first = await connect(app.url, { claims });
    await connect(app.url, { claims });
    const third = await connect(app.url, { claims });
    expect((await third.closed).code).toBe(4009);
    expect(third.received).toEqual([]);
    await (await connect(app.url, { claims: { userId: 'bob' } })).next('connected');
    await first.close();
    await until(async () => (await app.leftovers())['kept'] === 2);
    await (await connect(app.url, { claims })).next('connected');
  });

  it('with 1009 when a message is over its limit', async () => {
    app = await GatewayApp.start();
    const client = await connect(app.url);
    client.sendRaw(`"${'x'.repeat(65_534)}"`);
    expect(await client.next('error')).toMatchObject({ code: 'invalid_message' });
    client.sendRaw('x'.repeat(65_537));
    expect((await client.closed).code).toBe(1009);
    await nothingLeft();
    expect(await app.count('connectionsClosed', { code: '1009' })).toBe(1);
  });

  it('with 1008 when it goes on after warnings', async () => {
    app = await GatewayApp.start({
      WS_MAX_MESSAGES_PER_SECOND: '1',
      'ws.maxMessageBurst': '10',
      'ws.maxRefusedMessages': '5',
    });
    const client = await connect(app.url);
    for (let at = 0; at < 30; at += 1) {
      client.send({ type: 'ping', id: at });
    }
    expect((await client.closed).code).toBe(1008);
    const refused = client.all('error');
    expect(refused.map(({ id }) => id)).toEqual([10, 11, 12, 13, 14]);
    expect(refused[0]).toMatchObject({ code: 'rate_limited', retryAfterMs: expect.any(Number) });
    expect(client.all('pong').length).toBeLessThanOrEqual(10);
    await nothingLeft();
  });

  it('with 4008 when it reads nothing and falls behind in mode every; the others lose nothing', async () => {
    app = await GatewayApp.start({ WS_QUEUE_MAX_BYTES: '65536' });
    const claims = { deviceIds: ['pump'] };
    const slow = await connect(app.url, { claims });
    const other = await connect(app.url, { claims });
    await slow.next('subscribed');
    await other.next('subscribed');
    slow.pause();
    const text = 'x'.repeat(50_000);
    let published = 0;
    while (!slowCloses(app)) {
      app.publish('pump', text);
      published += 1;
      await new Promise(setImmediate);
    }
    slow.resume();
    expect((await slow.closed).code).toBe(4008);
    const got = await other.collect('telemetry', published);
    expect(got.map(({ offset }) => offset)).toEqual(got.map((_, at) => at + 1));
    await other.close();
    await nothingLeft();
  });

  it('without a word when the client goes, in whatever state it is', async () => {
    app = await GatewayApp.start();
    const pending = await connect(app.url, { token: null });
    const joining = await connect(app.url, { token: null });
    const open = await connect(app.url, { claims: { deviceIds: ['a', 'b'] } });
    await open.next('subscribed');
    joining.send({ type: 'auth', token: await signToken() });
    joining.socket.terminate();
    pending.socket.terminate();
    open.socket.terminate();
    await nothingLeft();
    expect(await app.count('connectionsClosed', { code: '1006' })).toBe(3);
  });

  it('by the client with a code of its own, which is answered and counted under a common label', async () => {
    app = await GatewayApp.start();
    const client = await connect(app.url);
    await client.next('connected');
    client.socket.close(4321, 'bye');
    expect((await client.closed).code).toBe(4321);
    await nothingLeft();
    expect(await app.count('connectionsClosed', { code: 'other' })).toBe(1);
  });
});

function slowCloses(app: GatewayApp): boolean {
  return [...app.lifecycle.connections].some(({ closeCode }) => closeCode === 4008);
}
