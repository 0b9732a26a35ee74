import { Redis } from 'ioredis';
import type { DeviceMessage } from '../../src/rooms/broadcast-adapter.js';
import { tracing } from '../../src/tracing/tracing.js';
import { CONTRACT_LIMITS, publish } from '../contract/broadcast-adapter.contract.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { startRedis, type RedisServer } from '../support/redis.js';
import { type Instance, type InstanceOptions, PATIENT, startInstance } from './redis-fixture.js';

const STATUS = { isOnline: true, lastSeen: 1, serverTs: 2 };

describe('the heads of rooms that a reader keeps', () => {
  const shared = stopAfterAll();
  const own = stopAfterEach();
  let redis: RedisServer;
  let commands: Redis;
  let namespaces = 0;

  beforeAll(async () => {
    redis = shared(await startRedis());
    commands = new Redis(redis.url);
    shared({ stop: () => commands.disconnect() });
  });

  const namespace = (): string => `kept-${(namespaces += 1)}`;
  const start = async (name: string, { redis: settings, ...more }: InstanceOptions = {}): Promise<Instance> =>
    own(await startInstance(redis.url, { redis: { namespace: name, ...PATIENT, ...settings }, ...more }));

  const keyOf = async (name: string, end: string): Promise<string> =>
    (await commands.keys(`${name}:*:${end}`))[0] as string;

  const keptBy = async ({ metrics }: Instance): Promise<number> => {
    const text = await metrics.registry.metrics();
    return Number(/^sluice_kept\{what="room_heads"\} (\d+)$/m.exec(text)?.[1]);
  };

  /** What a third instance reads of a room: offset and history, oldest first. */
  const readBack = async (
    name: string,
    deviceId: string,
  ): Promise<{ offset: number; payloads: string[] }> => {
    const { adapter } = await start(name);
    const [state] = await adapter.attach([deviceId]);
    const page = await adapter.history(deviceId, { epoch: state!.epoch, offset: 0 }, 1_000);
    expect(page!.publications.map(({ offset }) => offset)).toEqual(page!.publications.map((_, n) => n + 1));
    return { offset: state!.offset, payloads: page!.publications.map(({ payload }) => payload.toString()) };
  };

  // Defect: the trace of a publication ended at the store, since its delivery, by whichever instance, knew nothing of it.
  it('make way for a publication that is traced: every instance hears of which trace it is, behind it', async () => {
    const span = {
      traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
      event: () => undefined,
      end: () => undefined,
    };
    const counts = { waiting: 0, full: 0, failed: 0 };
    const stopTracing = tracing.use({ start: () => span, counts, stop: () => Promise.resolve() });
    own({ stop: stopTracing });
    const name = namespace();
    const reader = await start(name);
    const other = await start(name);
    for (const { adapter } of [reader, other]) {
      await adapter.attach(['d1']);
    }
    await reader.adapter.raiseFence(1);
    await publish(reader.adapter, 'd1', 1);
    await publish(reader.adapter, 'd1', 2);
    await new Promise<void>((resolve) => {
      const message: DeviceMessage = {
        deviceId: 'd1',
        payload: Buffer.from('3'),
        receivedAt: Date.now(),
        receivedMono: performance.now(),
        packetId: 7,
        dup: false,
        settle: () => resolve(),
      };
      tracing.carry(message, span);
      reader.adapter.publish(message);
    });
    await publish(reader.adapter, 'd1', 4);
    for (const { receiver } of [reader, other]) {
      await receiver.until(() => receiver.publications.length === 4);
      expect(receiver.traced).toEqual([['d1', span.traceparent, 3]]);
      expect(receiver.publications.map(({ offset }) => offset)).toEqual([1, 2, 3, 4]);
    }
    expect((await readBack(name, 'd1')).payloads).toEqual(['1', '2', '3', '4']);
  });

  it('store and tell publications, statuses and metadata in turn as if nothing were kept', async () => {
    const name = namespace();
    const reader = await start(name);
    const other = await start(name);
    await other.adapter.attach(['d1']);
    await reader.adapter.raiseFence(1);
    await publish(reader.adapter, 'd1', 1);
    await publish(reader.adapter, 'd1', 'longer');
    expect(await keptBy(reader)).toBe(1);
    await reader.adapter.setMeta('d1', Buffer.from('{"name":"pump"}'));
    await publish(reader.adapter, 'd1', 3);
    await reader.adapter.setStatus('d1', STATUS, false);
    await Promise.all([4, 5, 6].map((n) => publish(reader.adapter, 'd1', n)));
    await publish(reader.adapter, 'd1', 7);
    await other.receiver.until(() => other.receiver.publications.length === 7);
    expect(other.receiver.publications.map(({ offset }) => offset)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(other.receiver.publications.map(({ meta }) => meta !== null)).toEqual([
      false,
      false,
      true,
      true,
      true,
      true,
      true,
    ]);
    expect(other.receiver.statuses).toEqual([{ deviceId: 'd1', status: STATUS }]);
    expect(other.receiver.resets).toEqual([]);
    expect(await readBack(name, 'd1')).toEqual({
      offset: 7,
      payloads: ['1', '"longer"', '3', '4', '5', '6', '7'],
    });
  });

  it('are not used any more once another holder has written, who goes on where they end', async () => {
    const name = namespace();
    const [a, b] = [await start(name), await start(name)];
    await a.adapter.raiseFence(1);
    await publish(a.adapter, 'd1', 'a1');
    await publish(a.adapter, 'd1', 'a2');
    await b.adapter.raiseFence(2);
    await publish(b.adapter, 'd1', 'b3');
    await publish(b.adapter, 'd1', 'b4');
    await a.adapter.raiseFence(3);
    await publish(a.adapter, 'd1', 'a5');
    await publish(a.adapter, 'd1', 'a6');
    expect(await readBack(name, 'd1')).toEqual({
      offset: 6,
      payloads: ['a1', 'a2', 'b3', 'b4', 'a5', 'a6'].map((text) => JSON.stringify(text)),
    });
  });

  it('write nothing once a newer holder has raised the fence', async () => {
    const name = namespace();
    const [old, next] = [await start(name), await start(name)];
    let fenced = 0;
    old.adapter.onFenced(() => (fenced += 1));
    await old.adapter.raiseFence(1);
    await publish(old.adapter, 'd1', 1);
    await publish(old.adapter, 'd1', 2);
    await next.adapter.raiseFence(2);
    const settled: unknown[] = [];
    void publish(old.adapter, 'd1', 'late').then((outcome) => settled.push(outcome));
    await publish(next.adapter, 'd1', 3);
    expect(await readBack(name, 'd1')).toEqual({ offset: 3, payloads: ['1', '2', '3'] });
    expect([fenced, settled, await keptBy(old)]).toEqual([1, [], 0]);
  });

  it('are forgotten when somebody writes without a fence', async () => {
    const name = namespace();
    const [reader, without] = [await start(name), await start(name)];
    await reader.adapter.raiseFence(1);
    await publish(reader.adapter, 'd1', 1);
    await publish(reader.adapter, 'd1', 2);
    await publish(without.adapter, 'd1', 3);
    await publish(reader.adapter, 'd1', 4);
    await publish(reader.adapter, 'd1', 5);
    expect(await readBack(name, 'd1')).toEqual({ offset: 5, payloads: ['1', '2', '3', '4', '5'] });
  });

  it('are forgotten when the reader of another shard writes, which the own fence does not refuse', async () => {
    const name = namespace();
    const [reader, other] = [await start(name), await start(name)];
    await reader.adapter.raiseFence(1);
    await other.adapter.raiseFence(1, 1);
    await publish(reader.adapter, 'd1', 1);
    await publish(reader.adapter, 'd1', 2);
    await new Promise((settle) =>
      other.adapter.writerOf(1).publish({
        deviceId: 'd1',
        payload: Buffer.from('3'),
        receivedAt: Date.now(),
        receivedMono: 0,
        packetId: 0,
        dup: false,
        settle,
      }),
    );
    await publish(reader.adapter, 'd1', 4);
    await publish(reader.adapter, 'd1', 5);
    expect(await readBack(name, 'd1')).toEqual({ offset: 5, payloads: ['1', '2', '3', '4', '5'] });
  });

  it.each([
    ['few', 3],
    ['many', 300],
  ])('tell whoever begins to watch, where %s rooms are watched already', async (_, count) => {
    const name = namespace();
    const [reader, other] = [await start(name), await start(name)];
    await reader.adapter.raiseFence(1);
    const devices = Array.from({ length: count + 20 }, (_each, n) => `d${n}`);
    const toAll = (payload: number) =>
      Promise.all(devices.map((deviceId) => publish(reader.adapter, deviceId, payload)));
    await toAll(1);
    await other.adapter.attach(devices.slice(0, count));
    await toAll(2);
    await other.receiver.until(() => other.receiver.publications.length === count);
    await other.adapter.attach(devices.slice(count));
    await toAll(3);
    await other.receiver.until(() => other.receiver.publications.length === count + devices.length);
    expect(other.receiver.resets).toEqual([]);
  });

  it('are not kept by who has no fence', async () => {
    const { adapter, metrics } = await start(namespace());
    await publish(adapter, 'd1', 1);
    await publish(adapter, 'd1', 2);
    expect(await metrics.registry.metrics()).toContain('sluice_kept{what="room_heads"} 0');
  });

  it('are forgotten when Redis has forgotten everything: rooms begin a new epoch', async () => {
    const server = own(await startRedis());
    const client = new Redis(server.url);
    own({ stop: () => client.disconnect() });
    const { adapter } = own(await startInstance(server.url, { redis: PATIENT }));
    await adapter.raiseFence(1);
    const [before] = await adapter.attach(['d1']);
    await publish(adapter, 'd1', 1);
    await publish(adapter, 'd1', 2);
    await client.flushall();
    await publish(adapter, 'd1', 3);
    await publish(adapter, 'd1', 4);
    const [after] = await adapter.attach(['d1']);
    expect(after!.epoch).not.toBe(before!.epoch);
    expect([after!.offset, after!.telemetry?.payload.toString()]).toEqual([2, '4']);
  });

  it('store a batch once that was sent again on a new connection', async () => {
    const name = namespace();
    const { adapter } = await start(name);
    await adapter.raiseFence(1);
    await publish(adapter, 'd1', 0);
    await publish(adapter, 'd1', 1);
    // The answer is lost: Redis has executed the batch when the connection ends.
    await commands.call('CLIENT', 'PAUSE', '200', 'WRITE');
    const published = [2, 3, 4].map((n) => publish(adapter, 'd1', n));
    await new Promise((resolve) => setImmediate(resolve));
    await commands.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await commands.call('CLIENT', 'UNPAUSE');
    expect(await Promise.all(published)).toEqual(['accepted', 'accepted', 'accepted']);
    expect(await readBack(name, 'd1')).toEqual({ offset: 5, payloads: ['0', '1', '2', '3', '4'] });
  });

  it('cost no other device its publication when a room cannot be written', async () => {
    const name = namespace();
    const { adapter } = await start(name);
    await adapter.raiseFence(1);
    const devices = Array.from({ length: 12 }, (_, n) => `d${n}`);
    await Promise.all(devices.map((deviceId) => publish(adapter, deviceId, 1)));
    const history = await keyOf(name, 'h:d2');
    await commands.del(history);
    await commands.set(history, 'no list');
    const outcomes = await Promise.all(devices.map((deviceId) => publish(adapter, deviceId, 2)));
    expect(outcomes).toEqual(devices.map((deviceId) => (deviceId === 'd2' ? 'refused' : 'accepted')));
    for (const deviceId of devices.filter((each) => each !== 'd2')) {
      expect(await readBack(name, deviceId)).toEqual({ offset: 2, payloads: ['1', '2'] });
    }
  });

  it('keep history within its count, and its keys ending', async () => {
    const name = namespace();
    const { adapter } = await start(name);
    await adapter.raiseFence(1);
    for (let n = 1; n <= 400; n += 1) {
      await publish(adapter, 'd1', n);
    }
    const entries = await commands.llen(await keyOf(name, 'h:d1'));
    expect(entries).toBeGreaterThanOrEqual(CONTRACT_LIMITS.historyMaxPublications);
    expect(entries).toBeLessThanOrEqual(CONTRACT_LIMITS.historyMaxPublications * 1.125 + 17);
    for (const key of ['h:d1', 'r:d1']) {
      expect(await commands.pttl(await keyOf(name, key))).toBeGreaterThan(0);
    }
  });

  it('are of as many rooms as devices may be known: the oldest is forgotten', async () => {
    const instance = await start(namespace(), { rooms: { maxDevices: 40 }, redis: { partitions: 1 } });
    const { adapter } = instance;
    await adapter.raiseFence(1);
    const outcomes = await Promise.all(Array.from({ length: 80 }, (_, n) => publish(adapter, `d${n}`, n)));
    const bound = Math.ceil(40 * 1.1) + 16;
    expect(outcomes.filter((outcome) => outcome === 'accepted')).toHaveLength(bound);
    expect(await keptBy(instance)).toBe(bound);
    // Devices that were forgotten in the store make room for others there; here the oldest go.
    await commands.del(await commands.keys('kept-*:devices'));
    await Promise.all(Array.from({ length: 10 }, (_, n) => publish(adapter, `new-${n}`, n)));
    expect(await keptBy(instance)).toBe(bound);
  });
});
