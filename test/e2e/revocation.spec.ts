import { jest } from '@jest/globals';
import { RevocationsService } from '../../src/auth/revocations.js';
import { createApp, type SluiceApp } from '../../src/create-app.js';
import { InstanceBus } from '../../src/instances/instance-bus.js';
import { eventually } from '../redis/redis-fixture.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { connect, type DashboardClient } from '../support/dashboard-client.js';
import { type Mosquitto, startMosquitto } from '../support/mosquitto.js';
import { type RedisServer, startRedis } from '../support/redis.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { testConfig } from '../support/test-config.js';
import { TEST_SECRET, type TokenClaims } from '../support/tokens.js';

jest.setTimeout(90_000);

interface Instance {
  app: SluiceApp;
  port: number;
  revocations: RevocationsService;
  /** Its way to Redis. */
  link: TcpProxy;
}

describe('a token that is revoked at one of several instances', () => {
  const ownAll = stopAfterAll();
  const own = stopAfterEach();
  let broker: Mosquitto;
  let redis: RedisServer;
  let [a, b]: Instance[] = [];

  async function start(): Promise<Instance> {
    const link = ownAll(await TcpProxy.start(redis.port));
    const config = testConfig({
      JWT_SECRET: TEST_SECRET,
      PORT: '0',
      HOST: '127.0.0.1',
      MQTT_URL: broker.url,
      REDIS_URL: `redis://127.0.0.1:${link.port}`,
      REDIS_TIMEOUT_MS: '500',
      LOG_LEVEL: 'fatal',
      DRAIN_SPREAD_MS: '0',
    });
    const app = await createApp(config);
    ownAll({ stop: () => app.stop() });
    const { port } = await app.start();
    await app.ready();
    return { app, port, link, revocations: app.nest.get(RevocationsService, { strict: false }) };
  }

  beforeAll(async () => {
    broker = ownAll(await startMosquitto());
    redis = ownAll(await startRedis());
    [a, b] = await Promise.all([start(), start()]);
  });

  const join = async (at: Instance | undefined, claims: TokenClaims): Promise<DashboardClient> => {
    const client = own(
      await connect(`ws://127.0.0.1:${at!.port}/ws`, { claims, query: { subscribe: 'none' } }),
    );
    await client.next('connected');
    return client;
  };

  it('ends what is open on it everywhere, and is let in nowhere', async () => {
    const clients = [await join(a, { jti: 'one' }), await join(b, { jti: 'one' })];
    const other = await join(b, { jti: 'two' });
    const began = performance.now();
    expect(await a!.revocations.add({ jti: 'one' })).toMatchObject({ durable: true, pending: false });
    const ends = await Promise.all(clients.map((client) => client.closed));
    console.info(`revoked everywhere after ${Math.round(performance.now() - began)} ms`);
    expect(ends.map(({ code }) => code)).toEqual([4001, 4001]);
    await other.roundTrip();
    const again = own(await connect(`ws://127.0.0.1:${b!.port}/ws`, { claims: { jti: 'one' } }));
    expect((await again.closed).code).toBe(4001);
  });

  it('ends there too when the message that tells of it is lost', async () => {
    const lost = jest
      .spyOn(a!.app.nest.get(InstanceBus, { strict: false }), 'publish')
      .mockResolvedValue(true);
    const client = await join(b, { jti: 'quiet' });
    const began = performance.now();
    await a!.revocations.add({ jti: 'quiet' });
    expect((await client.closed).code).toBe(4001);
    console.info(`revoked without the message after ${Math.round(performance.now() - began)} ms`);
    expect(lost).toHaveBeenCalledWith('revocations', null);
    lost.mockRestore();
  });

  it('ends at the instance that was asked while Redis is away, elsewhere when it is back, also when it comes back empty', async () => {
    await a!.revocations.add({ jti: 'before' });
    const here = await join(a, { userId: 'ann' });
    const there = await join(b, { userId: 'ann' });
    a!.link.refuse();
    b!.link.refuse();
    expect(await a!.revocations.add({ userId: 'ann', issuedBefore: Date.now() + 1_000 })).toMatchObject({
      durable: false,
      pending: true,
    });
    expect((await here.closed).code).toBe(4001);
    await there.roundTrip();
    await redis.kill();
    await redis.start();
    a!.link.heal();
    b!.link.heal();
    expect((await there.closed).code).toBe(4001);
    const stored = async () =>
      (await redis.command('HVALS', 'sluice:{all.mt}:revocations')).split('\n').length;
    await eventually(async () => (await stored()) === 4, 'all are written back');
  });

  it('is let in nowhere after a restart', async () => {
    const c = await start();
    const client = own(await connect(`ws://127.0.0.1:${c.port}/ws`, { claims: { jti: 'one' } }));
    expect((await client.closed).code).toBe(4001);
    expect(await c.revocations.list()).toHaveLength(4);
  });
});
