import { stopAfterEach } from '../support/cleanup.js';
import { Counting, eventuallyAsync, startInstances, telemetryOf } from './fleet-of-instances.js';

const sorted = (values: unknown[]): number[] => [...(values as number[])].sort((a, b) => a - b);
const numbers = (count: number): number[] => Array.from({ length: count }, (_, number) => number);

describe('MQTT_INGEST=shared', () => {
  const own = stopAfterEach();

  it('stores each message once, whichever instance reads it, and shows it on all', async () => {
    const { instances, device } = await startInstances(own, 3, { MQTT_INGEST: 'shared' });
    const dashboards = await Promise.all(
      instances.map(async (instance) => own(await instance.connect({ claims: { deviceIds: ['d1'] } }))),
    );
    await Promise.all(dashboards.map((dashboard) => dashboard.next('subscribed')));
    const sent = numbers(300);
    await Promise.all(sent.map((number) => device.publish('devices/d1/telemetry', String(number))));
    await eventuallyAsync(() =>
      Promise.resolve(dashboards.every((dashboard) => telemetryOf(dashboard, 'd1').length >= sent.length)),
    );
    const [first, ...others] = dashboards.map((dashboard) => telemetryOf(dashboard, 'd1'));
    expect(sorted(first!.map(({ payload }) => payload))).toEqual(sent);
    expect(first!.map(({ offset }) => offset)).toEqual(sent.map((number) => number + 1));
    for (const other of others) {
      expect(other).toEqual(first);
    }
    const shares = await Promise.all(
      instances.map((one) =>
        one.metric('sluice_ingest_messages_total', { kind: 'telemetry', outcome: 'accepted' }),
      ),
    );
    expect(Math.min(...shares)).toBeGreaterThan(0);
    expect(shares.reduce((sum, share) => sum + share, 0)).toBe(sent.length);
  }, 60_000);

  it('gives every instance what the broker retained', async () => {
    const stage = await startInstances(own, 2, { MQTT_INGEST: 'shared' });
    await stage.device.publish('devices/d2/status', '{"online":true,"ts":7}', { retain: true });
    await stage.device.publish('devices/d2/meta', '{"name":"D"}', { retain: true });
    const dashboard = own(await stage.instances[1]!.connect({ claims: { deviceIds: ['d2'] } }));
    await eventuallyAsync(async () => {
      dashboard.send({ type: 'subscribe', deviceIds: ['d2'] });
      const { devices } = await dashboard.next('snapshot');
      return devices[0]?.status?.lastSeen === 7 && devices[0].meta?.['name'] === 'D';
    });
  }, 60_000);

  it.each([
    ['kill -9', 'kill'],
    ['a clean stop', 'stop'],
  ] as const)(
    'loses nothing that the broker kept at %s of a member',
    async (_what, how) => {
      const { instances, device } = await startInstances(own, 3, { MQTT_INGEST: 'shared' });
      const dashboard = own(await instances[2]!.connect({ claims: { deviceIds: ['d1'] } }));
      await dashboard.next('subscribed');
      const counting = new Counting(device, 'd1');
      await eventuallyAsync(() => Promise.resolve(telemetryOf(dashboard, 'd1').length > 100));
      await instances[0]![how]();
      const { sent } = counting;
      await eventuallyAsync(() => Promise.resolve(counting.sent > sent + 600));
      const count = await counting.stop();
      await eventuallyAsync(() => {
        const seen = new Set(telemetryOf(dashboard, 'd1').map(({ payload }) => payload));
        return Promise.resolve(seen.size === count);
      }).catch(() => undefined);
      const received = telemetryOf(dashboard, 'd1').map(({ payload }) => payload);
      const lost = numbers(count).filter((number) => !received.includes(number)).length;
      console.info(`shared, ${how}: ${count} published, ${received.length} delivered, lost ${lost}`);
      expect(lost).toBe(0);
      expect(new Set(received).size).toBe(received.length);
    },
    90_000,
  );

  it('serves every instance from the broker while Redis is away, and goes back', async () => {
    const { instances, device, redis } = await startInstances(own, 2, { MQTT_INGEST: 'shared' });
    const dashboards = await Promise.all(
      instances.map(async (instance) => own(await instance.connect({ claims: { deviceIds: ['d1'] } }))),
    );
    await Promise.all(dashboards.map((dashboard) => dashboard.next('subscribed')));
    const degraded = async (): Promise<number> =>
      (await Promise.all(instances.map((one) => one.metric('sluice_redis_degraded')))).reduce(
        (sum, value) => sum + value,
      );
    await redis.kill();
    await eventuallyAsync(async () => (await degraded()) === 2);
    await eventuallyAsync(async () => {
      await device.publish('devices/d1/telemetry', '"live"');
      return dashboards.every((dashboard) => telemetryOf(dashboard, 'd1').length > 0);
    });
    await redis.start();
    await eventuallyAsync(async () => (await degraded()) === 0);
    await device.publish('devices/d1/telemetry', '"after"');
    for (const dashboard of dashboards) {
      await dashboard.next('telemetry', ({ payload }) => payload === 'after');
      expect(dashboard.all('upstream')).toEqual([]);
    }
  }, 60_000);
});
