import { jest } from '@jest/globals';
import { WebSocket } from 'ws';
import { SluiceClient, type SluiceClientOptions } from '../../client/src/legacy.js';
import { GatewayApp } from '../gateway/gateway-app.js';
import { until } from '../gateway/until.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { signToken, type TokenClaims } from '../support/tokens.js';

jest.setTimeout(60_000);

describe('the API of version 0.1', () => {
  const shared = stopAfterAll();
  const own = stopAfterEach();
  const warn = jest.spyOn(console, 'warn').mockImplementation(() => undefined);
  let app: GatewayApp;
  let proxy: TcpProxy;
  let prefix: string;
  let tests = 0;
  let heard: string[];

  beforeAll(async () => {
    app = shared(await GatewayApp.start());
  });
  afterAll(() => warn.mockRestore());
  beforeEach(async () => {
    proxy = own(await startTcpProxy(app.port));
    prefix = `legacy${(tests += 1)}.`;
    heard = [];
  });

  const id = (name: string): string => prefix + name;
  const isOpen = (client: SluiceClient) => () => client.state === 'open';

  function start(
    claims: () => TokenClaims = () => ({}),
    more: Partial<SluiceClientOptions> = {},
  ): SluiceClient {
    const url = `ws://127.0.0.1:${proxy.port}/ws`;
    const client = new SluiceClient({ url, token: () => signToken(claims()), WebSocket, ...more });
    own({ stop: () => client.close() });
    const say = (...words: unknown[]): unknown => heard.push(words.join(' ').replaceAll(prefix, ''));
    client.on('telemetry', ({ deviceId, payload }) => say(deviceId, JSON.stringify(payload)));
    client.on('snapshot', ({ deviceId, telemetry }) =>
      say('snapshot', deviceId, JSON.stringify(telemetry?.payload)),
    );
    client.on('reset', ({ deviceId }) => say('reset', deviceId));
    client.on('status', ({ deviceId, isOnline }) => say(deviceId, isOnline));
    client.on('withdrawn', ({ deviceIds, pattern }) =>
      say('withdrawn', ...deviceIds, ...(pattern === undefined ? [] : [pattern])),
    );
    return client;
  }

  it('runs the example of its README, and says once that it is deprecated', async () => {
    app.publish(id('pump-1'), { flow: 1 });
    const sluice = start();
    const shown: unknown[] = [];
    sluice.on('snapshot', ({ deviceId, telemetry, status, meta }) =>
      shown.push(['show', deviceId, telemetry?.payload, status, meta]),
    );
    sluice.on('telemetry', ({ deviceId, payload, serverTs }) =>
      shown.push(['plot', deviceId, payload, typeof serverTs]),
    );
    const badges: string[] = [];
    sluice.on('state', (state) => badges.push(state));

    sluice.connect();
    await sluice.subscribe([id('pump-1'), id('pump-2')], { maxRateHz: 5 });
    await sluice.subscribePattern(id('plant-7.*'), { fields: ['temperature'], maxRateHz: 1 });
    await until(() => shown.length === 1);
    const { delivered } = await sluice.command(id('pump-1'), { speed: 1200 });
    expect(delivered).toBe(true);
    app.publish(id('pump-1'), { flow: 2 });
    await until(() => shown.length === 2); // at its rate, so perhaps later than what follows
    app.publish(id('plant-7.a'), { temperature: 20, other: 1 });
    await until(() => shown.length === 3);
    expect(shown).toEqual([
      ['show', id('pump-1'), { flow: 1 }, undefined, undefined],
      ['plot', id('pump-1'), { flow: 2 }, 'number'],
      ['show', id('plant-7.a'), { temperature: 20 }, undefined, undefined],
    ]);
    expect(badges).toEqual(['connecting', 'open']);
    start();
    expect(warn.mock.calls).toEqual([[expect.stringContaining('sluice-client/legacy')]]);
  });

  it('shows every publication once, in order, over connections that are cut, whoever wants the device', async () => {
    const sluice = start();
    sluice.connect();
    expect(await sluice.subscribe([id('a')])).toBeNull(); // there is no connection yet
    await sluice.subscribePattern(id('**'));
    await until(isOpen(sluice));
    expect(await sluice.subscribe([id('a')])).toEqual({
      rooms: [{ deviceId: id('a'), epoch: expect.any(String), offset: 0 }],
      denied: [],
    });
    for (let n = 1; n <= 90; n += 1) {
      app.publish(id('a'), n);
      await new Promise(setImmediate);
      if (n === 30) {
        proxy.cut();
      }
      if (n === 60) {
        await until(() => heard.includes('a 60'), 20_000);
        await sluice.unsubscribe([id('a')]); // the pattern has it still
      }
    }
    await until(() => heard.includes('a 90'));
    expect(heard.filter((word) => word.startsWith('a '))).toEqual(
      Array.from({ length: 90 }, (_, at) => `a ${at + 1}`),
    );
    expect(heard.filter((word) => word.startsWith('reset'))).toEqual([]);
    await sluice.unsubscribePattern(id('*'));
    await until(() => app.rooms.subscriptionCount === 0);
  });

  it('keeps what is wanted over close and connect, and misses nothing between them', async () => {
    const sluice = start();
    await sluice.subscribe([id('a')]);
    expect(sluice.state).toBe('closed');
    sluice.connect();
    await until(isOpen(sluice));
    await sluice.subscribe([id('a')]);
    app.publish(id('a'), 1);
    await until(() => heard.length === 1);
    sluice.close();
    await sluice.subscribe([id('b')]);
    app.publish(id('a'), 2);
    app.publish(id('b'), 5);
    sluice.connect();
    await until(() => heard.length === 3);
    expect(heard.sort()).toEqual(['a 1', 'a 2', 'snapshot b 5']);
  });

  it('says what is denied and what is withdrawn, and does not ask for it again', async () => {
    let deviceIds = [id('a'), id('b'), id('p.*')];
    const sluice = start(() => ({ deviceIds }));
    sluice.connect();
    await until(isOpen(sluice));
    expect(await sluice.subscribe([id('a'), id('b'), id('not-mine')])).toMatchObject({
      rooms: [{ deviceId: id('a') }, { deviceId: id('b') }],
      denied: [id('not-mine')],
    });
    await expect(sluice.subscribePattern(id('*'))).rejects.toMatchObject({ code: 'forbidden' });
    await sluice.subscribePattern(id('p.*'));
    deviceIds = [];
    await sluice.refresh();
    await until(() => heard.length === 2);
    expect(heard.sort()).toEqual(['withdrawn a b', 'withdrawn p.*']);
    deviceIds = [id('a'), id('b')];
    await sluice.refresh();
    expect(await sluice.subscribe([id('b')])).toMatchObject({ denied: [] });
    await until(() => app.rooms.subscriptionCount === 1);
  });

  it('sends a command at once or not at all, and takes an untold delivery for one', async () => {
    const sluice = start(() => ({ deviceIds: [id('a')] }));
    await expect(sluice.command(id('a'), 1)).rejects.toMatchObject({ code: 'not_connected' });
    sluice.connect();
    await until(isOpen(sluice));
    app.commands.answer = () => Promise.resolve('unknown');
    expect(await sluice.command(id('a'), 2)).toEqual({ delivered: true });
    app.commands.answer = () => Promise.resolve('undelivered');
    expect(await sluice.command(id('a'), 3)).toEqual({ delivered: false });
    await expect(sluice.command(id('b'), 4)).rejects.toMatchObject({ code: 'forbidden' });
    app.commands.answer = () => Promise.resolve('delivered');
  });
});
