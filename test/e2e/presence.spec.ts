import { eventually } from '../redis/redis-fixture.js';
import { stopAfterEach } from '../support/cleanup.js';
import { startMosquitto } from '../support/mosquitto.js';
import { startRedis } from '../support/redis.js';
import { type Sluice, startSluice } from '../support/sluice.js';

const TOO_MANY = 4009;

describe('the connections of one user on several instances', () => {
  const own = stopAfterEach();

  it('are limited in all, and a killed instance leaves none behind', async () => {
    const broker = own(await startMosquitto());
    const redis = own(await startRedis());
    const env = {
      MQTT_URL: broker.url,
      REDIS_URL: redis.url,
      WS_MAX_CONNECTIONS_PER_USER: '2',
      // What a killed instance leaves goes after ten of these.
      REDIS_LEASE_MS: '300',
    };
    const [a, b] = await Promise.all([startSluice({ env }), startSluice({ env })]);
    own(a);
    own(b);

    const welcomed = async (instance: Sluice, userId: string): Promise<boolean> => {
      const client = own(await instance.connect({ claims: { userId }, query: { subscribe: 'none' } }));
      const isIn = await client.next('connected', undefined, 30_000).then(
        () => true,
        () => false,
      );
      if (!isIn) {
        expect((await client.closed).code).toBe(TOO_MANY);
      }
      return isIn;
    };
    expect(await welcomed(a, 'u')).toBe(true);
    expect(await welcomed(b, 'u')).toBe(true);
    expect(await welcomed(a, 'u')).toBe(false);
    expect(await welcomed(b, 'u')).toBe(false);
    expect(await welcomed(b, 'somebody else')).toBe(true);

    await a.kill();
    await eventually(() => welcomed(b, 'u'), 'the place of the killed instance', 30_000);
    expect(await welcomed(b, 'u')).toBe(false);
  }, 120_000);
});
