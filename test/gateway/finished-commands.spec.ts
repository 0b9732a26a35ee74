import { once } from 'node:events';
import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { MAX_KEPT_REPLY_BYTES } from '../../src/gateway/commands/keyed-commands.js';
import { UnsentError } from '../../src/mqtt/command-publisher.js';
import { ProtocolError } from '../../src/protocol/errors.js';
import { type DashboardClient, connect } from '../support/dashboard-client.js';
import { GatewayApp } from './gateway-app.js';
import { until } from './until.js';

const REPLIES = 'sluice/replies';

describe('commands that finish', () => {
  let app: GatewayApp;
  beforeAll(async () => {
    app = await GatewayApp.start({
      COMMAND_MAX_WAITING: '20',
      COMMAND_MAX_WAITING_PER_CONNECTION: '12',
      COMMAND_DEVICE_MAX_PER_SECOND: '10',
      'commands.maxKeys': '100',
      COMMAND_KEY_TTL_MS: '1000',
      'ws.maxMessageBurst': '1000',
    });
  });
  afterAll(() => app.stop());
  beforeEach(() => {
    app.commands.sent.length = 0;
    app.commands.correlations.length = 0;
    app.commands.answer = () => Promise.resolve('delivered');
  });
  afterEach(() => jest.restoreAllMocks());

  let devices = 0;
  let deviceId = '';
  let client: DashboardClient;
  const clients: DashboardClient[] = [];
  const open = async (userId = 'ann'): Promise<DashboardClient> => {
    const opened = await connect(app.url, { claims: { userId, deviceIds: ['*'] } });
    clients.push(opened);
    await opened.next('connected');
    return opened;
  };
  beforeEach(async () => {
    deviceId = `device-${(devices += 1)}`;
    client = await open();
  });
  afterEach(async () => {
    clients.splice(0).forEach(({ socket }) => socket.close());
    await until(async () => (await app.metrics.commandsWaiting.get()).values[0]?.value === 0);
  });

  const command = (fields: object, from = client): void =>
    from.send({ type: 'command', deviceId, command: { go: 1 }, ...fields });
  /** Sends it, and waits until it is published. */
  const published = async (fields: object, from = client): Promise<string> => {
    const before = app.commands.correlations.length;
    command(fields, from);
    await until(() => app.commands.correlations.length > before);
    return app.commands.correlations.at(-1) as string;
  };
  const counted = async (metric: 'commandReplies' | 'commandResults', outcome: string): Promise<number> =>
    (await app.metrics[metric].get()).values.find(({ labels }) => labels['outcome'] === outcome)?.value ?? 0;

  describe('waitMs', () => {
    it('brings exactly one command_result after command_sent, with what the device wrote', async () => {
      const correlation = await published({ id: 'c', waitMs: 5_000 });
      await client.next('command_sent');
      const raw = once(client.socket, 'message');
      app.commands.reply(REPLIES, ' {"v": 1.50, "big":12345678901234567890}\n', correlation);
      app.commands.reply(REPLIES, '"second"', correlation);
      const result = await client.next('command_result');
      expect(result).toEqual({
        type: 'command_result',
        deviceId,
        id: 'c',
        outcome: 'replied',
        payload: { v: 1.5, big: expect.any(Number) },
        serverTs: app.clock.now(),
      });
      expect(String((await raw)[0])).toContain('"payload":{"v": 1.50, "big":12345678901234567890}');
      await client.roundTrip();
      expect(client.all('command_result')).toHaveLength(1);
      expect(await counted('commandReplies', 'late')).toBeGreaterThanOrEqual(1);
    });

    it('says timeout when nothing comes, and then an answer is late', async () => {
      const correlation = await published({ waitMs: 1 });
      await client.next('command_sent');
      expect(await client.next('command_result')).toEqual({
        type: 'command_result',
        deviceId,
        outcome: 'timeout',
        serverTs: app.clock.now(),
      });
      const late = await counted('commandReplies', 'late');
      app.commands.reply(REPLIES, '1', correlation);
      expect(await counted('commandReplies', 'late')).toBe(late + 1);
    });

    it('keeps the order when the device is quicker than the PUBACK', async () => {
      let acknowledge = (): void => undefined;
      app.commands.answer = () => new Promise((resolve) => (acknowledge = () => resolve('unknown')));
      const correlation = await published({ waitMs: 5_000 });
      app.commands.reply(REPLIES, 'true', correlation);
      acknowledge();
      await client.next('command_result');
      const types = client.received.map(({ type }) => type).filter((type) => type.startsWith('command'));
      expect(types).toEqual(['command_sent', 'command_result']);
      expect(client.all('command_sent')).toEqual([{ type: 'command_sent', deviceId }]);
    });

    it('is no result, but an error alone, for a command that was not sent', async () => {
      app.commands.answer = () => Promise.reject(new ProtocolError('broker_unavailable', 'away'));
      command({ waitMs: 1, id: 7 });
      expect(await client.next('error')).toMatchObject({ code: 'broker_unavailable', id: 7 });
      await client.roundTrip();
      expect(client.all('command_result')).toEqual([]);
    });

    it('goes on over answers that are not JSON, or nested too deep', async () => {
      const correlation = await published({ waitMs: 5_000 });
      for (const [payload, outcome] of [
        ['', 'not_json'],
        ['{"a":', 'not_json'],
        ['[]]', 'not_json'],
        ['['.repeat(65) + ']'.repeat(65), 'too_deep'],
      ] as const) {
        const before = await counted('commandReplies', outcome);
        app.commands.reply(REPLIES, payload, correlation);
        expect(await counted('commandReplies', outcome)).toBe(before + 1);
      }
      app.commands.reply(REPLIES, '['.repeat(64) + ']'.repeat(64), correlation);
      expect((await client.next('command_result')).outcome).toBe('replied');
    });

    it('takes no answer that shows another secret, or none', async () => {
      const correlation = await published({ waitMs: 300 });
      expect(correlation).toMatch(/^[\w-]{22}$/);
      for (const guess of ['', correlation.slice(1), `${correlation} `, 'A'.repeat(22)]) {
        app.commands.reply(REPLIES, '1', guess);
      }
      app.commands.reply(`devices/${deviceId}/replies`, '1', correlation);
      expect((await client.next('command_result')).outcome).toBe('timeout');
    });

    it('gives each command a secret of its own, also where nobody waits', async () => {
      const secrets = [await published({}), await published({ waitMs: 1 }), await published({ key: 'k' })];
      expect(new Set(secrets).size).toBe(3);
      expect(secrets.every(({ length }) => length === 22)).toBe(true);
    });

    it.each([0, -1, 1.5, 60_001, '5', null, true, []])('is refused as %j', async (waitMs) => {
      command({ waitMs, id: 1 });
      expect(await client.next('error')).toMatchObject({ code: 'invalid_message', id: 1, deviceId });
      expect(app.commands.sent).toEqual([]);
    });
  });

  describe('an answer on the topic of the device', () => {
    const reply = (payload: string, from = deviceId): void =>
      app.commands.reply(`devices/${from}/replies`, payload);

    it.each([
      ['{"id":7}', '{"id":7,"ok":true}'],
      ['{"id":7}', '{"ok":[],"id":7.0}'],
      ['{"id":"7"}', '{"id":"\\u0037"}'],
      ['{"id":null}', '{"id":null}'],
      ['{"id":{"a":[1]}}', '{"id":{ "a":[1] }}'],
      ['{"id":1,"id":2}', '{"id":2}'],
      ['{"id":12345678901234567890}', '{"id":12345678901234567890}'],
      [`{"id":"${'x'.repeat(500)}"}`, `{"id":"${'x'.repeat(500)}"}`],
    ])('belongs to %s as %s', async (sent, answer) => {
      client.sendRaw(`{"type":"command","deviceId":"${deviceId}","command":${sent},"waitMs":5000}`);
      await client.next('command_sent');
      reply(answer);
      expect(await client.next('command_result')).toMatchObject({ outcome: 'replied' });
    });

    it.each([
      ['{"id":7}', '{"id":"7"}'],
      ['{"id":"7"}', '{"id":7}'],
      ['{"id":true}', '{"id":"true"}'],
      ['{"id":null}', '{}'],
      ['{"id":12345678901234567890}', '{"id":12345678901234567891}'],
      ['{"id":7}', '[7]'],
      ['{"id":7}', '7'],
      ['{"a":{"id":7}}', '{"id":7}'],
      ['{}', '{"id":null}'],
      ['7', '{"id":7}'],
      ['[{"id":7}]', '{"id":7}'],
      ['"{\\"id\\":7}"', '{"id":7}'],
    ])('does not belong to %s as %s', async (sent, answer) => {
      client.sendRaw(`{"type":"command","deviceId":"${deviceId}","command":${sent},"waitMs":100}`);
      await client.next('command_sent');
      reply(answer);
      expect(await client.next('command_result')).toMatchObject({ outcome: 'timeout' });
    });

    it('belongs to no command of another device', async () => {
      client.send({ type: 'command', deviceId, command: { id: 1 }, waitMs: 100 });
      await client.next('command_sent');
      reply('{"id":1}', 'eve');
      reply('{"id":1}', `${deviceId}/x`);
      reply('{"id":1}', '');
      expect(await client.next('command_result')).toMatchObject({ outcome: 'timeout' });
    });

    it('goes to the oldest of two commands with one id, and the next one to the other', async () => {
      const other = await open('bob');
      client.send({ type: 'command', deviceId, command: { id: 1 }, waitMs: 5_000 });
      await client.next('command_sent');
      other.send({ type: 'command', deviceId, command: { id: 1 }, waitMs: 5_000 });
      await other.next('command_sent');
      reply('{"id":1,"n":1}');
      reply('{"id":1,"n":2}');
      expect((await client.next('command_result')).payload).toMatchObject({ n: 1 });
      expect((await other.next('command_result')).payload).toMatchObject({ n: 2 });
    });
  });

  describe('key', () => {
    const unique = (): string => `key-${(devices += 1)}`;

    it('publishes once, and gives the answers of the first to everybody who asks with it', async () => {
      const key = unique();
      let acknowledge = (): void => undefined;
      app.commands.answer = () => new Promise((resolve) => (acknowledge = () => resolve('undelivered')));
      const correlation = await published({ key, waitMs: 5_000, id: 1 });
      const second = await open();
      command({ key, id: 2 });
      command({ key, id: 3, waitMs: 5_000 }, second);
      await Promise.all([client.roundTrip(), second.roundTrip()]);
      acknowledge();
      for (const [from, id] of [
        [client, 1],
        [client, 2],
        [second, 3],
      ] as const) {
        expect(await from.next('command_sent', (sent) => sent.id === id)).toMatchObject({ delivered: false });
      }
      app.commands.reply(REPLIES, '{"done":true}', correlation);
      expect(await client.next('command_result')).toMatchObject({ id: 1, payload: { done: true } });
      expect(await second.next('command_result')).toMatchObject({ id: 3, payload: { done: true } });
      // Who asks later hears it at once.
      const third = await open();
      command({ key, id: 4, waitMs: 5_000 }, third);
      expect(await third.next('command_result')).toMatchObject({ id: 4, payload: { done: true } });
      expect(app.commands.sent).toHaveLength(1);
    });

    it('collects its answer without waitMs, and for a client that left', async () => {
      const key = unique();
      const correlation = await published({ key });
      await client.next('command_sent');
      client.socket.terminate();
      app.commands.reply(REPLIES, '"done"', correlation);
      const again = await open();
      command({ key, waitMs: 5_000 }, again);
      expect(await again.next('command_result')).toMatchObject({ outcome: 'replied', payload: 'done' });
      expect(app.commands.sent).toHaveLength(1);
    });

    it('is of one user and one device', async () => {
      const key = unique();
      await published({ key });
      await published({ key }, await open('bob'));
      client.send({ type: 'command', deviceId: `${deviceId}-b`, command: { go: 1 }, key });
      await until(() => app.commands.sent.length === 3);
    });

    it('is free again after its time', async () => {
      const key = unique();
      await published({ key });
      await client.next('command_sent');
      await until(async () => (await app.metrics.commandKeys.get()).values[0]?.value === 0);
      await published({ key });
    });

    it('with another text is a key_conflict, which is the same text to the letter', async () => {
      const key = unique();
      await published({ key });
      command({ key, command: { go: 2 }, id: 'x' });
      expect(await client.next('error')).toMatchObject({ code: 'key_conflict', id: 'x', deviceId });
      client.sendRaw(
        `{"type":"command","deviceId":"${deviceId}","command":{"go":1.0},"key":${JSON.stringify(key)},"id":"y"}`,
      );
      expect(await client.next('error')).toMatchObject({ code: 'key_conflict', id: 'y' });
      expect(app.commands.sent).toHaveLength(1);
    });

    it('of a command that was certainly not sent is free', async () => {
      const key = unique();
      for (const error of [
        new UnsentError('the broker is not connected'),
        new ProtocolError('payload_too_large', 'too large'),
        new ProtocolError('forbidden', 'Forbidden'),
      ]) {
        app.commands.answer = () => Promise.reject(error);
        command({ key });
        expect(await client.next('error')).toMatchObject({ code: error.code });
      }
      app.commands.answer = () => Promise.resolve('delivered');
      command({ key });
      await client.next('command_sent');
      expect(app.commands.sent).toHaveLength(4);
    });

    it('of a command that was not acknowledged stays broker_unavailable', async () => {
      const key = unique();
      app.commands.answer = () => Promise.reject(new ProtocolError('broker_unavailable', 'no PUBACK'));
      command({ key });
      await client.next('error');
      app.commands.answer = () => Promise.resolve('delivered');
      command({ key, waitMs: 1_000, id: 2 });
      expect(await client.next('error')).toMatchObject({ code: 'broker_unavailable', id: 2 });
      expect(app.commands.sent).toHaveLength(1);
    });

    it('does not let in who may not command the device', async () => {
      const key = unique();
      await published({ key });
      const narrow = await connect(app.url, { claims: { userId: 'ann', deviceIds: ['other'] } });
      clients.push(narrow);
      command({ key, waitMs: 10 }, narrow);
      expect(await narrow.next('error')).toMatchObject({ code: 'forbidden' });
    });

    it('of one user are a tenth of all', async () => {
      const ned = await open('ned');
      for (let n = 0; n < 10; n += 1) {
        await published({ key: unique() }, ned);
      }
      command({ key: unique() }, ned);
      expect(await ned.next('error')).toMatchObject({ code: 'too_many_commands' });
      await published({ key: unique() }, await open('bob'));
    });

    it('of all users together are bounded too', async () => {
      const keysNow = async (): Promise<number> =>
        (await app.metrics.commandKeys.get()).values[0]?.value ?? 0;
      await until(async () => (await keysNow()) === 0);
      const users = await Promise.all(Array.from({ length: 10 }, (_, n) => open(`user-${n}`)));
      users.forEach((user) => {
        for (let n = 0; n < 10; n += 1) {
          user.send({ type: 'command', deviceId: `${deviceId}-${n}`, command: n, key: unique() });
        }
      });
      await until(async () => (await keysNow()) === 100);
      command({ key: unique() });
      expect(await client.next('error')).toMatchObject({ code: 'too_many_commands' });
      command({});
      await client.next('command_sent');
      await until(async () => (await keysNow()) === 0);
    });

    it('keeps answers up to a bound, and says of others that there was one', async () => {
      const answer = JSON.stringify('x'.repeat(MAX_KEPT_REPLY_BYTES / 3));
      const keys = [unique(), unique(), unique()];
      for (const key of keys) {
        app.commands.reply(REPLIES, answer, await published({ key }));
      }
      command({ key: keys[2], waitMs: 1_000 });
      const result = await client.next('command_result');
      expect(result).toMatchObject({ outcome: 'replied' });
      expect(result).not.toHaveProperty('payload');
    });

    it.each(['', 'x'.repeat(129), 7, null, {}])('is refused as %j', async (key) => {
      command({ key, id: 1 });
      expect(await client.next('error')).toMatchObject({ code: 'invalid_message', id: 1 });
      expect(app.commands.sent).toEqual([]);
    });
  });

  describe('limits', () => {
    it('let a connection wait for so many commands, which are not in work, and free the places when it leaves', async () => {
      for (let id = 1; id <= 13; id += 1) {
        command({ id, waitMs: 60_000 });
      }
      expect(await client.next('error')).toMatchObject({ code: 'too_many_commands', id: 13, deviceId });
      await client.collect('command_sent', 12);
      command({ id: 'without' });
      await client.next('command_sent', ({ id }) => id === 'without');
      const abandoned = await counted('commandResults', 'abandoned');
      client.socket.terminate();
      await until(async () => (await counted('commandResults', 'abandoned')) === abandoned + 12);
      const again = await open();
      command({ waitMs: 1 }, again);
      await again.next('command_result');
    });

    it('let an instance wait for so many in all', async () => {
      const others = [await open('bob'), await open('eve')];
      for (const from of others) {
        for (let id = 1; id <= 12; id += 1) {
          command({ id, waitMs: 60_000 }, from);
        }
      }
      await until(() => others.flatMap((from) => from.all('error')).length === 4);
      expect(others.flatMap((from) => from.all('error'))).toMatchObject(
        Array.from({ length: 4 }, () => ({ code: 'too_many_commands' })),
      );
    });

    it('let a device get so many a second, and close nobody for it', async () => {
      for (let id = 0; id < 190; id += 1) {
        command({ id });
      }
      await until(() => client.all('command_sent').length + client.all('error').length === 190);
      const errors = client.all('error');
      expect(errors.length).toBeGreaterThan(100);
      expect(errors[0]).toMatchObject({ code: 'rate_limited', deviceId, retryAfterMs: expect.any(Number) });
      client.send({ type: 'command', deviceId: `${deviceId}-b`, command: 1 });
      await client.next('command_sent', (sent) => sent.deviceId === `${deviceId}-b`);
    });
  });

  it('have a line each in the log of who sent them, for what became of them too', async () => {
    const lines: unknown[] = [];
    const amy = await open('amy'); // lines of commands that were not published are sampled, by user
    jest.spyOn(Logger.prototype, 'log').mockImplementation((line: unknown) => void lines.push(line));
    const correlation = await published({ key: 'audit', id: 1, waitMs: 5_000 }, amy);
    await amy.next('command_sent');
    app.commands.reply(REPLIES, '{"secret":1}', correlation);
    await amy.next('command_result');
    command({ key: 'audit', id: 2, waitMs: 5_000 }, amy);
    await amy.next('command_result');
    command({ id: 3, waitMs: 1 }, amy);
    await amy.next('command_result');
    const connectionId = amy.all('connected')[0]?.connectionId;
    const line = { msg: 'command', userId: 'amy', connectionId, deviceId };
    expect(lines.filter((one) => (one as { deviceId: string }).deviceId === deviceId)).toEqual([
      { ...line, id: 1, outcome: 'sent' },
      { ...line, id: 1, outcome: 'replied' },
      { ...line, id: 2, outcome: 'repeated' },
      { ...line, id: 2, outcome: 'replied' },
      { ...line, id: 3, outcome: 'sent' },
      { ...line, id: 3, outcome: 'timeout' },
    ]);
  });
});
