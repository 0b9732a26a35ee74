import { publish } from '../contract/broadcast-adapter.contract.js';
import { stopAfterEach } from '../support/cleanup.js';
import { startRedis } from '../support/redis.js';
import { createInstance, eventually, startInstance } from './redis-fixture.js';

describe('what Redis allows', () => {
  const own = stopAfterEach();

  it('works for a user that may only touch the namespace, and warns of nothing', async () => {
    const redis = own(await startRedis());
    await redis.command(
      ...'ACL SETUSER sluice on >secret resetkeys resetchannels ~sluice:* &sluice:* -@all'.split(' '),
      ...'+@read +@write +@pubsub +@scripting +@connection +info +time'.split(' '),
    );
    const user = own(await startInstance(`redis://sluice:secret@127.0.0.1:${redis.port}`));
    await user.adapter.attach(['d1']);
    await publish(user.adapter, 'd1', 1);
    await user.receiver.until(() => user.receiver.publications.length === 1);
    expect(user.log).toEqual(['Redis is reached']);
  });

  it.each([
    ['keys', '~other:* &sluice:* +@all', 'REDIS_URL'],
    ['channels', '~sluice:* &other:* +@all', 'REDIS_URL'],
    ['scripts', '~sluice:* &sluice:* +@all -@scripting', 'REDIS_URL'],
  ])('serves from the instance and says why when the user lacks the right to %s', async (_what, rights) => {
    const redis = own(await startRedis());
    await redis.command(
      ...'ACL SETUSER sluice on >secret resetkeys resetchannels'.split(' '),
      ...rights.split(' '),
    );
    const user = own(createInstance(`redis://sluice:secret@127.0.0.1:${redis.port}`));
    await user.adapter.start();
    expect(user.adapter.mode).toBe('local');
    expect(user.log.join('\n')).toMatch(/permission/);
    await user.adapter.attach(['d1']);
    await publish(user.adapter, 'd1', 1);
    expect(user.receiver.payloads('d1')).toEqual(['1']);
    expect(user.log.join()).not.toContain('secret');
  });

  it('names the commands that the user lacks', async () => {
    const redis = own(await startRedis());
    await redis.command(
      ...'ACL SETUSER sluice on >secret resetkeys resetchannels ~sluice:* &sluice:* +@all -rpush'.split(' '),
    );
    const user = own(createInstance(`redis://sluice:secret@127.0.0.1:${redis.port}`));
    await user.adapter.start();
    await eventually(() => user.log.some((line) => line.includes('rpush')), 'the warning');
    await user.adapter.attach(['d1']);
    void publish(user.adapter, 'd1', 1);
    // Nothing can be stored, though Redis answers: local mode, not an endless wait.
    await eventually(() => user.adapter.mode === 'local', 'local mode');
  });

  it('warns of settings that lose data silently, naming them', async () => {
    const redis = own(
      await startRedis({
        args: [
          '--maxmemory-policy',
          'allkeys-lru',
          '--client-output-buffer-limit',
          'pubsub',
          '1mb',
          '0',
          '0',
        ],
      }),
    );
    const instance = own(await startInstance(redis.url));
    await eventually(() => instance.log.length >= 3, 'warnings');
    expect(instance.log.join('\n')).toMatch(/maxmemory-policy noeviction/);
    expect(instance.log.join('\n')).toMatch(/client-output-buffer-limit pubsub/);
  });

  it.each([1, 16, 48, 1024])('does not mix with instances of 4 partitions when it has %i', async (count) => {
    const redis = own(await startRedis());
    const first = own(await startInstance(redis.url));
    const other = own(await startInstance(redis.url, { redis: { partitions: count } }));
    expect(other.adapter).toMatchObject({ mode: 'local', storeReachable: false });
    expect(other.log.join('\n')).toContain(
      `SLUICEPARTITIONS other instances use REDIS_PARTITIONS=4, this one ${count}`,
    );
    expect(first.adapter.healthy).toBe(true);
  });

  it('does not mix with a release before, of another number of partitions', async () => {
    const redis = own(await startRedis());
    await redis.command('SET', 'sluice:{0.17}:partitions', '44'); // what that one keeps up, where 48 looks too
    const other = own(await startInstance(redis.url, { redis: { partitions: 48 } }));
    expect(other.adapter.mode).toBe('local');
    expect(other.log.join('\n')).toContain('REDIS_PARTITIONS=44, this one 48');
  });

  it('does not mix with a release two formats ahead, and does with the next one', async () => {
    const redis = own(await startRedis());
    await redis.command('HSET', 'sluice:{all.mt}:agreement', 'partitions', '4', 'format', '3');
    const other = own(await startInstance(redis.url));
    expect(other.adapter.mode).toBe('local');
    expect(other.log.join('\n')).toContain('SLUICEFORMAT other instances write format 3, this release 1');
    await redis.command('HSET', 'sluice:{all.mt}:agreement', 'format', '2');
    await eventually(() => other.adapter.healthy, 'in the store');
  });

  it('takes the store once the instances with another number of partitions are gone', async () => {
    const redis = own(await startRedis());
    const first = await startInstance(redis.url);
    await first.stop();
    const other = own(await startInstance(redis.url, { redis: { partitions: 48 } }));
    expect(other.adapter.mode).toBe('local');
    const left = Number(await redis.command('PTTL', 'sluice:{all.mt}:agreement'));
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThanOrEqual(30_000);
    await redis.command('DEL', 'sluice:{all.mt}:agreement'); // as it ends by itself
    await eventually(() => other.adapter.healthy, 'in the store');
  });
});
