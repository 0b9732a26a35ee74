import { publish } from '../contract/broadcast-adapter.contract.js';
import { stopAfterEach } from '../support/cleanup.js';
import { startRedis } from '../support/redis.js';
import { createInstance, eventually, startInstance } from './redis-fixture.js';

const PASSWORD = 'p@ss:/,%?#w';

describe('user and password of Redis apart from its address', () => {
  const own = stopAfterEach();

  async function startGuarded(): Promise<number> {
    const redis = own(await startRedis());
    await redis.command('ACL', 'SETUSER', 'live', 'on', `>${PASSWORD}`, '~*', '&*', '+@all');
    await redis.command('ACL', 'SETUSER', 'default', 'off');
    return redis.port;
  }

  it('are taken as they are, in place of those in the address', async () => {
    const port = await startGuarded();
    const { adapter, receiver } = own(
      await startInstance(`redis://someone:else@127.0.0.1:${port}`, {
        redis: { username: 'live', password: PASSWORD },
      }),
    );
    await adapter.attach(['d1']);
    await publish(adapter, 'd1', 1);
    await receiver.until(() => receiver.payloads('d1').length === 1);
    expect(adapter.healthy).toBe(true);
  });

  it('are refused where they are wrong, and are in no line of the log', async () => {
    const port = await startGuarded();
    const { adapter, log } = own(
      createInstance(`redis://127.0.0.1:${port}`, { redis: { username: 'live', password: 'not-this-one' } }),
    );
    void adapter.start();
    await eventually(() => log.some((line) => /WRONGPASS/.test(line)), 'refused');
    expect(log.join()).not.toContain('not-this-one');
  });
});
