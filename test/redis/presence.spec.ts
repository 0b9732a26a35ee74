import { Redis } from 'ioredis';
import { RedisPresence } from '../../src/redis/presence.js';
import type { StorePlace } from '../../src/redis/connection/scripts.js';
import { stopAfterEach } from '../support/cleanup.js';
import { type RedisServer, startRedis } from '../support/redis.js';
import { promised } from '../support/slack.js';
import { eventually, startInstance } from './redis-fixture.js';

const MAX_PER_USER = 3;

describe(RedisPresence.name, () => {
  const own = stopAfterEach();
  let redis: RedisServer;
  let client: Redis;

  beforeEach(async () => {
    redis = own(await startRedis());
    client = new Redis(redis.port, { retryStrategy: () => null, disconnectTimeout: 0 });
    own({ stop: () => client.disconnect() });
  });

  /** What an instance has of it: its own connections to Redis, its own counts. */
  async function startPresence({ expiryMs = 60_000, timeoutMs = 10_000 } = {}) {
    const { adapter } = own(await startInstance(redis.url));
    return presenceAt(adapter.places, { expiryMs, timeoutMs });
  }

  function presenceAt(places: readonly StorePlace[], times: { expiryMs: number; timeoutMs: number }) {
    const presence = new RedisPresence(places, { maxPerUser: MAX_PER_USER, ...times });
    own({ stop: () => presence.onModuleDestroy() });
    return presence;
  }

  const stored = () => client.keys('*presence*');

  async function joins(presence: RedisPresence, user: string, times: number): Promise<number> {
    const answers = await Promise.all(Array.from({ length: times }, async () => presence.join(user)));
    return answers.filter(Boolean).length;
  }

  it('holds the limit of a user over all instances, and gives places back', async () => {
    const [a, b] = [await startPresence(), await startPresence()];
    expect(await joins(a, 'u', 2)).toBe(2);
    expect(await joins(b, 'u', 2)).toBe(1);
    expect(await joins(a, 'u', 1)).toBe(0);
    expect(await joins(a, 'other', 1)).toBe(1);
    b.leave('u');
    await eventually(async () => (await joins(a, 'u', 1)) === 1, 'a place');
    expect(await joins(b, 'u', 1)).toBe(0);
    expect([a.users, b.users]).toEqual([2, 0]);
  });

  it('counts right when hundreds of users come and go at once on several instances, and leaves nothing', async () => {
    const all = [await startPresence(), await startPresence(), await startPresence()];
    const users = Array.from({ length: 700 }, (_, n) => `user-${n}`);
    const taken = new Map(users.map((user) => [user, 0]));
    const places: [RedisPresence, string][] = [];
    await Promise.all(
      all.flatMap((presence) =>
        [...users, ...users].map(async (user) => {
          if (await presence.join(user)) {
            taken.set(user, taken.get(user)! + 1);
            places.push([presence, user]);
          }
        }),
      ),
    );
    expect(new Set(taken.values())).toEqual(new Set([MAX_PER_USER]));
    places.forEach(([presence, user]) => presence.leave(user));
    expect(all.map(({ users: left }) => left)).toEqual([0, 0, 0]);
    await eventually(async () => (await stored()).length === 0, 'nothing stored');
  });

  it('frees the places of an instance that was killed, and keeps those of one that lives', async () => {
    const expiryMs = 1_000;
    const [killed, a] = [await startPresence({ expiryMs }), await startPresence({ expiryMs })];
    expect(await joins(killed, 'u', 2)).toBe(2);
    expect(await joins(a, 'u', 2)).toBe(1);
    killed.onModuleDestroy(); // renews no more, and gives nothing back
    const died = Date.now();
    await eventually(async () => (await joins(a, 'u', 1)) === 1, 'a place of the killed one');
    expect(await joins(a, 'u', 2)).toBe(1);
    // Much longer than the life of what is not renewed.
    await eventually(() => Date.now() - died > 3 * expiryMs, 'time');
    const b = await startPresence({ expiryMs });
    expect(await joins(b, 'u', 1)).toBe(0);
    for (let n = 0; n < MAX_PER_USER; n += 1) {
      a.leave('u');
    }
    await eventually(async () => (await stored()).length === 0, 'nothing stored');
  });

  it('counts alone while Redis hangs, without keeping anybody waiting, and tells what it counted when it is back', async () => {
    const [a, b] = [await startPresence({ timeoutMs: 300 }), await startPresence({ timeoutMs: 300 })];
    expect(await joins(a, 'u', 1)).toBe(1);
    redis.freeze();
    const start = Date.now();
    expect(await joins(a, 'u', 5)).toBe(2);
    promised(Date.now() - start, 2_000);
    expect(a.join('u')).toBe(false);
    expect(await a.join('v')).toBe(true);
    redis.thaw();
    await eventually(async () => (await joins(b, 'u', 1)) === 0, 'known to the other');
  });

  it('tells its counts anew when Redis comes back empty', async () => {
    const [a, b] = [await startPresence({ expiryMs: 1_500 }), await startPresence({ expiryMs: 1_500 })];
    const users = Array.from({ length: 300 }, (_, n) => `user-${n}`);
    for (const user of users) {
      expect(await joins(a, user, MAX_PER_USER)).toBe(MAX_PER_USER);
    }
    await client.flushall();
    // Found at the next renewal.
    await eventually(async () => {
      const keys = await stored();
      const hashes = keys.filter((key) => key.split(':presence:').length === 2);
      const sizes = await Promise.all(hashes.map((key) => client.hlen(key)));
      return sizes.reduce((sum, size) => sum + size, 0) === users.length;
    }, 'all stored again');
    expect(await joins(b, 'user-7', 1)).toBe(0);

    await redis.kill();
    await eventually(() => a.join('user-7') === false && a.join('new') === true, 'alone');
    await redis.start();
    await eventually(async () => (await joins(b, 'user-7', 1)) === 0, 'known to the other');
  }, 30_000);
});
