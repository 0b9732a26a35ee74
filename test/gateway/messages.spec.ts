import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { ProtocolError } from '../../src/protocol/errors.js';
import { type DashboardClient, connect } from '../support/dashboard-client.js';
import { GatewayApp } from './gateway-app.js';
import { until } from './until.js';

describe('messages of a client', () => {
  let app: GatewayApp;
  beforeEach(async () => {
    app = await GatewayApp.start({ WS_MAX_ROOMS_PER_CONNECTION: '3', 'ws.maxInFlight': '4' });
  });
  afterEach(() => app.stop());

  const open = async (claims = {}, query = {}): Promise<DashboardClient> => {
    const client = await connect(app.url, { claims: { userId: 'ann', ...claims }, query });
    await client.next('connected');
    return client;
  };

  describe('opening', () => {
    it('joins the exact ids of the token in one answer without id, patterns are not expanded', async () => {
      const client = await open({ deviceIds: ['a', 'plant-*', 'b', 'x/y'] });
      const subscribed = await client.next('subscribed');
      expect(subscribed.rooms.map(({ deviceId }) => deviceId)).toEqual(['a', 'b']);
      expect(subscribed.denied).toEqual([]);
      expect(subscribed).not.toHaveProperty('id');
      await client.roundTrip();
      expect(client.all('snapshot')).toEqual([]);
    });

    it('joins nothing with ?subscribe=none', async () => {
      const client = await open({ deviceIds: ['a'] }, { subscribe: 'none' });
      await client.roundTrip();
      expect(client.received.map(({ type }) => type)).toEqual(['connected', 'pong']);
    });

    it('joins as many as allowed, then says too_many_rooms', async () => {
      const client = await open({ deviceIds: ['a', 'b', 'c', 'd'] });
      expect((await client.next('subscribed')).rooms).toHaveLength(3);
      expect(await client.next('error')).toMatchObject({ code: 'too_many_rooms' });
      await client.roundTrip();
    });

    it('takes the lower bound of rooms that a token names', async () => {
      const client = await open({ deviceIds: ['a', 'b'], maxRooms: 1 });
      expect((await client.next('subscribed')).rooms).toHaveLength(1);
      expect(await client.next('error')).toMatchObject({ code: 'too_many_rooms' });
    });

    it('says right after connected when device messages cannot come, and everybody when that changes', async () => {
      const before = await open();
      app.upstream.set(false);
      expect(await before.next('upstream')).toEqual({
        type: 'upstream',
        mqtt: 'down',
        changedAt: app.upstream.changedAt,
      });
      const after = await open();
      await after.next('upstream', ({ mqtt }) => mqtt === 'down');
      expect(after.received.slice(0, 2).map(({ type }) => type)).toEqual(['connected', 'upstream']);
      app.upstream.set(true);
      await before.next('upstream', ({ mqtt }) => mqtt === 'up');
      await after.next('upstream', ({ mqtt }) => mqtt === 'up');
    });

    it('answers a token sent as first message by connected, then authenticated', async () => {
      const client = await connect(app.url, { claims: { deviceIds: ['a'] }, via: 'message' });
      await client.next('subscribed');
      expect(client.received.slice(0, 3).map(({ type }) => type)).toEqual([
        'connected',
        'authenticated',
        'subscribed',
      ]);
    });
  });

  describe('subscribe and unsubscribe', () => {
    it('lists what is malformed or not granted in denied', async () => {
      const client = await open({ deviceIds: ['plant-*'] });
      client.send({
        type: 'subscribe',
        id: 's',
        deviceIds: ['plant-1', 'other', 'plant-a/b', '', '+', 'plant-1'],
      });
      expect(await client.next('subscribed', ({ id }) => id === 's')).toMatchObject({
        rooms: [{ deviceId: 'plant-1', offset: 0 }],
        denied: ['other', 'plant-a/b', '', '+'],
      });
    });

    it('denies everything to a token without read', async () => {
      const client = await open({ deviceIds: ['a'], permissions: ['command'] });
      client.send({ type: 'subscribe', id: 1, deviceIds: ['a'] });
      expect(await client.next('subscribed', ({ id }) => id === 1)).toMatchObject({
        rooms: [],
        denied: ['a'],
      });
    });

    it('refuses as a whole what goes over the bound of rooms, and counts rooms only once', async () => {
      const client = await open();
      client.send({ type: 'subscribe', id: 1, deviceIds: ['a', 'b'] });
      client.send({ type: 'subscribe', id: 2, deviceIds: ['b', 'c', 'd'] });
      client.send({ type: 'subscribe', id: 3, deviceIds: ['a', 'b', 'c'] });
      expect(await client.next('error')).toMatchObject({ code: 'too_many_rooms', id: 2 });
      expect((await client.next('subscribed', ({ id }) => id === 3)).rooms).toHaveLength(3);
      client.send({ type: 'unsubscribe', id: 4, deviceIds: ['a'] });
      client.send({ type: 'subscribe', id: 5, deviceIds: ['d'] });
      await client.next('subscribed', ({ id }) => id === 5);
    });

    it('delivers until the room is left, to every connection in it', async () => {
      const [one, two] = [await open({ deviceIds: ['a'] }), await open({ deviceIds: ['a'] })];
      await one.next('subscribed');
      await two.next('subscribed');
      app.publish('a', 1);
      await one.next('telemetry');
      one.send({ type: 'unsubscribe', id: 'u', deviceIds: ['a', 'never-joined'] });
      expect(await one.next('unsubscribed')).toEqual({
        type: 'unsubscribed',
        id: 'u',
        deviceIds: ['a', 'never-joined'],
      });
      app.publish('a', 2);
      await two.next('telemetry', ({ payload }) => payload === 2);
      await one.roundTrip();
      expect(one.all('telemetry')).toHaveLength(1);
    });
  });

  describe('command', () => {
    it('reaches the device exactly as the client wrote it', async () => {
      const client = await open();
      client.sendRaw(
        '{"type":"command", "id":"c1", "command": {"n": 1.0, "big":12345678901234567890} ,"deviceId":"a"}',
      );
      expect(await client.next('command_sent')).toEqual({
        type: 'command_sent',
        deviceId: 'a',
        id: 'c1',
        delivered: true,
      });
      client.send({ type: 'command', deviceId: 'a', command: null });
      expect(await client.next('command_sent')).toEqual({
        type: 'command_sent',
        deviceId: 'a',
        delivered: true,
      });
      expect(app.commands.sent).toEqual([
        { deviceId: 'a', payload: '{"n": 1.0, "big":12345678901234567890}' },
        { deviceId: 'a', payload: 'null' },
      ]);
      expect(await app.count('commands', { outcome: 'sent' })).toBe(2);
    });

    it('says when nobody was subscribed', async () => {
      const client = await open();
      app.commands.answer = () => Promise.resolve('undelivered');
      client.send({ type: 'command', deviceId: 'a', command: 1, id: 0 });
      expect(await client.next('command_sent')).toMatchObject({ delivered: false, id: 0 });
      expect(await app.count('commands', { outcome: 'undelivered' })).toBe(1);
    });

    it.each([
      ['another device', { deviceIds: ['b'] }],
      ['a token without the permission', { deviceIds: ['a'], permissions: ['read'] }],
    ])('is Forbidden for %s', async (_, claims) => {
      const client = await open(claims);
      client.send({ type: 'command', deviceId: 'a', command: 1, id: 'x' });
      expect(await client.next('error')).toEqual({
        type: 'error',
        error: 'Forbidden',
        code: 'forbidden',
        id: 'x',
        deviceId: 'a',
      });
      expect(app.commands.sent).toEqual([]);
      expect(await app.count('commands', { outcome: 'forbidden' })).toBe(1);
    });

    it('is refused over its limit and while the broker is away', async () => {
      const client = await open();
      client.send({ type: 'command', deviceId: 'a', command: 'é'.repeat(16_384), id: 1 });
      expect(await client.next('error')).toMatchObject({ code: 'payload_too_large', id: 1, deviceId: 'a' });
      app.commands.answer = () => Promise.reject(new ProtocolError('broker_unavailable', 'away'));
      client.send({ type: 'command', deviceId: 'a', command: 1, id: 2 });
      expect(await client.next('error')).toMatchObject({ code: 'broker_unavailable', id: 2, deviceId: 'a' });
      expect(await app.count('commands', { outcome: 'too_large' })).toBe(1);
      expect(await app.count('commands', { outcome: 'unavailable' })).toBe(1);
    });

    it('that fails for no known reason is answered internal, and nothing of the reason is told', async () => {
      const client = await open();
      app.commands.answer = () => Promise.reject(new Error('secret detail'));
      client.send({ type: 'command', deviceId: 'a', command: 1, id: 2 });
      expect(await client.next('error')).toEqual({
        type: 'error',
        error: 'Internal error',
        code: 'internal',
        id: 2,
        deviceId: 'a',
      });
    });

    it('leaves one line in the log with who, what device, which message and the outcome, never what it said', async () => {
      const lines: unknown[] = [];
      const log = jest
        .spyOn(Logger.prototype, 'log')
        .mockImplementation((line: unknown) => void lines.push(line));
      const client = await open({ deviceIds: ['a'] });
      client.send({ type: 'command', deviceId: 'a', command: 'open the sesame', id: 'c1' });
      client.send({ type: 'command', deviceId: 'b', command: 'open the sesame' });
      await client.next('command_sent');
      await client.next('error');
      log.mockRestore();
      const connectionId = client.all('connected')[0]?.connectionId;
      expect(lines).toEqual([
        { msg: 'command', userId: 'ann', connectionId, deviceId: 'b', id: undefined, outcome: 'forbidden' },
        { msg: 'command', userId: 'ann', connectionId, deviceId: 'a', id: 'c1', outcome: 'sent' },
      ]);
      expect(JSON.stringify(lines)).not.toContain('sesame');
    });

    it('does not hold up other messages, until as many are in work as allowed; then reading pauses', async () => {
      const client = await open();
      const answers: (() => void)[] = [];
      app.commands.answer = () => new Promise((resolve) => answers.push(() => resolve('delivered')));
      for (let id = 1; id <= 3; id += 1) {
        client.send({ type: 'command', deviceId: 'a', command: id, id });
      }
      await client.roundTrip();
      client.send({ type: 'command', deviceId: 'a', command: 4, id: 4 });
      client.send({ type: 'ping', id: 'held' });
      client.send({ type: 'command', deviceId: 'a', command: 5, id: 5 });
      await until(() => [...app.lifecycle.connections].some(({ isPaused }) => isPaused));
      expect(app.commands.sent).toHaveLength(4);
      answers[0]?.();
      await client.next('command_sent', ({ id }) => id === 1);
      await client.next('pong', ({ id }) => id === 'held');
      await until(() => answers.length === 5);
      answers.forEach((answer) => answer());
      await client.next('command_sent', ({ id }) => id === 5);
      await client.roundTrip();
    });
  });

  describe('ping', () => {
    it('is answered with its id and the time', async () => {
      const client = await open();
      client.send({ type: 'ping', id: 0 });
      expect(await client.next('pong')).toEqual({ type: 'pong', id: 0, serverTs: app.clock.now() });
      client.send({ type: 'ping' });
      expect(await client.next('pong')).toEqual({ type: 'pong', serverTs: app.clock.now() });
    });

    it('as a WebSocket frame is answered too, with its bytes', async () => {
      const client = await open();
      const pong = new Promise<string>((resolve) =>
        client.socket.once('pong', (data: Buffer) => resolve(data.toString())),
      );
      client.socket.ping('abc');
      expect(await pong).toBe('abc');
    });
  });

  it('are counted by type and outcome, with no text of the client in a label', async () => {
    const client = await open();
    client.send({ type: 'ping' });
    client.send({ type: 'x'.repeat(100) });
    client.send({ type: 'command', deviceId: 'a/b', command: 1 });
    await client.roundTrip();
    expect(await app.count('clientMessages', { type: 'ping', outcome: 'ok' })).toBe(2);
    expect(await app.count('clientMessages', { type: 'invalid', outcome: 'unknown_type' })).toBe(1);
    expect(await app.count('clientMessages', { type: 'invalid', outcome: 'forbidden' })).toBe(1);
  });
});
