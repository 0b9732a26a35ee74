import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import type { DashboardClient } from '../support/dashboard-client.js';
import { type Sluice, startSluice } from '../support/sluice.js';
import type { Telemetry } from '../support/wire.js';
import { promised } from '../support/slack.js';
import {
  Counting,
  eventuallyAsync,
  type Instances,
  longestGapMs,
  reaches,
  startInstances,
  telemetryOf,
} from './fleet-of-instances.js';

const degraded = (instance: Sluice): Promise<number> => instance.metric('sluice_redis_degraded');

async function watch(
  { instances }: Instances,
  deviceId: string,
  own: <T extends { stop(): unknown }>(one: T) => T,
): Promise<DashboardClient[]> {
  const dashboards = await Promise.all(
    instances.map(async (instance) => own(await instance.connect({ claims: { deviceIds: [deviceId] } }))),
  );
  await Promise.all(dashboards.map((dashboard) => dashboard.next('subscribed')));
  return dashboards;
}

/** Within an epoch numbers and offsets grow by 1 each; over all epochs no number comes after a greater one, other than again. */
function expectConsistent(publications: readonly Telemetry[]): { epochs: number; again: number } {
  let epochs = 0;
  let again = 0;
  let highest = -1;
  publications.forEach((publication, at) => {
    const before = publications[at - 1];
    const number = publication.payload as number;
    if (before?.epoch === publication.epoch) {
      expect(publication.offset).toBe(before.offset + 1);
      expect(number).toBe((before.payload as number) + 1);
    } else {
      epochs += 1;
    }
    again += number <= highest ? 1 : 0;
    highest = Math.max(highest, number);
  });
  return { epochs, again };
}

/** Every snapshot's value is at least as new as what the dashboard had. */
function expectNothingOld({ received }: DashboardClient): void {
  let highest = -1;
  for (const message of received) {
    if (message.type === 'telemetry') {
      highest = Math.max(highest, message.payload as number);
    } else if (message.type === 'snapshot') {
      for (const { telemetry } of message.devices) {
        expect(telemetry?.payload ?? highest).toBeGreaterThanOrEqual(highest);
      }
    }
  }
}

describe('MQTT_INGEST=leased while Redis is away', () => {
  const own = stopAfterEach();
  const shared = stopAfterAll();
  let stage: Instances;

  // One stage for all tests: each has devices and dashboards of its own, and leaves all instances in the store.
  beforeAll(async () => {
    stage = await startInstances(shared, 3);
  }, 180_000);

  it.each([
    ['is killed and comes back empty', 'kill'],
    ['freezes and thaws', 'freeze'],
  ])(
    'serves live data and commands from the broker, and goes back together, when Redis %s',
    async (_what, how) => {
      const { instances, redis, device } = stage;
      const deviceId = `redis-${how}`;
      const dashboards = await watch(stage, deviceId, own);
      await device.client.subscribeAsync(`devices/${deviceId}/commands`, { qos: 1 });
      const counting = new Counting(device, deviceId);
      await Promise.all(dashboards.map((dashboard) => reaches(dashboard, deviceId, 50)));
      // On a busy machine an instance may lose Redis once more, and has an epoch of its own then: it begins where all have that of the store.
      await eventuallyAsync(async () => {
        const areBack = (await Promise.all(instances.map(degraded))).every((value) => value === 0);
        const newest = dashboards.map((dashboard) => telemetryOf(dashboard, deviceId).at(-1)!);
        return areBack && new Set(newest.map(({ epoch }) => epoch)).size === 1;
      });
      const begins = dashboards.map((dashboard) => telemetryOf(dashboard, deviceId).length - 1);
      await (how === 'kill' ? redis.kill() : redis.freeze());
      await eventuallyAsync(async () =>
        (await Promise.all(instances.map(degraded))).every((value) => value === 1),
      );
      await Promise.all(dashboards.map((dashboard) => reaches(dashboard, deviceId, counting.sent + 75)));
      for (const [at, dashboard] of dashboards.entries()) {
        dashboard.send({ type: 'command', deviceId, command: at, id: at });
        await dashboard.next('command_sent', ({ id }) => id === at);
      }
      expect((await instances[0]!.fetch('/health/ready')).status).toBe(200);
      await (how === 'kill' ? redis.start() : redis.thaw());
      await eventuallyAsync(async () =>
        (await Promise.all(instances.map(degraded))).every((value) => value === 0),
      );
      await Promise.all(dashboards.map((dashboard) => reaches(dashboard, deviceId, counting.sent + 50)));
      const count = await counting.stop();
      await Promise.all(dashboards.map((dashboard) => reaches(dashboard, deviceId, count - 1)));
      for (const [at, dashboard] of dashboards.entries()) {
        const received = telemetryOf(dashboard, deviceId).slice(begins[at]);
        const gap = longestGapMs(received);
        const { epochs, again } = expectConsistent(received);
        console.info(
          `Redis ${how}: ${count} published, ${received.length} delivered, ${epochs} epochs, ${again} again, gap ${gap} ms`,
        );
        expect(epochs).toBe(3);
        promised(gap, 2_000);
        expectNothingOld(dashboard);
        expect(dashboard.all('upstream')).toEqual([]);
      }
      // The store went on where it was read to: the same position for everybody, and nothing stored twice.
      const ends = dashboards.map((dashboard) => telemetryOf(dashboard, deviceId).at(-1)!);
      expect(new Set(ends.map(({ epoch, offset }) => `${epoch} ${offset}`)).size).toBe(1);
      if (how === 'freeze') {
        expect(ends[0]!.offset).toBe(count);
      }
    },
    90_000,
  );

  it('serves one instance that is cut off from Redis from the broker, and the others notice nothing', async () => {
    const holder = await stage.holder();
    const cutOff = stage.instances.indexOf(holder);
    const dashboards = await watch(stage, 'cut-off', own);
    const counting = new Counting(stage.device, 'cut-off');
    await Promise.all(dashboards.map((dashboard) => reaches(dashboard, 'cut-off', 50)));
    stage.redisLinks[cutOff]!.refuse();
    await eventuallyAsync(async () => (await degraded(holder)) === 1);
    // It asks the broker for what is watched there, and not for the fleet: for that of whoever comes, too.
    const filters = (scope: string): Promise<number> =>
      holder.metric('sluice_ingest_away_filters', { scope });
    await eventuallyAsync(async () => (await filters('watched')) === 3);
    // Without Redis nothing said what waits at the broker for this instance: its own markers do. It holds no lease by now.
    await eventuallyAsync(
      async () =>
        (await holder.metric('sluice_ingest_lease_held')) === 0 &&
        (await holder.metric('sluice_ingest_backlog_seconds')) > 0,
    );
    await stage.device.publish('devices/came-later/status', '{"online":true,"ts":7}', { retain: true });
    const late = own(await holder.connect({ claims: { deviceIds: ['came-later'] } }));
    expect((await late.next('device_status')).lastSeen).toBe(7);
    await stage.device.publish('devices/came-later/telemetry', '7');
    await reaches(late, 'came-later', 7);
    await eventuallyAsync(async () => (await filters('watched')) === 6);
    expect(await filters('fleet')).toBe(0);
    const byPattern = own(await holder.connect({ claims: { deviceIds: ['nobody-*'] } }));
    byPattern.send({ type: 'subscribe', pattern: 'nobody-*' });
    await byPattern.next('subscribed', (answer) => 'pattern' in answer);
    await eventuallyAsync(async () => (await filters('fleet')) === 3);
    await Promise.all(dashboards.map((dashboard) => reaches(dashboard, 'cut-off', counting.sent + 100)));
    stage.redisLinks[cutOff]!.heal();
    await eventuallyAsync(async () => (await degraded(holder)) === 0);
    const count = await counting.stop();
    await Promise.all(dashboards.map((dashboard) => reaches(dashboard, 'cut-off', count - 1)));
    const there = dashboards[cutOff]!;
    for (const here of dashboards.filter((dashboard) => dashboard !== there)) {
      expect(telemetryOf(here, 'cut-off').map(({ payload }) => payload)).toEqual(
        Array.from({ length: count }, (_, number) => number),
      );
      expect(expectConsistent(telemetryOf(here, 'cut-off')).epochs).toBe(1);
    }
    expect(expectConsistent(telemetryOf(there, 'cut-off')).epochs).toBe(3);
    expectNothingOld(there);
    expect(dashboards.flatMap((dashboard) => dashboard.all('upstream'))).toEqual([]);
    expect(telemetryOf(there, 'cut-off').at(-1)).toMatchObject({ offset: count });
  }, 90_000);

  it('starts without Redis, lets nobody in, and is ready when Redis has come', async () => {
    const { redis, device } = stage;
    // The only one, as the first of a new deployment.
    await Promise.all(stage.instances.map((one) => one.stop()));
    await redis.kill();
    const instance = own(await startSluice({ env: stage.env(0), waitForReady: false }));
    // Which tokens are revoked stands in Redis: until it was read, they are told to come back.
    const early = own(await instance.connect({ claims: { deviceIds: ['alone'] } }));
    expect((await early.closed).code).toBe(1013);
    expect((await instance.fetch('/health/ready')).status).toBe(503);
    await redis.start();
    await eventuallyAsync(async () => (await instance.fetch('/health/ready')).status === 200);
    expect(await degraded(instance)).toBe(0);
    const dashboard = own(await instance.connect({ claims: { deviceIds: ['alone'] } }));
    await dashboard.next('subscribed');
    await device.publish('devices/alone/telemetry', '"stored"');
    await dashboard.next('telemetry', ({ payload }) => payload === 'stored');
  }, 60_000);
});
