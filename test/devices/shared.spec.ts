import { Redis } from 'ioredis';
import { connectAsync } from 'mqtt';
import { stopAfterEach } from '../support/cleanup.js';
import {
  Counting,
  eventuallyAsync,
  type Instances,
  reaches,
  startInstances,
  telemetryOf,
} from './fleet-of-instances.js';

const sorted = (values: unknown[]): number[] => [...(values as number[])].sort((a, b) => a - b);
const numbers = (count: number): number[] => Array.from({ length: count }, (_, number) => number);

/** Time after which a marker that has not come back is held against the broker. */
const MARKER_TIMEOUT_MS = 2_000;
/** Publications, one every 4 ms, that another one may come after: members do not keep the order, and this machine halts. */
const FAR_BACK = 250;

/** By how much a number is less than the greatest one before it, at most. */
function furthestBack(received: readonly number[]): number {
  let highest = -1;
  let furthest = 0;
  for (const number of received) {
    furthest = Math.max(furthest, highest - number);
    highest = Math.max(highest, number);
  }
  return furthest;
}

/** Has two members read as 1 and 2, as they may after a rolling update: somebody else takes name 0, and gives it back. */
async function leaveAHole(redisPort: number, brokerUrl: string): Promise<void> {
  const redis = new Redis(redisPort, '127.0.0.1');
  try {
    const [key] = await redis.keys('*:slots');
    const names = async (): Promise<string> => (await redis.hkeys(key!)).sort().join();
    await eventuallyAsync(async () => (await names()) === '0,1');
    await redis.hset(key!, '0', `somebody:${Date.now() + 600_000}:0`);
    await eventuallyAsync(async () => (await names()) === '0,1,2');
    const somebody = await connectAsync(brokerUrl, { clientId: 'sluice-shared-0', clean: true });
    await somebody.endAsync(); // the broker has forgotten the name
    await redis.hdel(key!, '0');
  } finally {
    redis.disconnect();
  }
}

describe('MQTT_INGEST=shared', () => {
  const own = stopAfterEach();

  /** Instances that are all members: each is ready as soon as one of them reads, and may take its own share only later. */
  async function startMembers(count: number, broker: { persistence?: boolean } = {}): Promise<Instances> {
    const stage = await startInstances(own, count, { MQTT_INGEST: 'shared' }, broker);
    await Promise.all(
      stage.instances.map((instance) => instance.line(/Reading a share of the device topics/)),
    );
    return stage;
  }

  it('stores each message once, whichever instance reads it, and shows it on all', async () => {
    const { instances, device } = await startMembers(3);
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
    const stage = await startMembers(2);
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
      const { instances, device } = await startMembers(3);
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

  it.each([
    ['is killed and comes back empty', 'kill'],
    ['freezes and thaws', 'freeze'],
  ] as const)(
    'serves every instance from the broker while Redis is away, and goes back without showing anything again, when Redis %s',
    async (_what, how) => {
      const { instances, device, redis, redisLinks } = await startMembers(3);
      const dashboards = await Promise.all(
        instances.map(async (instance) => own(await instance.connect({ claims: { deviceIds: ['d1'] } }))),
      );
      await Promise.all(dashboards.map((dashboard) => dashboard.next('subscribed')));
      const degraded = async (): Promise<number> =>
        (await Promise.all(instances.map((one) => one.metric('sluice_redis_degraded')))).reduce(
          (sum, value) => sum + value,
        );
      const counting = new Counting(device, 'd1');
      await Promise.all(dashboards.map((dashboard) => reaches(dashboard, 'd1', 300)));
      await (how === 'kill' ? redis.kill() : redis.freeze());
      await eventuallyAsync(async () => (await degraded()) === 3);
      await Promise.all(dashboards.map((dashboard) => reaches(dashboard, 'd1', counting.sent + 400)));
      // One of them is back later than the others.
      redisLinks[1]!.refuse();
      await (how === 'kill' ? redis.start() : redis.thaw());
      await reaches(dashboards[0]!, 'd1', counting.sent + 250);
      redisLinks[1]!.heal();
      await eventuallyAsync(async () => (await degraded()) === 0);
      await Promise.all(dashboards.map((dashboard) => reaches(dashboard, 'd1', counting.sent + 200)));
      const count = await counting.stop();
      for (const dashboard of dashboards) {
        await eventuallyAsync(() =>
          Promise.resolve(telemetryOf(dashboard, 'd1').some(({ payload }) => payload === count - 1)),
        );
        const received = telemetryOf(dashboard, 'd1').map(({ payload }) => payload as number);
        const again = received.length - new Set(received).size;
        const furthest = furthestBack(received);
        console.info(
          `shared, Redis ${how}: ${count} published, ${received.length} delivered, ${again} again, furthest back ${furthest}`,
        );
        expect(again).toBe(0);
        expect(furthest).toBeLessThan(FAR_BACK);
        expect(dashboard.all('upstream')).toEqual([]);
      }
    },
    90_000,
  );

  it('reads on under the names of before when Redis comes back empty, also where one was missing', async () => {
    const { instances, device, redis, broker } = await startMembers(2);
    const dashboards = await Promise.all(
      instances.map(async (instance) => own(await instance.connect({ claims: { deviceIds: ['d1'] } }))),
    );
    await Promise.all(dashboards.map((dashboard) => dashboard.next('subscribed')));
    await leaveAHole(redis.port, broker.url);
    await redis.kill();
    const inState = (degraded: number): Promise<void> =>
      eventuallyAsync(async () =>
        (await Promise.all(instances.map((one) => one.metric('sluice_redis_degraded')))).every(
          (value) => value === degraded,
        ),
      );
    await inState(1);
    await redis.start();
    await inState(0);
    const sent = numbers(300);
    await Promise.all(sent.map((number) => device.publish('devices/d1/telemetry', String(number))));
    for (const dashboard of dashboards) {
      await eventuallyAsync(() => Promise.resolve(telemetryOf(dashboard, 'd1').length >= sent.length)).catch(
        () => undefined,
      );
      expect(sorted(telemetryOf(dashboard, 'd1').map(({ payload }) => payload))).toEqual(sent);
    }
  }, 90_000);

  it('finds no fault with the rights at a broker that has restarted', async () => {
    const { instances, broker } = await startMembers(3, { persistence: true });
    const ups = async (): Promise<number[]> =>
      Promise.all(instances.map((one) => one.metric('sluice_mqtt_upstream_up')));
    for (let restart = 0; restart < 3; restart += 1) {
      await broker.restart();
      await eventuallyAsync(async () => (await ups()).every((up) => up === 1));
      await new Promise((resolve) => setTimeout(resolve, MARKER_TIMEOUT_MS + 500));
    }
    expect(
      instances.flatMap(({ logs }) => logs.filter(({ msg }) => /does not pass/.test(String(msg)))),
    ).toEqual([]);
  }, 90_000);
});
