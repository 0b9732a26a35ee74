import { RedisPresence } from '../../src/redis/presence.js';
import { RedisBroadcastAdapter } from '../../src/redis/redis-adapter.js';
import { describeBroadcastAdapter, publish } from '../contract/broadcast-adapter.contract.js';
import { stopAfterEach } from '../support/cleanup.js';
import { type RedisCluster, startRedisCluster } from '../support/redis-cluster.js';
import { createInstance, eventually, PATIENT, startInstance } from './redis-fixture.js';

let cluster: RedisCluster;

beforeAll(async () => {
  cluster = await startRedisCluster();
}, 60_000);

afterAll(() => cluster.stop(), 30_000);

let runs = 0;

describeBroadcastAdapter(`${RedisBroadcastAdapter.name} on Redis Cluster`, () => {
  runs += 1;
  const { adapter, stop } = createInstance(cluster.url, {
    redis: { namespace: `contract-${runs}`, ...PATIENT },
  });
  return Promise.resolve({ adapter, stop });
});

describe('Redis Cluster', () => {
  const own = stopAfterEach();
  const devices = Array.from({ length: 60 }, (_, n) => `device-${n}`);

  it('follows slots that move to another node, without a gap', async () => {
    const a = own(await startInstance(cluster.url, { redis: { namespace: 'moving', ...PATIENT } }));
    const b = own(await startInstance(cluster.url, { redis: { namespace: 'moving', ...PATIENT } }));
    await b.adapter.attach(devices);
    let sent = 0;
    const outcomes: string[] = [];
    const sending = setInterval(() => {
      sent += 1;
      devices.forEach(
        (device) => void publish(a.adapter, device, sent).then((outcome) => outcomes.push(outcome)),
      );
    }, 20);
    await eventually(() => sent > 10, 'some publications');
    // A replica takes its master's slots over by agreement: nothing is lost, every connection has to move.
    const [master] = await cluster.masters();
    const replica = await replicaOf(master!.port);
    await replica.command('CLUSTER', 'FAILOVER');
    await eventually(async () => (await replica.command('ROLE')).startsWith('master'), 'promoted');
    const until = sent + 50;
    await eventually(() => sent > until, 'further publications');
    clearInterval(sending);
    await eventually(() => outcomes.length === sent * devices.length, 'all stored');
    await Promise.all(devices.map((device) => publish(a.adapter, device, 'end')));
    for (const device of devices) {
      await b.receiver.until(() => b.receiver.payloads(device).at(-1) === '"end"');
      // All of them, once, in order, although the numbering began anew.
      const numbers = b.receiver.payloads(device).slice(0, -1).map(Number);
      expect(numbers).toEqual(Array.from({ length: sent }, (_, n) => n + 1));
    }
    expect(b.modes).toEqual([]);
  }, 60_000);

  it('serves through the death of a master, and names what may be lost by new epochs', async () => {
    const a = own(await startInstance(cluster.url, { redis: { namespace: 'killed' } }));
    const b = own(await startInstance(cluster.url, { redis: { namespace: 'killed' } }));
    const before = await b.adapter.attach(devices);
    await Promise.all(devices.map((device) => publish(a.adapter, device, 'before')));
    await b.receiver.until(() => b.receiver.publications.length === devices.length);
    await eventually(() => a.adapter.bus.connected && b.adapter.bus.connected, 'the bus');
    const [victim] = await cluster.masters();
    await victim!.kill();
    await eventually(() => a.adapter.mode === 'local' && b.adapter.mode === 'local', 'local mode');
    await Promise.all(devices.map((device) => publish(b.adapter, device, 'meanwhile')));
    expect(devices.every((device) => b.receiver.payloads(device).at(-1) === '"meanwhile"')).toBe(true);
    await eventually(() => a.adapter.healthy && b.adapter.healthy, 'back in the store', 30_000);
    await Promise.all(devices.map((device) => publish(a.adapter, device, 'after')));
    await b.receiver.until(
      () =>
        b.receiver.publications.filter(({ payload }) => payload.toString() === '"after"').length ===
        devices.length,
    );
    const after = await b.adapter.attach(devices);
    const renewed = after.filter(({ epoch }, at) => epoch !== before[at]?.epoch);
    // The rooms of the dead master's slots, and only they.
    expect(renewed.length).toBeGreaterThan(0);
    expect(renewed.length).toBeLessThan(devices.length);
    // The bus lived on the dead master: its slot is the first.
    b.adapter.bus.on('here', () => 'b');
    await eventually(async () => {
      const { answers } = await a.adapter.bus.ask('here', null, 1_000);
      return answers.some(({ instance }) => instance === b.adapter.bus.instanceId);
    }, 'instances hear each other again');
    await victim!.start();
  }, 60_000);

  it('does not mix with instances that use another number of partitions', async () => {
    const settings = { namespace: 'disagreeing' };
    const first = own(await startInstance(cluster.url, { redis: settings }));
    const other = own(await startInstance(cluster.url, { redis: { ...settings, partitions: 48 } }));
    expect(other.adapter).toMatchObject({ mode: 'local', storeReachable: false });
    expect(other.log.join('\n')).toContain('REDIS_PARTITIONS=16, this one 48');
    expect(first.adapter.healthy).toBe(true);
  });

  it('agrees on one that has all its partitions on other nodes', async () => {
    const settings = { namespace: 'one-partition', partitions: 1 };
    const a = own(await startInstance(cluster.url, { redis: settings }));
    const b = own(await startInstance(cluster.url, { redis: settings }));
    await b.adapter.attach(['d1']);
    await publish(a.adapter, 'd1', 1);
    await b.receiver.until(() => b.receiver.publications.length === 1);
    expect([a, b].map(({ adapter }) => adapter.healthy)).toEqual([true, true]);
  });

  it('counts the connections of users whose partitions lie on several nodes', async () => {
    const settings = { maxPerUser: 2, expiryMs: 60_000, timeoutMs: 10_000 };
    const [a, b] = await Promise.all(
      ['a', 'b'].map(async () => {
        const { adapter } = own(await startInstance(cluster.url, { redis: { namespace: 'presence' } }));
        const presence = new RedisPresence(adapter.places, settings);
        own({ stop: () => presence.onModuleDestroy() });
        return presence;
      }),
    );
    const join = (presence: RedisPresence) => Promise.all(devices.map(async (user) => presence.join(user)));
    expect(new Set(await join(a!))).toEqual(new Set([true]));
    expect(new Set(await join(b!))).toEqual(new Set([true]));
    expect(new Set(await join(b!))).toEqual(new Set([false]));
  });

  async function replicaOf(masterPort: number) {
    for (const server of cluster.servers) {
      const role = await server.command('ROLE');
      if (role.startsWith('slave') && role.includes(String(masterPort))) {
        return server;
      }
    }
    throw new Error('no replica');
  }
});
