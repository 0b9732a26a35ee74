import { Redis } from 'ioredis';
import { MAX_ASKS, MAX_MESSAGE_BYTES } from '../../src/instances/instance-bus.js';
import {
  MAX_ANSWERING,
  MAX_ANSWERS_BYTES,
  MAX_INSTANCES,
  MAX_UNDER_WAY,
  RedisInstanceBus,
} from '../../src/redis/instance-bus.js';
import { describeInstanceBus } from '../contract/instance-bus.contract.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { type RedisServer, startRedis } from '../support/redis.js';
import { eventually, type Instance, PATIENT, startInstance } from './redis-fixture.js';

const busOf = ({ adapter }: Instance): RedisInstanceBus => adapter.bus;

/** Instances that know each other. */
export async function startBuses(url: string, namespace: string, count: number, redis = {}) {
  const instances = await Promise.all(
    Array.from({ length: count }, () => startInstance(url, { redis: { namespace, ...PATIENT, ...redis } })),
  );
  const buses = instances.map(busOf);
  await eventually(async () => {
    await buses[0]!.ask('who', null, 1_000);
    return buses.every(({ connected }) => connected) && buses[0]!.instances === count;
  }, 'all instances know each other');
  return { instances, buses, stop: async () => void (await Promise.all(instances.map((i) => i.stop()))) };
}

describe('with Redis', () => {
  const shared = stopAfterAll();
  let redis: RedisServer;
  let runs = 0;

  beforeAll(async () => {
    redis = shared(await startRedis());
  });

  describeInstanceBus(RedisInstanceBus.name, () => startBuses(redis.url, `bus-${(runs += 1)}`, 3));
});

describe(RedisInstanceBus.name, () => {
  const own = stopAfterEach();

  it('names an instance that was killed until it counts as gone, and not one that has stopped', async () => {
    const redis = own(await startRedis());
    const { buses, instances } = own(await startBuses(redis.url, 'sluice', 3));
    buses.forEach((bus) => bus.on('here', () => true));
    await instances[1]!.stop();
    const client = new Redis(redis.port, { retryStrategy: () => null });
    own({ stop: () => client.disconnect() });
    await client.zadd('sluice:{all.mt}:instances', Date.now() + 60_000, 'killed');
    const asked = await buses[0]!.ask('here', null, 300);
    expect(asked).toMatchObject({ silent: ['killed'], reached: true });
    expect(asked.answers.map(({ instance }) => instance)).toEqual([
      buses[0]!.instanceId,
      buses[2]!.instanceId,
    ]);
    await client.zadd('sluice:{all.mt}:instances', Date.now() - 1, 'killed');
    expect((await buses[0]!.ask('here', null, 5_000)).silent).toEqual([]);
    const crowd = Array.from({ length: MAX_INSTANCES + 50 }, (_, n) => [Date.now() + 60_000, `crowd-${n}`]);
    await client.zadd('sluice:{all.mt}:instances', ...crowd.flat());
    await buses[0]!.ask('here', null, 300);
    expect(buses[0]!.instances).toBe(MAX_INSTANCES);
  });

  it('says that nobody was reached while Redis is away, names whom it knew, and tells when it is back', async () => {
    const redis = own(await startRedis());
    const { buses } = own(await startBuses(redis.url, 'sluice', 2, { timeoutMs: 400 }));
    const [a, b] = buses as [RedisInstanceBus, RedisInstanceBus];
    const heard: unknown[] = [];
    a.on('news', (body) => heard.push(body));
    a.on('here', () => 'a');
    b.on('here', () => 'b');
    b.on('news', () => undefined);
    await redis.kill();
    await eventually(() => !a.connected && !b.connected, 'away');
    let returns = 0;
    a.onConnected(() => (returns += 1));
    expect(await a.publish('news', 1)).toBe(false);
    expect(await a.send(b.instanceId, 'news', 2)).toBe(false);
    expect(heard).toEqual([1]);
    expect(await a.ask('here', null, 1_000)).toEqual({
      answers: [{ instance: a.instanceId, answer: 'a' }],
      silent: [b.instanceId],
      reached: false,
    });
    expect(returns).toBe(0);
    await redis.start();
    await eventually(() => returns > 0 && b.connected, 'back');
    expect(await a.publish('news', 3)).toBe(true);
    await eventually(async () => (await a.ask('here', null, 1_000)).answers.length === 2, 'both again');
  });

  it('does not send more than may be under way, and does not work on more questions than it may', async () => {
    const redis = own(await startRedis());
    const { buses, instances } = own(await startBuses(redis.url, 'sluice', 3));
    const [a, b, c] = buses as [RedisInstanceBus, RedisInstanceBus, RedisInstanceBus];
    const sent = await Promise.all(
      Array.from({ length: MAX_UNDER_WAY + 10 }, () => a.send('nobody', 'x', 1)),
    );
    expect(sent).not.toContain(true);
    expect(await outcomes(instances[0]!, 'refused')).toBe(10);
    let open = (_: unknown): void => undefined;
    const gate = new Promise((resolve) => (open = resolve));
    buses.forEach((bus) => bus.on('gate', () => gate));
    const asked = [a, b].flatMap((bus) => Array.from({ length: MAX_ASKS }, () => bus.ask('gate', 1, 10_000)));
    await eventually(async () => (await outcomes(instances[2]!, 'refused')) === MAX_ANSWERING, 'refused');
    open('open');
    const silent = (await Promise.all(asked)).flatMap((answers) => answers.silent);
    expect(silent).toEqual(Array.from({ length: MAX_ANSWERING }, () => c.instanceId));
  });

  it('keeps so many bytes of the answers to a question, and finds the others silent', async () => {
    const redis = own(await startRedis());
    const { buses, instances } = own(await startBuses(redis.url, 'sluice', 1));
    const [bus] = buses as [RedisInstanceBus];
    const client = new Redis(redis.port, { retryStrategy: () => null });
    const listener = client.duplicate();
    own({ stop: () => [client, listener].forEach((one) => one.disconnect()) });
    const names = Array.from({ length: 70 }, (_, n) => `other-${n}`);
    await client.zadd('sluice:{all.mt}:instances', ...names.flatMap((name) => [Date.now() + 60_000, name]));
    const large = 'x'.repeat(MAX_MESSAGE_BYTES - 100);
    listener.on('message', (_channel, text: string) => {
      const { f, a } = JSON.parse(text) as { f: string; a?: number };
      const answers = async (): Promise<void> => {
        for (const name of names) {
          await client.publish(`sluice:{all.mt}:bus:${f}`, JSON.stringify({ f: name, a, b: large }));
        }
      };
      void (a === undefined ? undefined : answers());
    });
    await listener.subscribe('sluice:{all.mt}:bus');
    bus.on('large', () => 1);
    const { answers, silent } = await bus.ask('large', null, 20_000);
    const fit = Math.floor(MAX_ANSWERS_BYTES / (MAX_MESSAGE_BYTES - 50));
    expect(answers).toHaveLength(1 + fit);
    expect(silent).toHaveLength(names.length - fit);
    expect(await outcomes(instances[0]!, 'refused')).toBe(names.length - fit);
  });

  it('counts what it cannot read, and takes no answer to a question that nobody asks', async () => {
    const redis = own(await startRedis());
    const { buses, instances } = own(await startBuses(redis.url, 'sluice', 1));
    const [bus] = buses as [RedisInstanceBus];
    const client = new Redis(redis.port, { retryStrategy: () => null });
    own({ stop: () => client.disconnect() });
    const heard: unknown[] = [];
    bus.on('news', (body) => heard.push(body));
    const hostile = ['', 'null', '{', '[]', '{"k":1}', 'x'.repeat(2 * 1024 * 1024), '{"f":"x","a":1,"b":2}'];
    for (const message of [...hostile, '{"f":"x","k":"nothing","b":1}', '{"f":"x","k":"news","b":1}']) {
      await client.publish('sluice:{all.mt}:bus', message);
    }
    await eventually(() => heard.length === 1, 'the good one');
    expect(await outcomes(instances[0]!, 'unreadable')).toBe(6);
    expect(await outcomes(instances[0]!, 'received')).toBe(3);
  });

  async function outcomes({ metrics }: Instance, outcome: string): Promise<number> {
    const { values } = await metrics.instanceMessages.get();
    return values.find(({ labels }) => labels.outcome === outcome)?.value ?? 0;
  }
});
