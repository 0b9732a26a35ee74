import { Redis } from 'ioredis';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { startRedis, type RedisServer } from '../support/redis.js';
import { eventually, PATIENT, startInstance } from './redis-fixture.js';

// A room that was left before its state had been read kept the key that the reading made, for ten minutes: one connection that subscribed to a
// thousand invented ids a message and left them filled Redis in half a minute. Rooms that were left are not read any more, and those that
// were being read are forgotten after it.
describe('rooms of which nothing is known', () => {
  const shared = stopAfterAll();
  const own = stopAfterEach();
  let redis: RedisServer;
  let client: Redis;

  beforeAll(async () => {
    redis = shared(await startRedis());
    client = new Redis(redis.port);
    shared({ stop: () => client.disconnect() });
  });

  it('leave no keys when they are asked for by the thousand and left again, before or after they were read', async () => {
    const namespace = 'hostile';
    const { adapter } = own(await startInstance(redis.url, { redis: { namespace, ...PATIENT } }));
    const keys = async (): Promise<number> => (await client.keys(`${namespace}:*r:ghost-*`)).length;
    let made = 0;
    for (let round = 0; round < 30; round += 1) {
      const ids = Array.from({ length: 1_000 }, (_, n) => `ghost-${round}-${n}`);
      const attached = adapter.attach(ids);
      if (round % 3 === 0) {
        await attached;
      } else if (round % 3 === 1) {
        await new Promise((resolve) => setImmediate(resolve));
      } else {
        await client.ping();
      }
      ids.forEach((id) => adapter.detach(id));
      await attached;
      made = Math.max(made, await keys());
    }
    await eventually(async () => (await keys()) === 0, 'every key is forgotten', 30_000);
    expect(made).toBeLessThan(30_000);
  });

  it('expire after a minute where nobody forgets them, unless an earlier release has given them longer', async () => {
    const namespace = 'expiring';
    const { adapter } = own(await startInstance(redis.url, { redis: { namespace, ...PATIENT } }));
    await adapter.attach(['ghost']);
    const [key] = await client.keys(`${namespace}:*r:ghost`);
    const left = await client.pttl(key as string);
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThanOrEqual(60_000);
    await client.pexpire(key as string, 600_000);
    await adapter.attach(['ghost']);
    expect(await client.pttl(key as string)).toBeGreaterThan(60_000);
  });
});
