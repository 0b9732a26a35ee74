import type { Config } from '../../src/config/config.js';
import { publish } from '../contract/broadcast-adapter.contract.js';
import { stopAfterEach } from '../support/cleanup.js';
import { startRedis } from '../support/redis.js';
import { startTcpProxy } from '../support/tcp-proxy.js';
import { eventually, PATIENT, startInstance } from './redis-fixture.js';

/** So rare that no probe of the usual kind helps: whoever waits for one does not come back in the time of a test. */
const NO_PROBES = { probeMs: 3_600_000 };

describe('an instance whose connections to Redis fail together', () => {
  const own = stopAfterEach();

  /** Commands and subscriptions through a proxy each. */
  async function setUp(settings: Partial<Config['redis']> = {}, returnsWhenAsked = false) {
    const redis = own(await startRedis());
    const [commands, subscriber] = [
      own(await startTcpProxy(redis.port)),
      own(await startTcpProxy(redis.port)),
    ];
    const writer = own(await startInstance(redis.url));
    const instance = own(
      await startInstance(`redis://127.0.0.1:${commands.port}`, {
        redis: { ...NO_PROBES, ...settings },
        subscriberUrl: `redis://127.0.0.1:${subscriber.port}`,
        returnsWhenAsked,
      }),
    );
    const { adapter, receiver } = instance;
    await adapter.attach(['d1', 'd2']);
    await publish(writer.adapter, 'd1', 'before');
    await receiver.until(() => receiver.publications.length === 1);
    const reachable: boolean[] = [];
    adapter.onReachable((now) => reachable.push(now));
    return { redis, commands, subscriber, writer, instance, adapter, receiver, reachable };
  }

  it('is not said to reach Redis before its subscriber does, and goes on alone until then', async () => {
    const { commands, subscriber, writer, instance, adapter, receiver, reachable } = await setUp();
    commands.stall();
    subscriber.stall();
    await eventually(() => adapter.mode === 'local', 'local mode');
    const told = reachable.length;
    // The way for commands is free again; what subscribes still carries nothing.
    commands.cut();
    commands.heal();
    await eventually(() => adapter.leasePlace.connection() !== null, 'commands');
    await publish(writer.adapter, 'd2', 'not heard here');
    for (let heartbeats = 0; heartbeats < 8; heartbeats += 1) {
      await adapter.leasePlace.connection()?.ping();
      await new Promise((resolve) => setTimeout(resolve, 125));
    }
    expect(reachable.slice(told)).not.toContain(true);
    expect(instance.modes).toEqual(['local']);
    expect(await publish(adapter, 'd1', 'alone')).toBe('accepted');
    expect(receiver.payloads('d1').at(-1)).toBe('"alone"');

    subscriber.cut();
    subscriber.heal();
    await eventually(() => adapter.healthy, 'back in the store');
    expect(receiver.resets.at(-1)).toBeDefined();
    await publish(writer.adapter, 'd1', 'after');
    await receiver.until(() => receiver.payloads('d1').at(-1) === '"after"');
    await receiver.until(() =>
      receiver.resets.some(({ telemetry }) => telemetry?.payload.toString() === '"not heard here"'),
    );
  }, 30_000);

  it('replaces a subscriber that went silent when the command connection broke', async () => {
    const { commands, subscriber, writer, instance, adapter, receiver } = await setUp();
    subscriber.stall();
    await publish(writer.adapter, 'd1', 'meanwhile');
    commands.cut();
    await eventually(() => instance.log.some((line) => line.includes('carries nothing')), 'noticed');
    subscriber.cut();
    subscriber.heal();
    await eventually(() => adapter.healthy, 'in the store');
    await publish(writer.adapter, 'd1', 'after');
    await receiver.until(() => receiver.payloads('d1').at(-1) === '"after"');
  }, 30_000);

  it('gives up a return for which the subscriber does not answer, and goes on alone', async () => {
    const { commands, subscriber, instance, adapter, receiver } = await setUp({}, true);
    commands.refuse();
    await eventually(() => adapter.mode === 'local', 'local mode');
    commands.heal();
    await eventually(() => adapter.storeReachable, 'reachable');
    subscriber.stall();
    await expect(adapter.resumeStore()).rejects.toThrow();
    expect(instance.log.join('\n')).toContain('subscriber: it carries nothing any more');
    await publish(adapter, 'd1', 'alone');
    expect(receiver.payloads('d1').at(-1)).toBe('"alone"');
    subscriber.cut();
    subscriber.heal();
    await eventually(() => adapter.storeReachable, 'reachable again');
    await adapter.resumeStore();
    expect(adapter.healthy).toBe(true);
  }, 30_000);

  it('keeps a subscriber that is well when the command connection breaks', async () => {
    const { commands, writer, instance, adapter, receiver } = await setUp(PATIENT);
    for (let round = 0; round < 5; round += 1) {
      commands.cut();
      await eventually(() => !adapter.storeReachable, 'noticed');
      await eventually(() => adapter.storeReachable, 'connected again');
    }
    await publish(writer.adapter, 'd1', 'after');
    await receiver.until(() => receiver.payloads('d1').at(-1) === '"after"');
    const { values } = await instance.metrics.redisConnectionsLost.get();
    expect(values.find(({ labels }) => labels.connection === 'subscriber')?.value ?? 0).toBe(0);
    expect(instance.modes).toEqual([]);
  }, 30_000);
});
