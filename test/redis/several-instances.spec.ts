import { Redis } from 'ioredis';
import { publish } from '../contract/broadcast-adapter.contract.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { startRedis, type RedisServer } from '../support/redis.js';
import { eventually, PATIENT, startInstance } from './redis-fixture.js';

describe('two instances on one Redis', () => {
  const shared = stopAfterAll();
  const own = stopAfterEach();
  let redis: RedisServer;
  let namespaces = 0;

  beforeAll(async () => {
    redis = shared(await startRedis());
  });

  const two = async () => {
    const settings = { redis: { namespace: `two-${(namespaces += 1)}`, ...PATIENT } };
    return [
      own(await startInstance(redis.url, settings)),
      own(await startInstance(redis.url, settings)),
    ] as const;
  };

  it('both deliver every publication of either once, in one order, with equal offsets, also in bursts', async () => {
    const instances = await two();
    const [a, b] = instances;
    const devices = Array.from({ length: 20 }, (_, n) => `device-${n}`);
    const states = await Promise.all(instances.map(({ adapter }) => adapter.attach(devices)));
    expect(states[0]?.map(({ epoch }) => epoch)).toEqual(states[1]?.map(({ epoch }) => epoch));
    const perDevice = 300;
    const stored: Promise<unknown>[] = [];
    for (let n = 0; n < perDevice; n += 1) {
      for (const [at, device] of devices.entries()) {
        // Each device has its own publisher: order holds per instance.
        stored.push(publish(at % 2 === 0 ? a.adapter : b.adapter, device, { n }));
      }
      if (n % 50 === 0) {
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
    await Promise.all(stored);
    const total = devices.length * perDevice;
    for (const { receiver } of instances) {
      await receiver.until(() => receiver.publications.length >= total);
      expect(receiver.publications).toHaveLength(total);
      expect(receiver.resets).toEqual([]);
      for (const device of devices) {
        const seen = receiver.publications.filter(({ deviceId }) => deviceId === device);
        expect(seen.map(({ offset }) => offset)).toEqual(Array.from({ length: perDevice }, (_, n) => n + 1));
        expect(seen.map(({ payload }) => (JSON.parse(payload.toString()) as { n: number }).n)).toEqual(
          Array.from({ length: perDevice }, (_, n) => n),
        );
      }
    }
  });

  it('resumes on the one what was published through the other', async () => {
    const [a, b] = await two();
    const [state] = await a.adapter.attach(['d1']);
    await Promise.all([1, 2, 3].map((n) => publish(a.adapter, 'd1', n)));
    const page = await b.adapter.history('d1', { epoch: state!.epoch, offset: 1 }, 10);
    expect(page?.publications.map(({ offset, payload }) => [offset, payload.toString()])).toEqual([
      [2, '2'],
      [3, '3'],
    ]);
  });

  it('tells status, metadata and new devices everywhere', async () => {
    const [a, b] = await two();
    await b.adapter.attach(['d1']);
    await b.adapter.watchDevices();
    await a.adapter.setStatus('d1', { isOnline: true, lastSeen: 1, serverTs: 2 }, false);
    await a.adapter.setMeta('d1', Buffer.from('{"name":"pump"}'));
    await b.receiver.until(() => b.receiver.metas.length === 1);
    expect(b.receiver.statuses).toEqual([
      { deviceId: 'd1', status: { isOnline: true, lastSeen: 1, serverTs: 2 } },
    ]);
    expect(b.receiver.metas).toEqual([{ deviceId: 'd1', meta: '{"name":"pump"}' }]);
    expect(b.receiver.devices).toEqual(['d1']);
  });

  it('forgets a room of which nothing is known when its last watcher on any instance goes', async () => {
    const [a, b] = await two();
    const namespace = `two-${namespaces}`;
    const client = new Redis(redis.port);
    try {
      const [first] = await a.adapter.attach(['ghost']);
      await b.adapter.attach(['ghost']);
      a.adapter.detach('ghost');
      await new Promise((resolve) => setTimeout(resolve, 2_500));
      expect((await a.adapter.attach(['ghost']))[0]?.epoch).toBe(first?.epoch);
      a.adapter.detach('ghost');
      b.adapter.detach('ghost');
      await eventually(
        async () => (await client.keys(`${namespace}:*ghost`)).length === 0,
        'the ghost is forgotten',
      );
    } finally {
      client.disconnect();
    }
  });

  it('keeps namespaces apart', async () => {
    const [a] = await two();
    const [other] = await two();
    await other.adapter.attach(['d1']);
    await publish(a.adapter, 'd1', 'here');
    await publish(other.adapter, 'd1', 'there');
    await other.receiver.until(() => other.receiver.publications.length > 0);
    expect(other.receiver.payloads('d1')).toEqual(['"there"']);
  });
});
