import { stopAfterAll } from '../support/cleanup.js';
import { startRedis } from '../support/redis.js';
import { type Sluice, startSluice } from '../support/sluice.js';
import {
  Counting,
  eventuallyAsync,
  type Instances,
  reaches,
  startInstances,
  telemetryOf,
} from './fleet-of-instances.js';

interface Ready {
  status: string;
  details: { mqtt: { status: string; reason?: string } };
}

const ready = async (instance: Sluice): Promise<Ready> =>
  (await (await instance.fetch('/health/ready')).json()) as Ready;

describe.each(['leased', 'shared'])('two Redis servers behind one broker, MQTT_INGEST=%s', (ingest) => {
  const own = stopAfterAll();
  let stage: Instances;
  let redis: Awaited<ReturnType<typeof startRedis>>;
  let second: Sluice;
  const start = (env: Record<string, string>): Promise<Sluice> =>
    startSluice({ env: { ...stage.env(0), ...env }, waitForReady: false });

  beforeAll(async () => {
    [stage, redis] = await Promise.all([
      startInstances(own, 1, {
        MQTT_INGEST: ingest,
        MQTT_SHARED_GROUP: 'all',
        REDIS_TIMEOUT_MS: '30000', // a machine that halts is no loss of Redis
      }),
      startRedis(),
    ]);
    own(redis);
  }, 180_000);

  // Messages that wait at the broker have no age that Sluice could see: dashboards were 79 s behind, and nobody was told.
  it('tells dashboards what messages wait at the broker, and that they no longer do', async () => {
    const [first] = stage.instances as [Sluice];
    const dashboard = own(await first.connect({ claims: { deviceIds: ['b'] } }));
    await dashboard.next('subscribed');
    await eventuallyAsync(async () => (await first.metric('sluice_ingest_backlog_seconds')) > 0);
    stage.broker.freeze();
    try {
      const behind = await dashboard.next('upstream', undefined, 20_000);
      expect(behind).toMatchObject({ mqtt: 'up', behindMs: expect.any(Number) });
      await eventuallyAsync(async () => (await first.metric('sluice_ingest_backlog_seconds')) > 5);
      const late = own(await first.connect({ claims: { deviceIds: ['b'] } }));
      expect((await late.next('upstream')).behindMs).toBeGreaterThanOrEqual(behind.behindMs!);
    } finally {
      stage.broker.thaw();
    }
    await eventuallyAsync(() => Promise.resolve(dashboard.all('upstream').at(-1)?.behindMs === undefined));
    expect(dashboard.all('upstream').at(-1)).toMatchObject({ mqtt: 'up' });
  }, 60_000);

  // Both held "the" lease, each in its own Redis, and threw each other out of the one session at the broker: of 14 999 messages one
  // got 11 456, the other 3 578, and nothing said so. In a shared subscription each deployment got half. A store has an identity now.
  it('reads for the first alone; the second is not ready and says why; no message is lost', async () => {
    const [first] = stage.instances as [Sluice];
    const dashboard = own(await first.connect({ claims: { deviceIds: ['d'] } }));
    await dashboard.next('subscribed');
    const counting = new Counting(stage.device, 'd');
    await reaches(dashboard, 'd', 25);
    second = own(await start({ REDIS_URL: redis.url }));
    await eventuallyAsync(async () => (await ready(second)).details.mqtt.reason !== undefined);
    const { status, details } = await ready(second);
    expect([status, details.mqtt.status]).toEqual(['error', 'down']);
    expect(details.mqtt.reason).toMatch(/namespace sluice read under the same names at the broker/);
    await second.line(/This instance does not begin to read device topics/);
    await reaches(dashboard, 'd', counting.sent + 250);
    const count = await counting.stop();
    await reaches(dashboard, 'd', count - 1);
    expect(telemetryOf(dashboard, 'd').map(({ payload }) => payload)).toEqual(
      Array.from({ length: count }, (_, number) => number),
    );
    expect(await second.metric('sluice_ingest_conflict')).toBe(1);
    expect(await second.metric('sluice_ingest_messages_total', { outcome: 'accepted' })).toBe(0);
    expect(await first.metric('sluice_ingest_conflict')).toBe(0);
  }, 60_000);

  if (ingest === 'shared') {
    it('keeps a deployment of another NAMESPACE out of its group, and lets it read in a group of its own', async () => {
      const foreign = own(await start({ REDIS_URL: redis.url, NAMESPACE: 'other' }));
      await eventuallyAsync(async () =>
        /namespace sluice/.test((await ready(foreign)).details.mqtt.reason ?? ''),
      );
      await foreign.stop();
      const apart = own(await start({ REDIS_URL: redis.url, NAMESPACE: 'other', MQTT_SHARED_GROUP: '' }));
      await eventuallyAsync(async () => (await ready(apart)).status === 'ok');
      await stage.device.publish('devices/e/telemetry', '1');
      await eventuallyAsync(
        async () =>
          (await apart.metric('sluice_ingest_messages_total', { kind: 'telemetry', outcome: 'accepted' })) ===
          1,
      );
      await apart.stop();
    }, 60_000);
  }

  it('the second reads as soon as the first has stopped', async () => {
    await stage.instances[0]!.stop();
    await eventuallyAsync(async () => (await ready(second)).status === 'ok');
    const dashboard = own(await second.connect({ claims: { deviceIds: ['late'] } }));
    await dashboard.next('subscribed');
    await stage.device.publish('devices/late/telemetry', '1');
    await reaches(dashboard, 'late', 1);
    await eventuallyAsync(async () => (await second.metric('sluice_ingest_conflict')) === 0);
  }, 60_000);
});
