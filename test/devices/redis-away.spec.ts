import { stopAfterEach } from '../support/cleanup.js';
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
  own: <T extends { stop(): unknown }>(one: T) => T,
): Promise<DashboardClient[]> {
  const dashboards = await Promise.all(
    instances.map(async (instance) => own(await instance.connect({ claims: { deviceIds: ['d1'] } }))),
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

  it.each([
    ['is killed and comes back empty', 'kill'],
    ['freezes and thaws', 'freeze'],
  ])(
    'serves live data and commands from the broker, and goes back together, when Redis %s',
    async (_what, how) => {
      const stage = await startInstances(own, 3);
      const { instances, redis, device } = stage;
      const dashboards = await watch(stage, own);
      await device.client.subscribeAsync('devices/d1/commands', { qos: 1 });
      const counting = new Counting(device, 'd1');
      await Promise.all(dashboards.map((dashboard) => reaches(dashboard, 'd1', 100)));
      await (how === 'kill' ? redis.kill() : redis.freeze());
      await eventuallyAsync(async () =>
        (await Promise.all(instances.map(degraded))).every((value) => value === 1),
      );
      await Promise.all(dashboards.map((dashboard) => reaches(dashboard, 'd1', counting.sent + 200)));
      for (const [at, dashboard] of dashboards.entries()) {
        dashboard.send({ type: 'command', deviceId: 'd1', command: at, id: at });
        await dashboard.next('command_sent', ({ id }) => id === at);
      }
      expect((await instances[0]!.fetch('/health/ready')).status).toBe(200);
      await (how === 'kill' ? redis.start() : redis.thaw());
      await eventuallyAsync(async () =>
        (await Promise.all(instances.map(degraded))).every((value) => value === 0),
      );
      await Promise.all(dashboards.map((dashboard) => reaches(dashboard, 'd1', counting.sent + 200)));
      const count = await counting.stop();
      await Promise.all(dashboards.map((dashboard) => reaches(dashboard, 'd1', count - 1)));
      for (const dashboard of dashboards) {
        const received = telemetryOf(dashboard, 'd1');
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
      const ends = dashboards.map((dashboard) => telemetryOf(dashboard, 'd1').at(-1)!);
      expect(new Set(ends.map(({ epoch, offset }) => `${epoch} ${offset}`)).size).toBe(1);
      if (how === 'freeze') {
        expect(ends[0]!.offset).toBe(count);
      }
    },
    90_000,
  );

  it('serves one instance that is cut off from Redis from the broker, and the others notice nothing', async () => {
    const stage = await startInstances(own, 2);
    const holder = await stage.holder();
    const cutOff = stage.instances.indexOf(holder);
    const dashboards = await watch(stage, own);
    const counting = new Counting(stage.device, 'd1');
    await Promise.all(dashboards.map((dashboard) => reaches(dashboard, 'd1', 100)));
    stage.redisLinks[cutOff]!.refuse();
    await eventuallyAsync(async () => (await degraded(holder)) === 1);
    await Promise.all(dashboards.map((dashboard) => reaches(dashboard, 'd1', counting.sent + 200)));
    stage.redisLinks[cutOff]!.heal();
    await eventuallyAsync(async () => (await degraded(holder)) === 0);
    const count = await counting.stop();
    await Promise.all(dashboards.map((dashboard) => reaches(dashboard, 'd1', count - 1)));
    const [there, here] = [dashboards[cutOff]!, dashboards[1 - cutOff]!];
    expect(telemetryOf(here, 'd1').map(({ payload }) => payload)).toEqual(
      Array.from({ length: count }, (_, number) => number),
    );
    expect(expectConsistent(telemetryOf(here, 'd1')).epochs).toBe(1);
    expect(expectConsistent(telemetryOf(there, 'd1')).epochs).toBe(3);
    expectNothingOld(there);
    expect(dashboards.flatMap((dashboard) => dashboard.all('upstream'))).toEqual([]);
    expect(telemetryOf(there, 'd1').at(-1)).toMatchObject({ offset: count });
  }, 90_000);

  it('starts without Redis, serves from the broker, and is ready when Redis has come', async () => {
    const stage = await startInstances(own, 1);
    const { redis, device } = stage;
    await stage.instances[0]!.stop();
    await redis.kill();
    const instance = own(await startSluice({ env: stage.env(0), waitForReady: false }));
    const dashboard = own(await instance.connect({ claims: { deviceIds: ['d1'] } }));
    await eventuallyAsync(async () => {
      await device.publish('devices/d1/telemetry', '"live"');
      return dashboard.all('telemetry').length > 0;
    });
    expect((await instance.fetch('/health/ready')).status).toBe(503);
    await redis.start();
    await eventuallyAsync(async () => (await instance.fetch('/health/ready')).status === 200);
    expect(await degraded(instance)).toBe(0);
    await device.publish('devices/d1/telemetry', '"stored"');
    await dashboard.next('telemetry', ({ payload }) => payload === 'stored');
  }, 60_000);
});
