import type { Socket } from 'node:net';
import type { Connection } from '../../src/gateway/socket/connection.js';
import { type DashboardClient, connect } from '../support/dashboard-client.js';
import { GatewayApp } from './gateway-app.js';
import { clientFrame } from './raw-upgrade.js';
import { until } from './until.js';

describe('an idle connection', () => {
  let app: GatewayApp;
  let client: DashboardClient;
  let connection: Connection;
  let socket: Socket;

  const start = async (heartbeatMs: string): Promise<void> => {
    app = await GatewayApp.start({ WS_HEARTBEAT_MS: heartbeatMs, WS_MAX_PAYLOAD_BYTES: '2048' });
    client = await connect(app.url, { query: { subscribe: 'none' } });
    await client.next('connected');
    connection = [...app.lifecycle.connections][0] as Connection;
    socket = (client.socket as unknown as { _socket: Socket })._socket;
  };
  afterEach(() => app.stop());

  /** What it holds on to; reading `_receiver` would make one. */
  const held = () => connection as unknown as { receiver: object | null; sender: object | null };
  const isIdle = (): boolean => held().receiver === null;
  /** Two heartbeats have passed: at least one pong was read and what it needed let go, if it could be. */
  const heartbeats = async (): Promise<void> => {
    let pings = 0;
    client.socket.on('ping', () => (pings += 1));
    await until(() => pings >= 3);
  };

  it('holds no frame parser and no frame writer, has both when it needs them, and gives them back', async () => {
    await start('100');
    expect([held().receiver, held().sender]).toEqual([null, null]);
    await client.roundTrip(); // only a parser can have read it
    await until(() => isIdle());
    await client.roundTrip();
    await until(() => isIdle());
  });

  it('keeps a frame that has begun, however its bytes come', async () => {
    await start('30000');
    const frame = clientFrame(1, `{"type":"ping","id":"${'s'.repeat(120)}"}`);
    for (const at of [1, 2, 3, 5, 8, 9, 40]) {
      const read = connection.socket.bytesRead;
      socket.write(frame.subarray(0, at));
      await until(() => connection.socket.bytesRead === read + at);
      connection.rest();
      expect(isIdle()).toBe(false);
      socket.write(frame.subarray(at));
      await client.next('pong');
    }
  });

  it('keeps a message that has begun, with pongs between its parts', async () => {
    await start('100');
    socket.write(clientFrame(1, '{"type":"pi', { fin: false }));
    await heartbeats();
    expect(isIdle()).toBe(false);
    socket.write(clientFrame(0, 'ng","id":7}'));
    expect(await client.next('pong')).toMatchObject({ id: 7 });
  });

  it('knows its limits still: too big, not masked, closed by the client', async () => {
    await start('100');
    await heartbeats();
    const [big, bare, polite] = await Promise.all([connect(app.url), connect(app.url), connect(app.url)]);
    await heartbeats();
    big.sendRaw('x'.repeat(2_049));
    (bare.socket as unknown as { _socket: Socket })._socket.write(clientFrame(1, '{}', { masked: false }));
    polite.socket.close(1000);
    expect([(await big.closed).code, (await bare.closed).code, (await polite.closed).code]).toEqual([
      1009, 1002, 1000,
    ]);
  });
});
