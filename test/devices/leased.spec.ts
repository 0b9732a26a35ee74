import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { promised, SLACK } from '../support/slack.js';
import {
  Counting,
  eventuallyAsync,
  type Instances,
  longestGapMs,
  reaches,
  startInstances,
  telemetryOf,
} from './fleet-of-instances.js';

const numbers = (count: number): number[] => Array.from({ length: count }, (_, number) => number);

/** Longer than any test here would wait for. */
const LEASE_MS = 10_000;

describe('MQTT_INGEST=leased', () => {
  const own = stopAfterEach();
  const shared = stopAfterAll();
  let stage: Instances;

  // One stage for the tests that ask for nothing else: each has devices and dashboards of its own.
  beforeAll(async () => {
    stage = await startInstances(shared, 3);
  }, 180_000);

  it('delivers each publication once, in order and with the same offset on every instance', async () => {
    const { instances, device } = stage;
    const dashboards = await Promise.all(
      instances.map(async (instance) => own(await instance.connect({ claims: { deviceIds: ['d1'] } }))),
    );
    await Promise.all(dashboards.map((dashboard) => dashboard.next('subscribed')));
    const sent = numbers(500);
    await Promise.all(sent.map((number) => device.publish('devices/d1/telemetry', String(number))));
    await Promise.all(dashboards.map((dashboard) => reaches(dashboard, 'd1', sent.length - 1)));
    const [first, ...others] = dashboards.map((dashboard) => telemetryOf(dashboard, 'd1'));
    expect(first!.map(({ payload }) => payload)).toEqual(sent);
    for (const other of others) {
      expect(other.map(({ epoch, offset }) => [epoch, offset])).toEqual(
        first!.map(({ epoch, offset }) => [epoch, offset]),
      );
    }
    const held = await Promise.all(instances.map((one) => one.metric('sluice_ingest_lease_held')));
    expect(held.sort()).toEqual([0, 0, 1]);
    // Of the session that reads, not of the one that read retained messages after it had begun.
    const topics = await Promise.all(instances.map((one) => one.metric('sluice_kept', { what: 'topics' })));
    expect(topics.filter((count) => count > 0)).toHaveLength(1);
    await device.publish('devices/d1/status', '{"online":true,"ts":5}');
    await device.publish('devices/d1/meta', '{"name":"D"}', { retain: true });
    for (const dashboard of dashboards) {
      expect((await dashboard.next('device_status')).lastSeen).toBe(5);
      expect((await dashboard.next('device_meta')).meta).toEqual({ name: 'D' });
    }
  }, 60_000);

  it('takes over from a holder that hangs, whose later messages the store refuses', async () => {
    const holder = await stage.holder();
    const others = stage.instances.filter((instance) => instance !== holder);
    const dashboard = own(await others[0]!.connect({ claims: { deviceIds: ['hangs'] } }));
    await dashboard.next('subscribed');
    const counting = new Counting(stage.device, 'hangs');
    await reaches(dashboard, 'hangs', 25);
    holder.send('SIGSTOP');
    await reaches(dashboard, 'hangs', counting.sent + 50);
    holder.send('SIGCONT');
    await reaches(dashboard, 'hangs', counting.sent + 100);
    const count = await counting.stop();
    await reaches(dashboard, 'hangs', count - 1);
    expect(telemetryOf(dashboard, 'hangs').map(({ payload }) => payload)).toEqual(numbers(count));
    const held = await Promise.all(others.map((one) => one.metric('sluice_ingest_lease_held')));
    expect(held.sort()).toEqual([0, 1]);
    await holder.line(/no longer reads device topics/);
    expect(await holder.metric('sluice_ingest_lease_held')).toBe(0);
    const took = await Promise.all(
      others.map((one) => one.metric('sluice_ingest_takeovers_total', { what: 'lease' })),
    );
    expect(Math.max(...took)).toBe(1);
  }, 60_000);

  it.each(['5', '4'])(
    'takes over within 2 s of kill -9, with what the broker queued, and nothing is lost or stored twice (MQTT %s)',
    async (version) => {
      // The last test of the shared stage: it ends an instance.
      const killed =
        version === '5' ? stage : await startInstances(own, 2, { MQTT_PROTOCOL_VERSION: version });
      const deviceId = `killed-${version}`;
      const holder = await killed.holder();
      const other = killed.instances.find((instance) => instance !== holder)!;
      const dashboard = own(await other.connect({ claims: { deviceIds: [deviceId] } }));
      await dashboard.next('subscribed');
      const counting = new Counting(killed.device, deviceId);
      await reaches(dashboard, deviceId, 50);
      await holder.kill();
      const { sent } = counting;
      await reaches(dashboard, deviceId, sent + 100);
      const count = await counting.stop();
      await reaches(dashboard, deviceId, count - 1);
      const received = telemetryOf(dashboard, deviceId);
      expect(received.map(({ payload }) => payload)).toEqual(numbers(count));
      expect(received.map(({ offset }) => offset)).toEqual(numbers(count).map((number) => number + 1));
      const gap = longestGapMs(received);
      console.info(`kill -9 of the holder: ${count} published, ${received.length} delivered, gap ${gap} ms`);
      promised(gap, 2_000);
      expect(dashboard.all('upstream')).toEqual([]);
    },
    60_000,
  );

  it('hands over at a clean stop in less than 200 ms, and does not wait for the end of the lease', async () => {
    let gap = Number.POSITIVE_INFINITY;
    // A machine that halts for as long is no reason to fail, one that does so each time is.
    for (let attempt = 0; attempt < 3 && gap >= 200 * SLACK; attempt += 1) {
      gap = Math.min(gap, await handOver());
    }
    promised(gap, 200);
  }, 120_000);

  /** @returns the longest time without a publication at a dashboard of the other instance, in ms */
  async function handOver(): Promise<number> {
    const stage = await startInstances(own, 2, { REDIS_LEASE_MS: String(LEASE_MS) });
    const holder = await stage.holder();
    const other = stage.instances.find((instance) => instance !== holder)!;
    const dashboard = own(await other.connect({ claims: { deviceIds: ['d1'] } }));
    await dashboard.next('subscribed');
    const counting = new Counting(stage.device, 'd1');
    await reaches(dashboard, 'd1', 50);
    expect(await holder.stop()).toEqual({ code: 0, signal: null });
    const { sent } = counting;
    await reaches(dashboard, 'd1', sent + 50);
    const count = await counting.stop();
    await reaches(dashboard, 'd1', count - 1);
    const received = telemetryOf(dashboard, 'd1');
    expect(received.map(({ payload }) => payload)).toEqual(numbers(count));
    const gap = longestGapMs(received);
    console.info(`clean stop of the holder: ${count} published, ${received.length} delivered, gap ${gap} ms`);
    expect(gap).toBeLessThan(LEASE_MS / 2);
    expect(await other.metric('sluice_ingest_messages_total', { outcome: 'duplicate' })).toBe(0);
    expect(dashboard.all('upstream')).toEqual([]);
    return gap;
  }

  it('does without its notes at a broker that does not pass them on: later, and it says what is missing', async () => {
    const stage = await startInstances(own, 2, {}, { acl: 'topic readwrite devices/#\n' });
    const holder = await stage.holder();
    const other = stage.instances.find((instance) => instance !== holder)!;
    const dashboard = own(await other.connect({ claims: { deviceIds: ['d1'] } }));
    await dashboard.next('subscribed');
    await holder.line(/allow Sluice's user to read and write sluice\/ingest\/#/);
    const counting = new Counting(stage.device, 'd1');
    await reaches(dashboard, 'd1', 25);
    await holder.kill();
    await reaches(dashboard, 'd1', counting.sent + 100);
    await stage.redis.kill();
    await eventuallyAsync(async () => (await other.metric('sluice_redis_degraded')) === 1);
    await reaches(dashboard, 'd1', counting.sent + 50);
    await stage.redis.start();
    await eventuallyAsync(async () => (await other.metric('sluice_redis_degraded')) === 0);
    const count = await counting.stop();
    await reaches(dashboard, 'd1', count - 1);
    const beforeRedis = telemetryOf(dashboard, 'd1');
    const first = beforeRedis.filter(({ epoch }) => epoch === beforeRedis[0]!.epoch);
    expect(first.map(({ payload }) => payload)).toEqual(numbers(first.length));
    promised(longestGapMs(first), 2_500);
  }, 90_000);
});
