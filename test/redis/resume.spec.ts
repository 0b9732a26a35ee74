import { setImmediate as nextTurn } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { DeliveryContext } from '../../src/delivery/delivery-context.js';
import { RoomsService } from '../../src/rooms/rooms.service.js';
import { publish } from '../contract/broadcast-adapter.contract.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { ManualScheduler } from '../support/manual-scheduler.js';
import { startRedis, type RedisServer } from '../support/redis.js';
import { testConfig } from '../support/test-config.js';
import { TestMember } from '../support/test-rooms.js';
import { eventually, PATIENT, createInstance } from './redis-fixture.js';

const EVERY = { mode: 'every' as const };
const KIB = 1_024;
/** Limits of the product, not those of the contract. */
const LIMITS = { historyMaxPublications: 1_000, historyMaxBytes: 1_048_576 };

const named = (count: number): string[] => Array.from({ length: count }, (_, n) => `device-${n}`);
const numbers = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, at) => from + at);

describe('a resume from a Redis', () => {
  const shared = stopAfterAll();
  const own = stopAfterEach();
  let redis: RedisServer;
  let namespaces = 0;

  beforeAll(async () => {
    redis = shared(await startRedis());
  });

  /** One instance with its rooms, devices that published, and how many calls read history of how many rooms. */
  async function setUp(devices: number, publications: number, payload: unknown = 1) {
    const settings = { namespace: `resume-${(namespaces += 1)}`, partitions: 1, ...PATIENT };
    const config = testConfig({});
    const instance = own(createInstance(redis.url, { rooms: LIMITS, redis: settings }));
    const { adapter, metrics } = instance;
    const context = new DeliveryContext(config.ws, metrics, new ManualScheduler());
    const rooms = new RoomsService(config, adapter, metrics, context);
    await adapter.start();
    const ids = named(devices);
    for (let n = 0; n < publications; n += 1) {
      await Promise.all(ids.map((id) => publish(adapter, id, payload)));
    }
    const epochs = new Map((await adapter.attach(ids)).map(({ deviceId, epoch }) => [deviceId, epoch]));
    const client = new Redis(redis.port);
    own({ stop: () => client.disconnect() });
    const calls: string[][] = [];
    const monitor = await client.monitor();
    own({ stop: () => monitor.disconnect() });
    monitor.on('monitor', (_time: string, [command, , , , ...args]: string[]) => {
      // Device id, epoch, offset, most publications, and whether of the previous epoch: no other script is called so.
      if (/^eval/i.test(command ?? '') && args.length % 5 === 0 && args[4] === '0') {
        calls.push(args.filter((_, at) => at % 5 === 0));
      }
    });
    const resume = async (some: readonly string[], offset: number): Promise<TestMember> => {
      const m = new TestMember(context);
      const since = new Map(some.map((id) => [id, { epoch: epochs.get(id) ?? '', offset }]));
      await rooms.subscribe(m, { deviceIds: some, denied: [], delivery: EVERY, since });
      while (m.subscriptions.all().some(({ feed }) => feed === null)) {
        await nextTurn();
      }
      for (let turn = 0; turn < 3; turn += 1) {
        await nextTurn();
      }
      return m;
    };
    /** What was called until now: the monitor is told of it, too, after all of that. */
    const called = async (): Promise<string[][]> => {
      const mark = `seen-${Math.random()}`;
      const seen = new Promise<void>((resolve) =>
        monitor.on('monitor', (_: string, args: string[]) => args.includes(mark) && resolve()),
      );
      const other = new Redis(redis.port);
      await other.echo(mark);
      other.disconnect();
      await seen;
      return calls;
    };
    return { ...instance, rooms, ids, client, resume, called };
  }

  const offsetsOf = (m: TestMember, id: string): unknown[] =>
    m
      .messages('telemetry')
      .filter(({ deviceId }) => deviceId === id)
      .map(({ offset }) => offset);

  // Defect: each room of a client that resumed was read twice, each time by a call of its own: a look whether history goes on there, and a page.
  it('reads the rooms of a client that missed little by one call, each of them once', async () => {
    const { ids, resume, called } = await setUp(8, 12);
    const m = await resume(ids, 4);
    ids.forEach((id) => expect(offsetsOf(m, id)).toEqual(numbers(5, 12)));
    expect(await called()).toEqual([ids]);
  });

  it('reads on where more was missed, and brings each publication once', async () => {
    const { ids, resume, called } = await setUp(3, 40);
    const m = await resume(ids, 10);
    ids.forEach((id) => expect(offsetsOf(m, id)).toEqual(numbers(11, 40)));
    expect((await called()).flat()).toHaveLength(6);
  });

  it('ends an answer with some 256 KiB, and asks again for the rooms that were not in it', async () => {
    const { ids, resume, called } = await setUp(8, 6, 'x'.repeat(30 * KIB));
    const m = await resume(ids, 3);
    ids.forEach((id) => expect(offsetsOf(m, id)).toEqual([4, 5, 6]));
    // 60 KiB each: the newest one is known.
    expect((await called()).map((rooms) => rooms.length)).toEqual([8, 3]);
  });

  it('goes on for the other rooms where one cannot be read', async () => {
    const { ids, resume, client } = await setUp(4, 5);
    const [spoiled] = await client.keys(`*resume-${namespaces}*h:${ids[1]!}`);
    await client.del(spoiled!);
    await client.set(spoiled!, 'not a list');
    const m = await resume(ids, 2);
    expect(m.messages('subscribed')[0]).toMatchObject({
      rooms: [{ recovered: true }, { recovered: false }, { recovered: true }, { recovered: true }],
    });
    expect(offsetsOf(m, ids[0]!)).toEqual([3, 4, 5]);
    expect(offsetsOf(m, ids[1]!)).toEqual([]);
    expect(m.messages('snapshot')[0]).toMatchObject({
      devices: [{ telemetry: { deviceId: ids[1], offset: 5 } }],
    });
  });

  it('brings all of sixty rooms, with the metadata of its time, whatever blocks they are stored in', async () => {
    const { adapter, ids, resume, called } = await setUp(60, 2);
    await Promise.all(ids.map((id) => adapter.setMeta(id, Buffer.from(`{"id":"${id}"}`))));
    // Several publications of one device at once are one block.
    for (const count of [1, 7, 3]) {
      await Promise.all(ids.flatMap((id) => numbers(1, count).map(() => publish(adapter, id, 'later'))));
    }
    for (const from of [1, 5, 9, 12]) {
      const before = (await called()).length;
      const m = await resume(ids, from);
      const got = new Map<unknown, unknown[]>();
      m.messages('telemetry').forEach(({ deviceId, offset, meta }) => {
        got.set(deviceId, [...(got.get(deviceId) ?? []), offset]);
        expect(meta).toEqual((offset as number) <= 2 ? null : { id: deviceId });
      });
      ids.forEach((id) => expect(got.get(id)).toEqual(numbers(from + 1, 13)));
      const calls = (await called()).slice(before);
      expect(calls.every((rooms) => rooms.length <= 16)).toBe(true);
      expect(calls.length > 0).toBe(from < 12); // the newest one is known
    }
  });

  it('is answered with snapshots where Redis is lost between the look and the page, and the connection stays', async () => {
    const lost = own(await startRedis());
    const { adapter, metrics } = own(createInstance(lost.url, { rooms: LIMITS, redis: { timeoutMs: 300 } }));
    const config = testConfig({});
    const context = new DeliveryContext(config.ws, metrics, new ManualScheduler());
    const rooms = new RoomsService(config, adapter, metrics, context);
    await adapter.start();
    const ids = named(4);
    for (let n = 0; n < 20; n += 1) {
      await Promise.all(ids.map((id) => publish(adapter, id, n)));
    }
    const states = await adapter.attach(ids);
    const since = new Map(states.map(({ deviceId, epoch }) => [deviceId, { epoch, offset: 2 }]));
    const m = new TestMember(context);
    m.socket.room = 0; // the pages wait for the client
    await rooms.subscribe(m, { deviceIds: ids, denied: [], delivery: EVERY, since });
    await lost.kill();
    m.socket.read();
    await eventually(() => m.subscriptions.all().every(({ feed }) => feed !== null), 'live');
    expect(m.failed).toBe(false);
    for (const id of ids) {
      const offsets = offsetsOf(m, id) as number[];
      expect(offsets).toEqual([...offsets].sort((one, other) => one - other));
      expect(new Set(offsets).size).toBe(offsets.length);
      const snapshots = m.messages('snapshot').flatMap(({ devices }) => devices as { deviceId: string }[]);
      expect(offsets.includes(20) || snapshots.some(({ deviceId }) => deviceId === id)).toBe(true);
    }
  });
});
