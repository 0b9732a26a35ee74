import { GatewayApp } from '../gateway/gateway-app.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { connect, type DashboardClient } from '../support/dashboard-client.js';
import { type RedisServer, startRedis } from '../support/redis.js';
import { SLACK } from '../support/slack.js';
import { signToken } from '../support/tokens.js';
import { until } from '../gateway/until.js';

// A pattern was held against the token, then the list of devices was awaited, then the pattern was registered. A narrower token in the same packet
// was handled meanwhile and found nothing to take away: telemetry of what it did not grant came for as long as the connection lived. The grants
// are asked in the step that registers.
describe('rights while a subscription is under way, with Redis', () => {
  const shared = stopAfterAll();
  const own = stopAfterEach();
  let redis: RedisServer;
  let namespaces = 0;

  beforeAll(async () => {
    redis = shared(await startRedis());
  });

  /** An instance that has no pattern yet: the list of devices is still to be read. */
  const start = async (): Promise<GatewayApp> =>
    own(
      await GatewayApp.start({
        REDIS_URL: redis.url,
        REDIS_NAMESPACE: `rights-${(namespaces += 1)}`,
        REDIS_TIMEOUT_MS: String(1_000 * SLACK),
      }),
    );

  const WIDE = { userId: 'eve', deviceIds: ['secret-*', 'public-1'] };
  const NARROW = { userId: 'eve', deviceIds: ['public-1'] };

  /** Sends messages in one write, as one packet. */
  const inOnePacket = (client: DashboardClient, messages: readonly object[]): void => {
    const { _socket: socket } = client.socket as unknown as { _socket: { cork(): void; uncork(): void } };
    socket.cork();
    messages.forEach((message) => client.send(message));
    socket.uncork();
  };

  const secrets = (client: DashboardClient): unknown[] =>
    client.received.filter((message) => JSON.stringify(message).includes('"deviceId":"secret-'));

  /** Devices publish, known and new ones, until the witness has all of it. */
  const publishSecrets = async (app: GatewayApp): Promise<void> => {
    const witness = await connect(app.url, { claims: { userId: 'bob', deviceIds: ['secret-*'] } });
    witness.send({ type: 'subscribe', pattern: 'secret-*', id: 'w' });
    await witness.next('subscribed');
    for (let n = 1; n <= 20; n += 1) {
      app.publish(`secret-${(n % 4) + 1}`, n);
    }
    await until(() => JSON.stringify(witness.received).includes('"payload":20'), 10_000 * SLACK);
    await witness.close();
  };

  it('refuses a pattern when a narrower token of the same packet is in force before it is registered', async () => {
    const app = await start();
    app.publish('secret-1', 0);
    const client = await connect(app.url, { claims: WIDE, query: { subscribe: 'none' } });
    await client.next('connected');
    const token = await signToken(NARROW);
    inOnePacket(client, [
      { type: 'subscribe', pattern: 'secret-*', id: 'race' },
      { type: 'auth', token },
    ]);
    await client.next('authenticated');
    await publishSecrets(app);
    await client.roundTrip();
    expect(secrets(client)).toEqual([]);
    expect(client.all('error').map(({ code }) => code)).toEqual(['forbidden']);
    expect(app.rooms.roomCount).toBe(0);
    await client.close();
  });

  it('leaves devices that were asked for by id when a narrower token comes before their rooms are attached', async () => {
    const app = await start();
    app.publish('secret-1', 0);
    const client = await connect(app.url, { claims: WIDE, query: { subscribe: 'none' } });
    await client.next('connected');
    const token = await signToken(NARROW);
    inOnePacket(client, [
      { type: 'subscribe', deviceIds: ['secret-1', 'public-1'], id: 'race' },
      { type: 'auth', token },
    ]);
    await client.next('authenticated');
    const { rooms } = await client.next('subscribed');
    await publishSecrets(app);
    await client.roundTrip();
    expect(rooms.map(({ deviceId }) => deviceId)).toEqual(['public-1']);
    expect(secrets(client)).toEqual([]);
    await client.close();
  });

  it('sends nothing missed of a device when a narrower token comes while history is asked', async () => {
    const app = await start();
    const client = await connect(app.url, { claims: WIDE, query: { subscribe: 'none' } });
    client.send({ type: 'subscribe', deviceIds: ['secret-1'] });
    const [room] = (await client.next('subscribed')).rooms;
    [1, 2, 3].forEach((n) => app.publish('secret-1', n));
    await client.next('telemetry', ({ payload }) => payload === 3);
    const token = await signToken(NARROW);
    const heard = secrets(client).length;
    inOnePacket(client, [
      {
        type: 'subscribe',
        deviceIds: ['secret-1'],
        since: { 'secret-1': { epoch: room?.epoch, offset: 0 } },
        id: 'race',
      },
      { type: 'auth', token },
    ]);
    await client.next('authenticated');
    await client.next('subscribed', ({ id }) => id === 'race');
    await publishSecrets(app);
    await client.roundTrip();
    expect(secrets(client).slice(heard)).toEqual([]);
    await client.close();
  });

  it('holds the limits of the token in force when the list of devices has been read', async () => {
    const app = await start();
    for (let n = 0; n < 5; n += 1) {
      app.publish(`secret-${n}`, n);
    }
    const client = await connect(app.url, { claims: WIDE, query: { subscribe: 'none' } });
    await client.next('connected');
    const token = await signToken({ ...WIDE, maxRooms: 3 });
    inOnePacket(client, [
      { type: 'subscribe', pattern: 'secret-*', id: 'race' },
      { type: 'auth', token },
    ]);
    await client.next('authenticated');
    const { code } = await client.next('error');
    expect(code).toBe('too_many_rooms');
    await until(() => app.rooms.roomCount === 0);
    await client.close();
  });
});
