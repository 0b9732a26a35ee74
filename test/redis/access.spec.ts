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

  it('does not mix with instances that use another number of partitions', async () => {
    const redis = own(await startRedis());
    own(await startInstance(redis.url));
    const other = own(await startInstance(redis.url, { redis: { partitions: 32 } }));
    expect(other.adapter.mode).toBe('local');
    expect(other.log.join('\n')).toMatch(/REDIS_PARTITIONS=16, this one 32/);
  });
});
