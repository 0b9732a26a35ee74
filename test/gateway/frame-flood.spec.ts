import type { Socket } from 'node:net';
import { connect, type DashboardClient } from '../support/dashboard-client.js';
import { liveHeapBytes } from '../support/live-heap.js';
import { signToken } from '../support/tokens.js';
import { GatewayApp } from './gateway-app.js';
import { clientFrame, rawSocket } from './raw-upgrade.js';
import { until } from './until.js';

const PONG = clientFrame(10, '');
const times = (count: number, frame: Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, () => frame));
const socketOf = (client: DashboardClient): Socket =>
  (client.socket as unknown as { _socket: Socket })._socket;

/** Writes as long as the socket lives, as fast as it takes it. */
function flood(socket: Socket, block: Buffer): void {
  socket.on('error', () => undefined);
  socket.resume();
  const write = (): void => {
    while (!socket.destroyed && socket.writable) {
      if (!socket.write(block)) {
        socket.once('drain', write);
        return;
      }
    }
  };
  write();
}

/** What ws keeps of a message that is not whole. */
interface Receiver {
  readonly _fragments: readonly unknown[];
  readonly _buffers: readonly Buffer[];
  readonly _bufferedBytes: number;
}

/** Of the heap, and of buffers beside it. */
function liveBytes(): number {
  const heap = liveHeapBytes();
  return heap + process.memoryUsage().arrayBuffers;
}

describe('a flood of frames', () => {
  let app: GatewayApp;
  afterEach(() => app.stop());

  const nothingLeft = () =>
    until(async () => Object.values(await app.leftovers()).every((count) => count === 0));

  // Pongs were not counted, and before the token nothing was: connections without a token could send them for as long as they lived.
  it.each<[string, Buffer]>([
    ['pongs', times(33, PONG)],
    ['pings', times(33, clientFrame(9, ''))],
    [
      'parts of a first message',
      Buffer.concat([clientFrame(1, '', { fin: false }), times(32, clientFrame(0, '', { fin: false }))]),
    ],
  ])('before the token ends the connection: %s', async (_, bytes) => {
    app = await GatewayApp.start({ 'ws.authTimeoutMs': '60000' });
    await rawSocket(app.port, '/ws', bytes);
    await until(async () => (await app.count('connectionsClosed', { code: '1006' })) === 1);
    expect(await app.count('connections', { outcome: 'unauthorized' })).toBe(1);
    await nothingLeft();
  });

  it('before the token is no flood while it is a few, and the token may come in parts', async () => {
    app = await GatewayApp.start();
    const client = await connect(app.url, { token: null });
    const auth = JSON.stringify({ type: 'auth', token: await signToken() });
    socketOf(client).write(
      Buffer.concat([
        times(10, PONG),
        times(10, clientFrame(9, '')),
        clientFrame(1, auth.slice(0, 20), { fin: false }),
        clientFrame(0, auth.slice(20)),
      ]),
    );
    await client.next('authenticated');
    await client.close();
  });

  it('of a frame without end before the token is kept no longer than the token is waited for', async () => {
    app = await GatewayApp.start({ 'ws.authTimeoutMs': '300' });
    const socket = await rawSocket(app.port, '/ws', clientFrame(1, 'x'.repeat(60_000)).subarray(0, 30_000));
    socket.resume();
    await until(async () => (await app.count('connectionsClosed', { code: '4001' })) === 1);
    await nothingLeft();
  });

  // A thousand parts of one byte took 150 KiB of each connection without a token, also after it had been refused.
  it('before the token takes no more memory than a few times its bytes, in parts or in pieces', async () => {
    app = await GatewayApp.start({ 'ws.authTimeoutMs': '60000' });
    const sockets = await Promise.all(Array.from({ length: 100 }, () => rawSocket(app.port, '/ws')));
    sockets.forEach((socket) => socket.setNoDelay(true).on('error', () => undefined));
    const receivers = () =>
      [...app.lifecycle.connections].map((one) => (one as unknown as { _receiver: Receiver })._receiver);
    await until(() => app.lifecycle.connections.size === sockets.length);
    const before = liveBytes();
    /** Writes it a byte at a time, as far as the network lets it. */
    const dribble = async (bytes: Buffer, has: (receiver: Receiver) => boolean): Promise<number> => {
      for (const byte of bytes) {
        sockets.forEach((socket) => socket.write(Buffer.of(byte)));
        await new Promise((resolve) => setImmediate(resolve));
      }
      await until(() => receivers().every(has));
      return (liveBytes() - before) / sockets.length;
    };
    const part = (opcode: number): Buffer => clientFrame(opcode, 'x', { fin: false });
    const parts = Buffer.concat([part(1), times(30, part(0))]);
    expect(await dribble(parts, ({ _fragments }) => _fragments.length === 31)).toBeLessThan(16 * 1024);
    const pieces = clientFrame(0, 'x'.repeat(60_000)).subarray(0, 400);
    expect(await dribble(pieces, ({ _bufferedBytes }) => _bufferedBytes > 390)).toBeLessThan(32 * 1024);
    expect(receivers().every(({ _buffers }) => _buffers.length <= 65)).toBe(true);
    sockets.forEach((socket) => socket.destroy());
    await nothingLeft();
  });

  it('of pongs that answer no ping is closed with 1008, as one of pings is', async () => {
    app = await GatewayApp.start();
    const client = await connect(app.url);
    socketOf(client).write(times(500, PONG));
    expect((await client.closed).code).toBe(1008);
    expect(client.all('error').length).toBe(100);
  });

  it('is not what the heartbeat asks for: its pongs are free', async () => {
    app = await GatewayApp.start({
      WS_HEARTBEAT_MS: '100',
      WS_MAX_MESSAGES_PER_SECOND: '1',
      'ws.maxMessageBurst': '1',
    });
    const client = await connect(app.url);
    let pings = 0;
    client.socket.on('ping', () => (pings += 1));
    await until(() => pings > 6);
    expect(client.all('error')).toEqual([]);
    await client.close();
  });

  // Only whole messages were counted: one in a thousand empty parts was one.
  it('of parts counts each of them, and refuses what comes after', async () => {
    app = await GatewayApp.start({ WS_MAX_MESSAGES_PER_SECOND: '1', 'ws.maxMessageBurst': '20' });
    const client = await connect(app.url);
    await client.next('connected');
    const ping = (id: number): Buffer => clientFrame(1, JSON.stringify({ type: 'ping', id }));
    socketOf(client).write(
      Buffer.concat([
        clientFrame(1, '{"type":"ping",', { fin: false }),
        times(10, clientFrame(0, '', { fin: false })),
        clientFrame(0, '"id":1}'),
        ping(2),
        clientFrame(1, '', { fin: false }),
        times(10, clientFrame(0, '', { fin: false })),
        ping(3).fill(0x80, 0, 1),
      ]),
    );
    expect(await client.next('error')).toMatchObject({ code: 'rate_limited', id: 3 });
    expect(client.all('pong').map(({ id }) => id)).toEqual([1, 2]);
  });

  it('of bytes counts by its bytes', async () => {
    app = await GatewayApp.start({ WS_MAX_MESSAGES_PER_SECOND: '1', 'ws.maxMessageBurst': '10' });
    const client = await connect(app.url);
    await client.next('connected');
    for (let id = 1; id <= 4; id += 1) {
      client.send({ type: 'ping', id, more: 'x'.repeat(50_000) });
    }
    expect(await client.next('error')).toMatchObject({ code: 'rate_limited', id: 4 });
    expect(client.all('pong').map(({ id }) => id)).toEqual([1, 2, 3]);
  });

  // A connection that had been closed was read and parsed until the close timeout, 5 s: 3.6 million frames came after one 1008.
  it.each<[string, (app: GatewayApp) => Promise<Socket>, string]>([
    ['1008', async ({ url }) => socketOf(await connect(url)), '1008'],
    ['4001', ({ port }) => rawSocket(port, '/ws?token=bad'), '4001'],
    ['1002', ({ port }) => rawSocket(port, '/ws', clientFrame(3, '')), '1002'],
    [
      '4002',
      async (gateway) => {
        const client = await connect(gateway.url);
        await client.next('connected');
        gateway.clock.advance(24 * 3_600_000);
        await client.closed;
        return socketOf(client);
      },
      '4002',
    ],
  ])('that goes on after close code %s is not read, and ended in a moment', async (_, begin, code) => {
    app = await GatewayApp.start({ 'ws.closeTimeoutMs': '60000' });
    flood(await begin(app), times(5_000, PONG));
    await until(async () => (await app.count('connectionsClosed', { code })) === 1);
    await nothingLeft();
  });

  it('after a close frame of the client ends in a moment too', async () => {
    app = await GatewayApp.start({ 'ws.closeTimeoutMs': '60000' });
    const token = await signToken();
    const socket = await rawSocket(app.port, `/ws?token=${token}`, clientFrame(8, Buffer.from([0x03, 0xe8])));
    flood(socket, times(5_000, PONG));
    await until(async () => (await app.count('connectionsClosed', { code: '1000' })) === 1);
    await nothingLeft();
  });

  it('with token changes in it is judged message by message, by the token before it', async () => {
    app = await GatewayApp.start({ 'ws.maxMessageBurst': '1000' });
    const [wide, narrow] = await Promise.all([
      signToken({ userId: 'eve', deviceIds: ['public', 'secret'] }),
      signToken({ userId: 'eve', deviceIds: ['public'] }),
    ]);
    const client = await connect(app.url, { token: wide, query: { subscribe: 'none' } });
    await client.next('connected');
    for (let round = 0; round < 20; round += 1) {
      client.send({ type: 'subscribe', id: `wide ${round}`, deviceIds: ['public', 'secret'] });
      client.send({ type: 'auth', token: narrow });
      client.send({ type: 'subscribe', id: `narrow ${round}`, deviceIds: ['public', 'secret'] });
      socketOf(client).write(times(3, PONG));
      client.send({ type: 'auth', token: wide });
    }
    client.send({ type: 'auth', token: narrow });
    await client.roundTrip();
    const denied = (kind: string) =>
      client
        .all('subscribed')
        .filter(({ id }) => String(id).startsWith(kind))
        .map((answer) => answer.denied);
    expect(denied('wide')).toEqual(Array.from({ length: 20 }, () => []));
    expect(denied('narrow')).toEqual(Array.from({ length: 20 }, () => ['secret']));
    app.publish('secret', 1);
    app.publish('public', 2);
    await client.next('telemetry', ({ deviceId }) => deviceId === 'public');
    expect(client.all('telemetry').map(({ deviceId }) => deviceId)).toEqual(['public']);
    await client.close();
  });
});
