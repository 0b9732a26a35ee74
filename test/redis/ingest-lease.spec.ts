import { RedisIngestLease, RedisIngestReaders, RedisIngestSlots } from '../../src/redis/ingest-ports.js';
import { stopAfterAll } from '../support/cleanup.js';
import { startRedis } from '../support/redis.js';
import { eventually, type Instance, startInstance } from './redis-fixture.js';

/** Several calls have to fit into it, also where the machine halts for a while. */
const LEASE_MS = 2_000;

describe('who reads device topics, in Redis', () => {
  const own = stopAfterAll();
  let instance: Instance;
  let redis: Awaited<ReturnType<typeof startRedis>>;

  beforeAll(async () => {
    redis = own(await startRedis());
    instance = own(await startInstance(redis.url));
  });
  beforeEach(() => redis.command('FLUSHALL'));

  const lease = (): RedisIngestLease => new RedisIngestLease(instance.adapter.leasePlace, LEASE_MS);

  describe(RedisIngestLease.name, () => {
    it('is held by one at a time, and ends when it is not renewed', async () => {
      const token = (await lease().acquire(0, 0))!;
      expect(await lease().acquire(0, 0)).toBeNull();
      expect(await lease().acquire(token - 1, 0)).toBeNull();
      expect(await lease().renew(token, 'reading')).toBe(true);
      const state = (await lease().read())!;
      expect(state).toMatchObject({ token, phase: 'reading' });
      expect(state.expiresInMs).toBeGreaterThan(0);
      expect(state.expiresInMs).toBeLessThanOrEqual(LEASE_MS);
      await eventually(async () => (await lease().read()) === null, 'the end of the lease');
      expect(await lease().renew(token, 'reading')).toBe(false);
    });

    it('goes at once to who knows that its holder is gone, to one of them', async () => {
      const token = (await lease().acquire(0, 0))!;
      const tokens = await Promise.all([1, 2, 3].map(() => lease().acquire(token, token)));
      expect(tokens.filter((next) => next !== null)).toHaveLength(1);
      expect(await lease().renew(token, 'reading')).toBe(false);
      await lease().release(token);
      expect(await lease().read()).not.toBeNull();
    });

    it('counts up from whatever was seen: tokens of this Redis, of the fence, and of a Redis before it', async () => {
      const now = Date.now() * 1000;
      const first = (await lease().acquire(0, 0))!;
      expect(Math.abs(first - now)).toBeLessThan(60_000_000);
      const ahead = now + 3_600_000_000;
      const second = (await lease().acquire(first, ahead))!;
      expect(second).toBe(ahead + 1);
      await instance.adapter.raiseFence(second + 7);
      await lease().release(second);
      expect(await lease().acquire(0, 0)).toBe(second + 8);
    });
  });

  describe(`${RedisIngestLease.name} of several shards`, () => {
    const leaseOf = (shard: number): RedisIngestLease =>
      new RedisIngestLease(instance.adapter.leasePlace, LEASE_MS, shard);

    it('is one for each shard, under the fence of that shard', async () => {
      const first = (await leaseOf(0).acquire(0, 0))!;
      await instance.adapter.raiseFence(first + 1_000_000_000, 1);
      const second = (await leaseOf(1).acquire(0, 0))!;
      expect(second).toBe(first + 1_000_000_001);
      expect(await leaseOf(1).acquire(0, 0)).toBeNull();
      expect(await lease().renew(first, 'reading')).toBe(true);
      await leaseOf(1).release(second);
      expect([await leaseOf(1).read(), (await lease().read())?.token]).toEqual([null, first]);
    });
  });

  describe(RedisIngestReaders.name, () => {
    const readers = (lifeMs = 60_000): RedisIngestReaders =>
      new RedisIngestReaders(instance.adapter.leasePlace, lifeMs);

    // The list of all expired with the shortest lease of those in it, with whom had a longer one.
    it('tells everyone who may read and what each holds, without those who left or are silent', async () => {
      await readers().attend('a', 2);
      await readers(1).attend('silent', 1);
      const key = await redis.command('KEYS', '*readers');
      expect(Number(await redis.command('PTTL', key))).toBeGreaterThan(60_000);
      await eventually(
        async () => !(await readers().attend('b', 0)).has('silent'),
        'the end of the silent one',
      );
      expect(await readers().attend('b', 1)).toEqual(
        new Map([
          ['a', 2],
          ['b', 1],
        ]),
      );
      await readers().leave('a');
      expect(await readers().attend('b', 1)).toEqual(new Map([['b', 1]]));
    });
  });

  describe(RedisIngestSlots.name, () => {
    const slots = (): RedisIngestSlots => new RedisIngestSlots(instance.adapter.leasePlace, LEASE_MS, 60_000);

    it('gives each its own number, the lowest that is free', async () => {
      const [a, b, c] = [slots(), slots(), slots()];
      expect(await a.take()).toBe(0);
      expect(await b.take()).toBe(1);
      await a.release(1); // not its own
      expect(await b.renew(1, true)).toBe(true);
      await a.release(0);
      expect(await c.take()).toBe(0);
      expect(await a.renew(0, true)).toBe(false);
      expect(await c.watch()).toEqual({ abandoned: 0, othersUp: 1 });
    });

    it('gives the number of before again, unless another one holds it', async () => {
      const [a, b] = [slots(), slots()];
      // Of a Redis that knows nothing of it.
      expect(await a.take(3)).toBe(3);
      expect(await a.take(3)).toBe(3);
      expect(await b.take(3)).toBe(0);
      expect(await b.take()).toBe(1);
      expect(await a.renew(3, true)).toBe(true);
    });

    it('hands an abandoned number to one that adopts it, or to a new member; watching alone takes none', async () => {
      const [dead, a, b] = [slots(), slots(), slots()];
      await dead.take();
      await dead.take();
      const timer = setInterval(() => void a.renew(2, true), LEASE_MS / 4);
      expect(await a.take()).toBe(2);
      try {
        await eventually(async () => (await a.watch()).abandoned === 2, 'abandoned slots');
        expect(await a.adopt()).toBe(0);
        expect((await a.watch()).abandoned).toBe(1);
        expect(await b.take()).toBe(1);
        expect(await dead.renew(1, true)).toBe(false);
        expect(await b.adopt()).toBeNull();
      } finally {
        clearInterval(timer);
      }
    });
  });
});
