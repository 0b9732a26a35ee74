import { publish } from '../contract/broadcast-adapter.contract.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { startRedis, type RedisServer } from '../support/redis.js';
import { PATIENT, startInstance } from './redis-fixture.js';

describe('the fence between ingest holders', () => {
  const shared = stopAfterAll();
  const own = stopAfterEach();
  let redis: RedisServer;

  beforeAll(async () => {
    redis = shared(await startRedis());
  });

  it('refuses what a former holder publishes in any partition, and stores nothing of it', async () => {
    const old = own(await startInstance(redis.url, { redis: { namespace: 'fence-1', ...PATIENT } }));
    const next = own(await startInstance(redis.url, { redis: { namespace: 'fence-1', ...PATIENT } }));
    let fenced = 0;
    old.adapter.onFenced(() => (fenced += 1));
    await old.adapter.raiseFence(1_000);
    expect(await publish(old.adapter, 'd1', 'old')).toBe('accepted');
    await next.adapter.raiseFence(1_001);
    const devices = Array.from({ length: 40 }, (_, n) => `device-${n}`);
    const settled: unknown[] = [];
    devices.forEach(
      (device) => void publish(old.adapter, device, 'late').then((outcome) => settled.push(outcome)),
    );
    await Promise.all(devices.map((device) => publish(next.adapter, device, 'new')));
    const states = await next.adapter.attach(devices);
    expect(states.map(({ offset }) => offset)).toEqual(devices.map(() => 1));
    expect(states.every(({ telemetry }) => telemetry?.payload.toString() === '"new"')).toBe(true);
    expect(fenced).toBeGreaterThan(0);
    expect(settled).toEqual([]);
    await expect(old.adapter.raiseFence(1_000)).rejects.toThrow('higher');
    await old.adapter.raiseFence(1_002);
    expect(await publish(old.adapter, 'd1', 'again')).toBe('accepted');
    const calls = (await next.metrics.redisCall.get()).values;
    const count = calls.find(({ metricName }) => metricName === 'sluice_redis_call_seconds_count');
    expect(count!.value).toBeGreaterThan(0);
  });

  it('tells changes of a fenced holder that they are not stored', async () => {
    const old = own(await startInstance(redis.url, { redis: { namespace: 'fence-2', ...PATIENT } }));
    const next = own(await startInstance(redis.url, { redis: { namespace: 'fence-2', ...PATIENT } }));
    await old.adapter.raiseFence(1);
    await next.adapter.raiseFence(2);
    await expect(old.adapter.setMeta('d1', Buffer.from('{}'))).rejects.toThrow('fenced');
  });

  it('has a fence for each shard: a takeover of one refuses nothing of the others', async () => {
    const namespace = 'fence-4';
    const [a, b] = [
      own(await startInstance(redis.url, { redis: { namespace, ...PATIENT } })),
      own(await startInstance(redis.url, { redis: { namespace, ...PATIENT } })),
    ];
    const fenced: number[] = [];
    a.adapter.onFenced((shard) => fenced.push(shard));
    const write = (instance: typeof a, shard: number, deviceId: string): Promise<unknown> =>
      instance.adapter.writerOf(shard).setMeta(deviceId, Buffer.from('{}'));
    await a.adapter.raiseFence(10, 0);
    await a.adapter.raiseFence(20, 1);
    await b.adapter.raiseFence(21, 1);
    await expect(write(a, 1, 'd1')).rejects.toThrow('fenced');
    expect(fenced).toEqual([1]);
    await write(a, 0, 'd0');
    await write(b, 1, 'd1');
    await expect(a.adapter.raiseFence(20, 1)).rejects.toThrow('higher');
    // The first shard has the fence of a release, or an instance, that knows of one reader alone.
    await expect(write(b, 0, 'd0')).resolves.toBeUndefined(); // without a token
    await b.adapter.raiseFence(11);
    await expect(write(a, 0, 'd0')).rejects.toThrow('fenced');
    const edgeNodes = a.adapter.writerOf(1).edgeNodes.write('g/n', { replace: true, parts: new Map() });
    await expect(edgeNodes).rejects.toThrow('fenced');
  });

  it('does not fence who has no token', async () => {
    const leased = own(await startInstance(redis.url, { redis: { namespace: 'fence-3', ...PATIENT } }));
    const without = own(await startInstance(redis.url, { redis: { namespace: 'fence-3', ...PATIENT } }));
    await leased.adapter.raiseFence(5);
    expect(await publish(without.adapter, 'd1', 1)).toBe('accepted');
  });
});
