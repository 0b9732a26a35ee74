import { Redis } from 'ioredis';
import { publish } from '../contract/broadcast-adapter.contract.js';
import { createInstance, eventually, PATIENT, startInstance } from '../redis/redis-fixture.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { type RedisServer, startRedis } from '../support/redis.js';
import { startSluice } from '../support/sluice.js';

/** JSON.parse takes it, JSON.stringify does not. */
const DEEP = Buffer.from(`{"a":${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}}`);

/** What an older release left in Redis, or still writes there, is as hostile as what a device sends. */
describe('values in Redis that this release would not have let in', () => {
  const shared = stopAfterAll();
  const own = stopAfterEach();
  let redis: RedisServer;

  beforeAll(async () => {
    redis = shared(await startRedis());
  });

  // One publication of 40 KB and a dashboard that resumes with fields ended both instances, as often as the dashboard came back.
  it.each([1, 2])(
    'of 20 000 levels end nothing over fields, aggregate, snapshot and resume on %i instances',
    async (count) => {
      const namespace = `deep-${count}`;
      const older = own(await startInstance(redis.url, { redis: { namespace, ...PATIENT } }));
      const store = (): Promise<unknown> => publish(older.adapter, 'd1', null, { payload: DEEP });
      await publish(older.adapter, 'd1', { a: 1 });
      await publish(older.adapter, 'd2', { a: 2 });
      await store();
      const env = { REDIS_URL: redis.url, NAMESPACE: namespace, REDIS_TIMEOUT_MS: '5000' };
      const instances = await Promise.all(Array.from({ length: count }, () => startSluice({ env })));
      instances.forEach((instance) => own(instance));
      const [state] = await older.adapter.attach(['d1']);
      const deviceIds = ['d1', 'd2'];
      const clients = [];
      for (const instance of instances) {
        const witness = own(await instance.connect({ query: { subscribe: 'none' } }));
        witness.send({ type: 'subscribe', deviceIds: ['d2'] });
        const picky = own(await instance.connect({ query: { subscribe: 'none' } }));
        picky.send({ type: 'subscribe', deviceIds, delivery: { fields: ['a'] } });
        const summed = own(await instance.connect({ query: { subscribe: 'none' } }));
        summed.send({ type: 'subscribe', deviceIds, delivery: { maxRateHz: 10, aggregate: true } });
        const resumed = own(await instance.connect({ query: { subscribe: 'none' } }));
        const since = { d1: { epoch: state!.epoch, offset: 1 } };
        resumed.send({ type: 'subscribe', deviceIds: ['d1'], delivery: { fields: ['a'] }, since });
        for (const client of [witness, picky, summed, resumed]) {
          await client.next('snapshot');
        }
        clients.push({ witness, picky, summed, resumed });
      }
      for (let round = 0; round < 3; round += 1) {
        await store();
        await publish(older.adapter, 'd1', { a: 10 + round });
        await publish(older.adapter, 'd2', { a: 20 + round });
      }
      for (const { witness, picky, summed, resumed } of clients) {
        expect((await witness.collect('telemetry', 3)).map(({ payload }) => payload)).toEqual([
          { a: 20 },
          { a: 21 },
          { a: 22 },
        ]);
        await picky.next('telemetry', ({ deviceId, payload }) => deviceId === 'd1' && isA(payload, 12));
        await resumed.next('telemetry', ({ payload }) => isA(payload, 12));
        await summed.next('telemetry', (one) => one.deviceId === 'd2' && 'aggregated' in one);
        await summed.roundTrip();
      }
      for (const instance of instances) {
        expect((await instance.fetch('/health/live')).status).toBe(200);
        expect(await instance.metric('sluice_contained_errors_total', { where: 'delivery' })).toBeGreaterThan(
          0,
        );
        expect(await instance.metric('sluice_connections_closed_total', { code: '1011' })).toBe(0);
      }
    },
    120_000,
  );

  it('whose state ends too early are answered without a position, and other rooms are read', async () => {
    const settings = { redis: { namespace: 'odd', ...PATIENT } };
    const writer = own(await startInstance(redis.url, settings));
    await publish(writer.adapter, 'odd', { n: 1 });
    await publish(writer.adapter, 'good', { n: 2 });
    const client = new Redis(redis.port);
    own({ stop: () => client.disconnect() });
    const key = (await client.keys('*odd*r:odd'))[0]!;
    const stored = await client.getBuffer(key);
    await client.set(key, stored!.subarray(0, stored![2]! + 4), 'KEEPTTL');
    const reader = own(createInstance(redis.url, settings));
    await reader.adapter.start();
    const [odd, good] = await reader.adapter.attach(['odd', 'good']);
    expect(odd).toMatchObject({ epoch: '', offset: 0, telemetry: null });
    expect(good).toMatchObject({ offset: 1 });
    await client.set(key, stored!, 'KEEPTTL');
    await eventually(() => reader.receiver.resets.some(({ deviceId }) => deviceId === 'odd'), 'read again');
  }, 60_000);
});

function isA(payload: unknown, a: number): boolean {
  return (payload as { a?: unknown }).a === a;
}
