import { jest } from '@jest/globals';
import { Ajv, type ValidateFunction } from 'ajv';
import { readFileSync } from 'node:fs';
import { WebSocket } from 'ws';
import { parse } from 'yaml';
import {
  SluiceClient,
  type SluiceClientOptions,
  type SluiceError,
  type Subscription,
} from '../../client/src/index.js';
import { GatewayApp } from '../gateway/gateway-app.js';
import { until } from '../gateway/until.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { signToken, type TokenClaims } from '../support/tokens.js';

jest.setTimeout(60_000);

const numbers = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, at) => from + at);

describe('the client library', () => {
  const shared = stopAfterAll();
  const own = stopAfterEach();
  let app: GatewayApp;
  let proxy: TcpProxy;
  let clients = 0;
  let prefix: string;

  beforeAll(async () => {
    app = shared(await GatewayApp.start());
  });
  beforeEach(async () => {
    proxy = own(await startTcpProxy(app.port));
    prefix = `t${(clients += 1)}-`;
  });

  /** All that was said and heard, which the document of the protocol must describe. */
  const exchanged: { type: string; messages?: unknown }[] = [];
  class Overheard extends WebSocket {
    constructor(url: string, protocols: string[]) {
      super(url, protocols);
      this.on('message', (data: Buffer) => exchanged.push(JSON.parse(data.toString()) as { type: string }));
    }
    override send(text: string): void {
      exchanged.push(JSON.parse(text) as { type: string });
      super.send(text);
    }
  }
  afterAll(() => {
    const file = new URL('../../src/asyncapi/asyncapi.yaml', import.meta.url);
    const { components } = parse(readFileSync(file, 'utf8')) as {
      components: { messages: Record<string, { payload: { $ref: string } }> };
    };
    const ajv = new Ajv({ strict: false });
    ajv.addSchema({ $id: 'sluice', components });
    const validators = new Map<string, ValidateFunction>();
    for (const message of exchanged) {
      const { type } = message;
      const validate =
        validators.get(type) ?? ajv.compile({ $ref: `sluice${components.messages[type]!.payload.$ref}` });
      validators.set(type, validate);
      if (!validate(message)) {
        expect({ message, errors: validate.errors }).toEqual({ message, errors: null });
      }
    }
    expect([...validators.keys()]).toEqual(
      expect.arrayContaining(['subscribe', 'command', 'telemetry', 'batch']),
    );
  });

  function start(
    claims: TokenClaims | (() => TokenClaims) = {},
    options: Partial<SluiceClientOptions> = {},
  ): SluiceClient {
    const client = new SluiceClient({
      url: `ws://127.0.0.1:${proxy.port}/ws`,
      token: () => signToken(typeof claims === 'function' ? claims() : claims),
      WebSocket: Overheard,
      ...options,
    });
    own({ stop: () => client.close() });
    return client;
  }

  /** Resolves when it begins to wait, which a look every few milliseconds misses on a busy machine: the wait may be as short. */
  function waitsOnce(client: SluiceClient): Promise<void> {
    return new Promise((resolve) => {
      client.on('state', ({ name }) => {
        if (name === 'waiting') {
          resolve();
        }
      });
    });
  }

  /** Everything a subscription says, as short words in order. */
  function record(subscription: Subscription): string[] {
    const heard: string[] = [];
    const say = (...words: unknown[]): unknown => heard.push(words.join(' '));
    const short = (id: string): string => id.replace(prefix, '');
    subscription.on('telemetry', ({ deviceId, payload, skipped }) =>
      say(short(deviceId), JSON.stringify(payload), ...(skipped === undefined ? [] : [`skipped ${skipped}`])),
    );
    subscription.on('snapshot', ({ deviceId, telemetry }) =>
      say('snapshot', short(deviceId), JSON.stringify(telemetry?.payload)),
    );
    subscription.on('gap', ({ deviceId }) => say('gap', short(deviceId)));
    subscription.on('device', ({ deviceId }) => say('device', short(deviceId)));
    subscription.on('status', ({ deviceId, isOnline }) => say(short(deviceId), isOnline ? 'on' : 'off'));
    subscription.on('meta', ({ deviceId, meta }) => say(short(deviceId), JSON.stringify(meta)));
    subscription.on('denied', ({ deviceIds, code }) => say('denied', deviceIds.map(short).join(), code));
    return heard;
  }
  const id = (name: string): string => prefix + name;
  const isLive = (client: SluiceClient) => () => client.state.name === 'live';
  const payloads = (subscription: Subscription): unknown[] => {
    const all: unknown[] = [];
    subscription.on('telemetry', ({ payload }) => all.push(payload));
    return all;
  };

  it('opens at the first subscription, shows what is known, and gives it at hand', async () => {
    app.publish(id('a'), { v: 1 });
    const client = start();
    expect(client.state.name).toBe('closed');
    const pumps = client.subscribe<{ v: number }>([id('a'), id('b')]);
    const heard = record(pumps);
    expect(await pumps.ready).toEqual({ denied: [] });
    await until(() => heard.length === 1);
    app.publish(id('a'), { v: 2 });
    await until(() => heard.length === 2);
    expect(heard).toEqual(['snapshot a {"v":1}', 'a {"v":2}']);
    expect(pumps.get(id('a'))?.telemetry?.payload.v).toBe(2);
    expect(pumps.get(id('c'))).toBeUndefined();
    expect(client.state).toMatchObject({ name: 'live', since: expect.any(Number) });
  });

  // `denied` was dropped when it came by a connection that opened later: the README's own order of calls showed nothing.
  it('says what is denied, whenever it was asked for, and again when a newer token takes something away', async () => {
    let deviceIds = [id('a'), id('b')];
    const client = start(() => ({ deviceIds }));
    const some = client.subscribe([id('a'), id('b'), id('not-mine')]);
    const heard = record(some);
    const pattern = client.subscribePattern('other.*');
    const heardOfPattern = record(pattern);
    expect(await some.ready).toEqual({ denied: [id('not-mine')] });
    expect(await pattern.ready).toEqual({ denied: ['other.*'] });
    deviceIds = [id('a')];
    await client.refresh();
    await until(() => heard.length === 2);
    expect(heard).toEqual(['denied not-mine forbidden', 'denied b forbidden']);
    expect(heardOfPattern).toEqual(['denied other.* forbidden']);
    deviceIds = [id('a'), id('b')];
    app.publish(id('b'), 1);
    await client.refresh();
    await until(() => heard.includes('snapshot b 1'));
  });

  // One widget's unsubscribe ended the other's, and a second subscribe replaced the options of the first.
  it('shares what several subscriptions want: each has its own options, and the last one leaves', async () => {
    const client = start();
    const whole = client.subscribe([id('a')]);
    const some = client.subscribe([id('a')], { fields: ['t'], mode: 'latest' });
    const heardWhole = record(whole);
    const heardSome = record(some);
    await Promise.all([whole.ready, some.ready]);
    app.publish(id('a'), { t: 1, u: 2 });
    app.publish(id('a'), { u: 3 });
    app.publish(id('a'), { t: 4 });
    await until(() => heardWhole.length === 3);
    expect(heardWhole).toEqual(['a {"t":1,"u":2}', 'a {"u":3}', 'a {"t":4}']);
    expect(heardSome).toEqual(['a {"t":1}', 'a {"t":4} skipped 1']);
    expect(some.get(id('a'))?.telemetry?.payload).toEqual({ t: 4 });
    whole.close();
    app.publish(id('a'), { t: 5, u: 1 });
    await until(() => heardSome.length === 3);
    expect(heardWhole).toHaveLength(3);
    some.close();
    await until(() => app.rooms.subscriptionCount === 0);
  });

  it('misses nothing of mode every while others come with wider options, fewer or a rewind', async () => {
    const client = start();
    const first = client.subscribe([id('a')], { fields: ['n'] });
    const seen: unknown[] = [];
    first.on('telemetry', ({ payload }) => seen.push((payload as { n: number }).n));
    await first.ready;
    const others: Subscription[] = [];
    for (let n = 1; n <= 300; n += 1) {
      app.publish(id('a'), { n, m: -n });
      if (n % 30 === 0) {
        others.push(client.subscribe([id('a')], n % 60 === 0 ? { rewind: { count: 5 } } : { fields: ['m'] }));
      }
      if (n % 70 === 0) {
        others.shift()?.close();
      }
      await new Promise(setImmediate);
    }
    await until(() => seen.at(-1) === 300);
    expect(seen).toEqual(numbers(1, 300));
  });

  it('gives a later subscription at once what is at hand, or its own rewind', async () => {
    for (let n = 1; n <= 20; n += 1) {
      app.publish(id('a'), n);
    }
    const client = start();
    const first = client.subscribe([id('a')]);
    const heardFirst = record(first);
    await until(() => heardFirst.length === 1);
    const second = client.subscribe([id('a')]);
    const heardSecond = record(second);
    expect(second.get(id('a'))?.telemetry?.payload).toBe(20);
    await second.ready;
    expect(heardSecond).toEqual(['snapshot a 20']);
    const chart = client.subscribe([id('a')], { rewind: { count: 5 } });
    const values = payloads(chart);
    await until(() => values.length === 5);
    app.publish(id('a'), 21);
    await until(() => values.length === 6);
    expect(values).toEqual(numbers(16, 21));
    expect(heardFirst).toEqual(['snapshot a 20', 'a 21']);
    expect(heardSecond).toEqual(['snapshot a 20', 'a 21']);
  });

  // What came between the request and its answer, by another subscription of the device, counted as the place where the new one begins: its
  // rewind was taken for doubles and never given. Until the answer it hears nothing now, since the rewind brings that too.
  it('gives a rewind also where the device speaks before the answer', async () => {
    for (let n = 1; n <= 20; n += 1) {
      app.publish(id('a'), n);
    }
    const held: (() => void)[] = [];
    class HeldSocket extends WebSocket {
      override send(text: string): void {
        const go = (): void => super.send(text);
        if (text.includes('"rewind"')) {
          held.push(go);
        } else {
          go();
        }
      }
    }
    const client = start({}, { WebSocket: HeldSocket });
    const live = client.subscribe([id('a')]);
    const first = payloads(live);
    await until(() => live.get(id('a'))?.telemetry !== undefined);
    const rewound = client.subscribe([id('a')], { rewind: { count: 5 } });
    const values = payloads(rewound);
    await until(() => held.length === 1);
    app.publish(id('a'), 21);
    await until(() => first.length === 1);
    expect(values).toEqual([]);
    held.forEach((go) => go());
    await rewound.ready;
    app.publish(id('a'), 22);
    await until(() => values.length === 6);
    expect(values).toEqual(numbers(17, 22));
    expect(first).toEqual([21, 22]);
  });

  it('gives each of several its own rewind', async () => {
    for (let n = 1; n <= 20; n += 1) {
      app.publish(id('a'), n);
    }
    const client = start();
    const [long, short, none] = [
      client.subscribe([id('a')], { rewind: { count: 10 } }),
      client.subscribe([id('a')], { rewind: { count: 3 } }),
      client.subscribe([id('a')]),
    ].map(payloads);
    await until(() => long!.length === 10 && none!.length > 0);
    expect([long, short, none]).toEqual([numbers(11, 20), numbers(18, 20), [20]]);
  });

  it('follows a pattern, its new devices, and overlaps with ids and other patterns', async () => {
    app.publish(id('p.a'), 1);
    const client = start();
    const fleet = client.subscribePattern(`${prefix}p.**`);
    const heard = record(fleet);
    await fleet.ready;
    const same = client.subscribePattern(`${prefix}p.*`, { rewind: { count: 2 } });
    const heardSame = record(same);
    const one = client.subscribe([id('p.a')], { mode: 'latest' });
    await Promise.all([same.ready, one.ready]);
    app.publish(id('p.b'), 5);
    app.publish(id('p.a'), 2);
    await until(() => heard.length === 5 && heardSame.some((word) => word.startsWith('p.b')));
    expect(heard.sort()).toEqual(['device p.a', 'device p.b', 'p.a 2', 'p.b 5', 'snapshot p.a 1'].sort());
    expect(heardSame).toContain('p.a 1');
    one.close();
    fleet.close();
    app.publish(id('p.a'), 3);
    await until(() => heardSame.includes('p.a 3'));
    expect(heard).not.toContain('p.a 3');
    same.close();
    await until(() => app.rooms.subscriptionCount === 0);
  });

  // The server announces a new device to one of two patterns that match it, and to none where it is watched by id: the others heard nothing of
  // it before the next connection. The library finds out by itself now which patterns match.
  it('brings a new device to all patterns that match it, also where it was watched by id before', async () => {
    const client = start();
    const one = client.subscribe([id('q.a.n')]);
    const patterns = [client.subscribePattern(id('q.*')), client.subscribePattern(`${prefix}q*n`)];
    const heard = patterns.map(record);
    await Promise.all([one, ...patterns].map(({ ready }) => ready));
    app.publish(id('q.a.n'), 1);
    app.publish(id('q.b.n'), 2);
    app.publish(id('q.c'), 3);
    await until(() => heard[0]!.length === 6 && heard[1]!.length === 4);
    for (const words of heard) {
      expect(words.filter((word) => word.includes('q.a.n'))).toEqual(['device q.a.n', 'q.a.n 1']);
      expect(words.filter((word) => word.includes('q.b.n'))).toEqual(['device q.b.n', 'snapshot q.b.n 2']);
    }
    expect(patterns[1]!.get(id('q.a.n'))?.telemetry?.payload).toBe(1);
  });

  // A request that the server refuses as too fast is repeated. An `unsubscribe` was so also after the device was subscribed to again, which
  // it ended. What is wanted is asked at each attempt now.
  it('does not repeat a refused unsubscribe after a later subscribe', async () => {
    const refusals: (() => void)[] = [];
    class RefusedSocket extends WebSocket {
      override send(text: string): void {
        const { type, id: number } = JSON.parse(text) as { type: string; id?: number };
        if (type === 'unsubscribe' && refusals.length === 0) {
          const error = {
            type: 'error',
            id: number,
            error: 'too fast',
            code: 'rate_limited',
            retryAfterMs: 1,
          };
          refusals.push(() => this.emit('message', Buffer.from(JSON.stringify(error)), false));
        } else {
          super.send(text);
        }
      }
    }
    const client = start({}, { WebSocket: RefusedSocket });
    const first = client.subscribe([id('a')]);
    await first.ready;
    first.close();
    await until(() => refusals.length === 1);
    const again = client.subscribe([id('a')]);
    const heard = payloads(again);
    await again.ready;
    refusals[0]!();
    await client.subscribe([id('b')]).ready; // waits behind what is repeated
    expect(app.rooms.subscriptionCount).toBe(2);
    app.publish(id('a'), 1);
    await until(() => heard.length === 1);
  });

  // A socket that is closing takes nothing any more, and has not said yet that it is closed: what was asked for then was called denied.
  it('carries what is asked for while the socket closes over to the next connection', async () => {
    const sockets: WebSocket[] = [];
    class KeptSocket extends WebSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        sockets.push(this);
      }
    }
    const client = start({}, { WebSocket: KeptSocket });
    await client.subscribe([id('a')]).ready;
    const waiting = waitsOnce(client);
    sockets[0]!.close();
    const some = client.subscribe([id('b')]);
    const fleet = client.subscribePattern(id('p.*'));
    const command = client.command(id('b'), 1);
    const heard = [record(some), record(fleet)];
    await waiting;
    client.connect();
    expect(await Promise.all([some.ready, fleet.ready])).toEqual([{ denied: [] }, { denied: [] }]);
    expect(heard.flat()).toEqual([]);
    await command;
  });

  it('shows every publication once, in order, over connections that are cut', async () => {
    const client = start({}, { batchMs: 5 });
    const ids = client.subscribe([id('a')]);
    const fleet = client.subscribePattern(`${prefix}p.*`, { rewind: { count: 1_000 } });
    const [ofA, ofFleet] = [payloads(ids), payloads(fleet)];
    const heard = record(fleet);
    await Promise.all([ids.ready, fleet.ready]);
    const states: string[] = [];
    client.on('state', ({ name }) => states.push(name));
    for (let n = 1; n <= 400; n += 1) {
      app.publish(id('a'), n);
      app.publish(id('p.b'), n);
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (n % 100 === 50) {
        const waiting = waitsOnce(client);
        proxy.cut();
        await waiting;
        client.connect();
      }
    }
    await until(() => ofA.at(-1) === 400 && ofFleet.at(-1) === 400, 20_000);
    expect(ofA).toEqual(numbers(1, 400));
    expect(ofFleet).toEqual(numbers(1, 400));
    expect(heard.filter((word) => word.startsWith('gap'))).toEqual([]);
    expect(states).toEqual(expect.arrayContaining(['waiting', 'connecting', 'resuming', 'live']));
  });

  it('says by one gap and a snapshot where publications are missing: at an instance that knows nothing', async () => {
    const other = own(await GatewayApp.start());
    const both = own(await startTcpProxy(app.port, other.port));
    const client = start({}, { url: `ws://127.0.0.1:${both.port}/ws` });
    const some = client.subscribe([id('a')]);
    const heard = record(some);
    await some.ready;
    app.publish(id('a'), 1);
    other.publish(id('a'), 'other');
    await until(() => heard.length === 1);
    both.cut();
    await until(() => heard.length === 3, 20_000);
    other.publish(id('a'), 2);
    await until(() => heard.length === 4);
    expect(heard).toEqual(['a 1', 'gap a', 'snapshot a "other"', 'a 2']);
  });

  // 150 ids of 128 CJK characters with their positions are 124 KB: the server closed with 1009 at the first reconnect, for good.
  it('cuts messages by bytes', async () => {
    const client = start();
    const ids = numbers(1, 150).map((n) => `${prefix}${'漢'.repeat(110)}${n}`);
    const some = client.subscribe(ids);
    expect(await some.ready).toEqual({ denied: [] });
    ids.forEach((one) => app.publish(one, 1));
    const all = payloads(some);
    await until(() => all.length >= 150);
    const waiting = waitsOnce(client);
    proxy.cut();
    await waiting;
    client.connect();
    await until(isLive(client), 20_000);
    ids.forEach((one) => app.publish(one, 2));
    await until(() => all.filter((value) => value === 2).length === 150);
    expect(client.state.name).toBe('live');
  });

  it('says what is missing of devices of a pattern that are more than may be resumed by id', async () => {
    const small = own(await GatewayApp.start({ WS_MAX_ROOMS_PER_CONNECTION: '3' }));
    const way = own(await startTcpProxy(small.port));
    const names = ['a', 'b', 'c', 'd', 'e'].map((name) => id(`p.${name}`));
    names.forEach((name) => small.publish(name, 1));
    const client = start({}, { url: `ws://127.0.0.1:${way.port}/ws` });
    const fleet = client.subscribePattern(id('p.*'));
    const heard = record(fleet);
    await until(() => heard.length === 10);
    way.refuse();
    await until(() => client.state.name === 'waiting');
    names.forEach((name) => small.publish(name, 2));
    way.heal();
    client.connect();
    await until(() => heard.length === 20, 20_000);
    names.forEach((name) => small.publish(name, 3));
    await until(() => heard.length === 25);
    expect(heard.filter((word) => word.includes('p.e'))).toEqual([
      'device p.e',
      'snapshot p.e 1',
      'gap p.e',
      'snapshot p.e 2',
      'p.e 3',
    ]);
  });

  it('is read by an iterator, which says how many it let go', async () => {
    const client = start();
    const some = client.subscribe([id('a')], { keep: 3 });
    await some.ready;
    const read: [unknown, number | undefined][] = [];
    const reader = (async () => {
      for await (const { payload, dropped } of some) {
        read.push([payload, dropped]);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    })();
    await new Promise(setImmediate);
    for (let n = 1; n <= 10; n += 1) {
      app.publish(id('a'), n);
    }
    await until(() => read.at(-1)?.[0] === 10);
    some.close();
    await reader;
    const lost = read.reduce((sum, [, dropped]) => sum + (dropped ?? 0), 0);
    expect(lost).toBeGreaterThan(0);
    expect(read.length + lost).toBe(10);
  });

  it('keeps the text of a payload, alone, in a batch and in a snapshot', async () => {
    app.publishText(id('a'), '{"v":1.50,"id":12345678901234567890,"s":"}\\"]"}');
    const client = start({}, { batchMs: 20 });
    const some = client.subscribe([id('a')]);
    const raws: unknown[] = [];
    some.on('snapshot', ({ telemetry }) => raws.push(telemetry?.raw));
    some.on('telemetry', ({ raw }) => raws.push(raw));
    await some.ready;
    app.publishText(id('a'), '[1.0 , 2]');
    app.publishText(id('a'), '9007199254740993');
    await until(() => raws.length === 3);
    expect(raws).toEqual([
      '{"v":1.50,"id":12345678901234567890,"s":"}\\"]"}',
      '[1.0 , 2]',
      '9007199254740993',
    ]);
  });

  describe('a command', () => {
    it('waits for a connection, and says what the broker said', async () => {
      const client = start();
      app.commands.answer = () => Promise.resolve('undelivered');
      expect(await client.command(id('a'), { v: 1 })).toEqual({ delivered: false });
      await client.command(id('a'), { raw: '{"v":1.50,"n":12345678901234567890}' });
      expect(app.commands.sent.at(-1)?.payload).toBe('{"v":1.50,"n":12345678901234567890}');
      app.commands.answer = () => Promise.resolve('delivered');
    });

    it('brings what the device answers, or says that it did not', async () => {
      const client = start();
      const answered = client.command(id('a'), { go: true }, { waitMs: 5_000 });
      await until(() => app.commands.sent.at(-1)?.deviceId === id('a'));
      app.commands.reply(app.commands.responseTopic, '{"done":1.50}', app.commands.correlations.at(-1));
      expect(await answered).toEqual({
        delivered: true,
        result: { outcome: 'replied', payload: { done: 1.5 } },
      });
      // The server's clock is the test's.
      const silent = client.command(id('b'), 1, { waitMs: 1_000 });
      await until(() => app.commands.sent.at(-1)?.deviceId === id('b'));
      await new Promise(setImmediate);
      app.clock.advance(1_000);
      expect(await silent).toMatchObject({ result: { outcome: 'timeout' } });
    });

    it('is answered again by its key after a lost connection, and not sent again', async () => {
      const client = start();
      const lost = client.command(id('a'), { go: true }, { waitMs: 5_000, key: 'k' });
      await until(() => app.commands.sent.at(-1)?.deviceId === id('a'));
      const sent = app.commands.sent.length;
      const correlation = app.commands.correlations.at(-1);
      proxy.cut();
      await expect(lost).rejects.toMatchObject({ code: 'connection_lost' });
      client.connect();
      const again = client.command(id('a'), { go: true }, { waitMs: 5_000, key: 'k' });
      await until(isLive(client), 20_000);
      app.commands.reply(app.commands.responseTopic, '"ok"', correlation);
      expect((await again).result).toEqual({ outcome: 'replied', payload: 'ok' });
      expect(app.commands.sent).toHaveLength(sent);
    });

    it('is refused where it can do harm, with a typed code', async () => {
      const client = start({ deviceIds: [id('a')] });
      await expect(client.command(id('b'), 1)).rejects.toMatchObject({ code: 'forbidden' });
      await expect(client.command(id('a'), { raw: '1,"type":"auth"' })).rejects.toMatchObject({
        code: 'invalid_message',
      });
      await expect(client.command(id('a'), undefined)).rejects.toMatchObject({ code: 'invalid_message' });
      await expect(client.command(id('a'), 'x'.repeat(70_000))).rejects.toMatchObject({
        code: 'payload_too_large',
      });
      expect(client.state.name).toBe('live');
    });

    it('is never sent later than its time, and says when it may have been sent', async () => {
      const client = start({}, { timeoutMs: 200 });
      const before = app.commands.sent.length;
      proxy.refuse();
      await expect(client.command(id('a'), 1)).rejects.toMatchObject({ code: 'not_connected' });
      proxy.heal();
      await until(isLive(client), 20_000);
      expect(app.commands.sent).toHaveLength(before);
      proxy.stall();
      await expect(client.command(id('a'), 2)).rejects.toMatchObject({ code: 'timeout' });
      const lost = client.command(id('a'), 3);
      proxy.cut();
      await expect(lost).rejects.toMatchObject({ code: 'connection_lost' });
    });
  });

  describe('the end of a connection', () => {
    const closeAll = (code: number, reason: string): void =>
      app.lifecycle.connections.forEach((connection) => connection.close(code, reason));

    it('says when it comes back', async () => {
      const client = start();
      await client.subscribe([id('a')]).ready;
      closeAll(1012, '{"retryAfterMs":60000}');
      await until(() => client.state.name === 'waiting');
      const { retryAt = 0, code, reason } = client.state;
      expect([code, reason]).toEqual([1012, expect.stringContaining('1012')]);
      expect(retryAt - Date.now()).toBeGreaterThan(50_000);
      client.connect();
      await until(isLive(client));
      expect(client.state).not.toHaveProperty('code');
    });

    it.each([4001, 4002])('asks for another token after %i', async (code) => {
      const rejected: boolean[] = [];
      const client = start(
        {},
        {
          token: (isRejected) => {
            rejected.push(isRejected);
            return signToken();
          },
        },
      );
      const some = client.subscribe([id('a')]);
      await some.ready;
      closeAll(code, 'gone');
      await until(() => rejected.length === 2 && client.state.name === 'live');
      expect(rejected).toEqual([false, true]);
    });

    it.each([1008, 1009])('stays away after %i until it is told to connect, and says so', async (code) => {
      const client = start();
      const errors: SluiceError[] = [];
      client.on('error', (error) => errors.push(error));
      const some = client.subscribe([id('a')]);
      await some.ready;
      closeAll(code, 'too much');
      await until(() => client.state.name === 'closed');
      expect(client.state).toMatchObject({ code, reason: 'too much' });
      expect(errors).toEqual([expect.objectContaining({ code: 'closed', closeCode: code })]);
      client.subscribe([id('b')]);
      await expect(client.command(id('a'), 1)).rejects.toMatchObject({ code: 'closed' });
      expect(client.state.name).toBe('closed');
      client.connect();
      await until(isLive(client));
    });

    it('is for good when a token has no successor', async () => {
      const client = start({}, { token: await signToken({ lifetimeS: 1 }) });
      client.subscribe([id('a')]);
      await until(() => client.state.name === 'live');
      closeAll(4002, 'token expired');
      await until(() => client.state.name === 'closed');
      expect(client.state).toMatchObject({ code: 4002, reason: expect.stringMatching(/token/) });
    });
  });

  it('ends everything at close, and opens again with the next subscription', async () => {
    const client = start();
    proxy.refuse();
    const some = client.subscribe([id('a')]);
    const command = client.command(id('a'), 1);
    const reading = (async () => {
      for await (const message of some) {
        return message;
      }
    })();
    client.close();
    await expect(some.ready).rejects.toMatchObject({ code: 'closed' });
    await expect(command).rejects.toMatchObject({ code: 'closed' });
    await expect(reading).resolves.toBeUndefined();
    expect([client.state.name, some.closed, some.get(id('a'))]).toEqual(['closed', true, undefined]);
    proxy.heal();
    await client.subscribe([id('a')]).ready;
  });

  it('closes a subscription by a signal', async () => {
    const client = start();
    const ended = new AbortController();
    const some = client.subscribe([id('a')], { signal: ended.signal });
    await some.ready;
    ended.abort();
    expect(some.closed).toBe(true);
    await until(() => app.rooms.subscriptionCount === 0);
  });
});
