import { WebSocket } from 'ws';
import { DashboardClient, connect } from '../support/dashboard-client.js';
import { signToken } from '../support/tokens.js';
import { GatewayApp } from './gateway-app.js';
import { until } from './until.js';

describe('the heartbeat', () => {
  let app: GatewayApp;
  beforeEach(async () => {
    app = await GatewayApp.start({ WS_HEARTBEAT_MS: '100' });
  });
  afterEach(() => app.stop());

  it('ends a connection without a pong by the next ping, and its rooms are left; one that answers lives on', async () => {
    const live = await connect(app.url, { claims: { deviceIds: ['a'] } });
    const token = await signToken({ deviceIds: ['a', 'b'] });
    const dead = new DashboardClient(
      new WebSocket(app.url, ['sluice.v1', `bearer.${token}`], { autoPong: false }),
    );
    let pings = 0;
    dead.socket.on('ping', () => (pings += 1));
    await dead.next('subscribed');
    expect(await dead.next('connected')).toMatchObject({ heartbeatMs: 100 });
    expect((await dead.closed).code).toBe(1006);
    expect(pings).toBe(1);
    await until(() => app.rooms.roomCount === 1);
    let livePings = 0;
    live.socket.on('ping', () => (livePings += 1));
    await until(() => livePings >= 3);
    await live.roundTrip();
    expect(await app.count('connectionsClosed', { code: '1006' })).toBe(1);
    // Each pong of the live one was timed.
    const times = (await app.metrics.roundTrip.get()).values;
    const count = times.find(({ metricName }) => metricName === 'sluice_client_round_trip_seconds_count');
    expect(count!.value).toBeGreaterThanOrEqual(2);
  });

  it('does not take a connection for dead whose reading is paused by its own commands', async () => {
    const answers: (() => void)[] = [];
    app.commands.answer = () => new Promise((resolve) => answers.push(() => resolve('delivered')));
    const client = await connect(app.url);
    let pings = 0;
    client.socket.on('ping', () => (pings += 1));
    for (let at = 0; at < 70; at += 1) {
      client.send({ type: 'command', deviceId: 'a', command: at, id: at });
    }
    await until(() => answers.length === 64 && pings >= 4);
    app.commands.answer = () => Promise.resolve('delivered');
    answers.forEach((answer) => answer());
    await client.next('command_sent', ({ id }) => id === 69);
  });
});
