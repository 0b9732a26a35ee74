import { stopAfterEach } from '../support/cleanup.js';
import type { Snapshot } from '../support/wire.js';
import { eventuallyAsync, startInstances } from './fleet-of-instances.js';

/** A replica that is promoted behind its master has an older state: here the same server with an older dump. */
describe('a Redis that was set back', () => {
  const own = stopAfterEach();

  it.each([
    ['before anybody served without it', 'leased', false],
    ['and instances had served from the broker', 'leased', true],
    ['and members of a group read', 'shared', false],
  ])(
    'gets status and metadata from what the broker retained, %s (%s)',
    async (_when, ingest, away) => {
      const { instances, redis, device } = await startInstances(own, 2, { MQTT_INGEST: ingest });
      const say = async (online: boolean, model: string): Promise<void> => {
        const retained = { qos: 1, retain: true } as const;
        const { client } = device;
        await client.publishAsync(
          'devices/d1/status',
          JSON.stringify({ online, ts: online ? 2 : 1 }),
          retained,
        );
        await client.publishAsync('devices/d2/status', JSON.stringify({ online }), retained);
        await client.publishAsync('devices/d1/meta', JSON.stringify({ model }), retained);
      };
      await say(false, 'old');
      await eventuallyAsync(async () => (await seen()).every((state) => state === 'false false old'));
      await redis.command('SAVE');
      await say(true, 'new');
      await eventuallyAsync(async () => (await seen()).every((state) => state === 'true true new'));

      await redis.kill();
      if (away) {
        await eventuallyAsync(async () =>
          (await Promise.all(instances.map((one) => one.metric('sluice_redis_degraded')))).every(
            (value) => value === 1,
          ),
        );
      }
      await redis.start();

      await eventuallyAsync(async () =>
        (await Promise.all(instances.map((one) => one.metric('sluice_redis_connected')))).every(
          (value) => value === 1,
        ),
      );
      await eventuallyAsync(async () =>
        (await Promise.all(instances.map((one) => one.metric('sluice_redis_degraded')))).every(
          (value) => value === 0,
        ),
      );
      await eventuallyAsync(async () => (await seen()).every((state) => state === 'true true new'));

      /** What a dashboard that comes now is shown, at each instance. */
      async function seen(): Promise<string[]> {
        return Promise.all(
          instances.map(async (instance) => {
            const client = await instance.connect({ claims: { deviceIds: ['d1', 'd2'] } });
            const { devices } = await client.next('snapshot');
            await client.stop();
            const of = (id: string): Snapshot['devices'][number] | undefined =>
              devices.find(({ deviceId }) => deviceId === id);
            return [of('d1')?.status?.isOnline, of('d2')?.status?.isOnline, of('d1')?.meta?.['model']].join(
              ' ',
            );
          }),
        );
      }
    },
    90_000,
  );
});
