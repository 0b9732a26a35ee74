import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import type { VerifiedToken } from '../../src/auth/claims.js';
import { Grants } from '../../src/auth/grants.js';
import { MAX_PER_CALL, MAX_REVOCATIONS } from '../../src/auth/revocation-store.js';
import { RevocationsService } from '../../src/auth/revocations.js';
import { loadConfig } from '../../src/config/load-config.js';
import { Metrics } from '../../src/metrics/metrics.js';
import { RedisRevocationStore } from '../../src/redis/revocations.js';
import { systemClock } from '../../src/time/clock.js';
import { stopAfterEach } from '../support/cleanup.js';
import { type RedisServer, startRedis } from '../support/redis.js';
import { TcpProxy } from '../support/tcp-proxy.js';
import { eventually, PATIENT, startInstance } from './redis-fixture.js';

const KEY = 'sluice:{all.mt}:revocations';

describe(RedisRevocationStore.name, () => {
  const own = stopAfterEach();
  let redis: RedisServer;
  beforeEach(async () => {
    redis = own(await startRedis());
    jest.spyOn(Logger.prototype, 'log').mockImplementation(() => undefined);
    jest.spyOn(Logger.prototype, 'warn').mockImplementation(() => undefined);
  });
  afterEach(() => jest.restoreAllMocks());

  /** What an instance has of it: its own connections to Redis, its own list. */
  async function instance(url = redis.url, timeoutMs = 5_000): Promise<RevocationsService> {
    const { adapter } = own(await startInstance(url, { redis: PATIENT }));
    const config = loadConfig({ REDIS_URL: redis.url, REDIS_TIMEOUT_MS: String(timeoutMs) });
    const metrics = new Metrics();
    const store = new RedisRevocationStore(adapter.commonPlace, metrics);
    const revocations = new RevocationsService(config, systemClock, metrics, store);
    own({ stop: () => revocations.onModuleDestroy() });
    revocations.onModuleInit();
    return revocations;
  }

  const token = (jti: string, userId = 'ann'): VerifiedToken => ({
    userId,
    jti,
    issuedAt: Date.now() - 1_000,
    expiresAt: Date.now() + 60_000,
    grants: new Grants([]),
  });
  const holds = (revocations: RevocationsService, jti: string, isHeld = true): Promise<void> =>
    eventually(
      () => revocations.isRevoked(token(jti)) === isHeld,
      `${jti} is ${isHeld ? '' : 'not '}revoked`,
    );
  const jtis = async (revocations: RevocationsService): Promise<(string | undefined)[]> =>
    (await revocations.list()).map(({ jti }) => jti);

  it('holds on every instance, and is listed and lifted at any of them', async () => {
    const [a, b] = [await instance(), await instance()];
    const { id, durable, pending } = await a.add({ jti: 'one' });
    expect({ durable, pending }).toEqual({ durable: true, pending: false });
    await a.add({ userId: 'bob' }, Date.now() + 60_000);
    // The one that is asked knows what the other one has answered.
    expect(await b.list()).toEqual(await a.list());
    expect(b.isRevoked(token('one'))).toBe(true);
    expect(b.isRevoked(token('two', 'bob'))).toBe(true);
    expect(b.isRevoked(token('two'))).toBe(false);
    expect(await b.remove(id)).toMatchObject({ durable: true });
    // The addition had no end: what is left of both goes with the memory of the removal.
    expect(Number(await redis.command('ZSCORE', `${KEY}:ends`, `+${id}`))).toBeLessThan(
      Date.now() + 90_000_000,
    );
    await holds(a, 'one', false);
    expect(await a.remove(id)).toBeNull();
    expect(await a.list()).toMatchObject([{ userId: 'bob' }]);
  });

  it('is there after a restart, before the new instance counts as loaded, in any number', async () => {
    const a = await instance();
    const all = Array.from({ length: 3 * MAX_PER_CALL + 7 }, (_, at) => `t-${at}`);
    const ids = await Promise.all(all.map(async (jti) => (await a.add({ jti })).id));
    await a.remove(ids[5] as string);
    a.onModuleDestroy();
    const b = await instance();
    expect(await b.whenLoaded()).toBe(true);
    expect(all.filter((jti) => !b.isRevoked(token(jti)))).toEqual(['t-5']);
  });

  it('is written back by those who know it when Redis comes back empty; what was lifted stays so', async () => {
    const [a, b] = [await instance(), await instance()];
    await a.add({ jti: 'one' });
    const { id } = await a.add({ jti: 'lifted' });
    await holds(b, 'lifted');
    await a.remove(id);
    await holds(b, 'lifted', false);
    await redis.kill();
    await redis.start();
    const c = await instance();
    await eventually(async () => (await jtis(c)).join() === 'one', 'what was there before');
    expect(c.isRevoked(token('lifted'))).toBe(false);
    expect(await redis.command('HLEN', KEY)).toBe('1');
  });

  it('is not lost when Redis is set back and then written by somebody else', async () => {
    const [a, b] = [await instance(), await instance()];
    await a.add({ jti: 'lost' });
    await holds(b, 'lost');
    // A replica took over that did not have the last write, and another instance wrote the next one: with the same number.
    const [id = ''] = (await redis.command('HKEYS', KEY)).split('\n');
    await redis.command(
      ...[
        'EVAL',
        `redis.call('DEL', KEYS[1], KEYS[1] .. ':log', KEYS[1] .. ':ends')
      redis.call('HSET', KEYS[1], 'other', '{"jti":"new","createdAt":1}')
      redis.call('ZADD', KEYS[1] .. ':log', 1, '+other')
      redis.call('ZADD', KEYS[1] .. ':ends', 'inf', '+other')`,
        '1',
        KEY,
      ],
    );
    await holds(a, 'new');
    await holds(b, 'new');
    expect(b.isRevoked(token('lost'))).toBe(true);
    await eventually(async () => (await redis.command('HEXISTS', KEY, id)) === '1', 'the lost one');
  });

  it('holds at the instance that was asked while Redis is away, and is passed on when it is back', async () => {
    const proxy = own(await TcpProxy.start(redis.port));
    const [a, b] = [await instance(`redis://127.0.0.1:${proxy.port}`, 300), await instance()];
    const { id } = await a.add({ jti: 'before' });
    await holds(b, 'before');
    proxy.stall();
    expect(await a.add({ jti: 'meanwhile' })).toMatchObject({ durable: false, pending: true });
    expect(await a.remove(id)).toMatchObject({ durable: false, pending: true });
    expect(a.isRevoked(token('meanwhile'))).toBe(true);
    expect(a.isRevoked(token('before'))).toBe(false);
    expect(b.isRevoked(token('meanwhile'))).toBe(false);
    proxy.heal();
    await holds(b, 'meanwhile');
    await holds(b, 'before', false);
    expect(await jtis(a)).toEqual(['meanwhile']);
  });

  it('lets nobody count as loaded before it was read, and is read as soon as Redis is there', async () => {
    const a = await instance();
    await a.add({ jti: 'one' });
    const proxy = own(await TcpProxy.start(redis.port));
    proxy.stall();
    const b = await instance(`redis://127.0.0.1:${proxy.port}`, 300);
    expect(b.loaded).toBe(false);
    const loaded = b.whenLoaded();
    proxy.heal();
    expect(await loaded).toBe(true);
    expect(b.isRevoked(token('one'))).toBe(true);
  });

  it('is refused when Redis has as many as are held, and does not hold then', async () => {
    const a = await instance();
    await redis.command(
      ...[
        'EVAL',
        `for at = 1, ${MAX_REVOCATIONS} do redis.call('HSET', KEYS[1], 'f' .. at, '') end`,
        '1',
        KEY,
      ],
    );
    await expect(a.add({ jti: 'more' })).rejects.toThrow(/100000/);
    expect(a.isRevoked(token('more'))).toBe(false);
    expect(await a.list()).toEqual([]);
  });

  it('forgets in Redis what has expired long ago, and keeps the last change of the log', async () => {
    const a = await instance();
    const b = await instance();
    await a.add({ jti: 'old' }, Date.now() - 3_600_000);
    await a.add({ jti: 'new' }, Date.now() + 3_600_000);
    await eventually(async () => (await redis.command('HLEN', KEY)) === '1', 'the old one is gone');
    await eventually(
      async () => (await redis.command('ZCARD', `${KEY}:log`)) === '1',
      'and its place in the log',
    );
    expect(await jtis(b)).toEqual(['new']);
  });

  it('leaves out what no instance of this release has written', async () => {
    await redis.command(
      ...[
        'EVAL',
        `local texts = { '{', '[]', '{"jti":5,"createdAt":1}', '{"userId":"x","createdAt":1}', '{"jti":"ok","createdAt":1}' }
      for at, text in ipairs(texts) do
        redis.call('HSET', KEYS[1], at, text)
        redis.call('ZADD', KEYS[1] .. ':log', at, '+' .. at)
      end`,
        '1',
        KEY,
      ],
    );
    const a = await instance();
    expect(await jtis(a)).toEqual(['ok']);
  });
});
