import { jest } from '@jest/globals';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { Journal } from '../../src/redis/rooms/journal.js';
import { publish } from '../contract/broadcast-adapter.contract.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { startRedis, type RedisServer } from '../support/redis.js';
import { eventually, type Instance, type InstanceOptions, PATIENT, startInstance } from './redis-fixture.js';

const STATUS = { isOnline: true, lastSeen: 1, serverTs: 2 };

describe('the journal of a reader that has more to store than rooms can take one by one', () => {
  const shared = stopAfterAll();
  const own = stopAfterEach();
  let redis: RedisServer;
  let commands: Redis;
  let namespaces = 0;

  afterEach(() => {
    jest.restoreAllMocks();
  });

  beforeAll(async () => {
    redis = shared(await startRedis());
    commands = new Redis(redis.url);
    shared({ stop: () => commands.disconnect() });
  });

  const namespace = (): string => `journal-${(namespaces += 1)}`;
  const start = async (name: string, { redis: settings, ...more }: InstanceOptions = {}): Promise<Instance> =>
    own(
      await startInstance(redis.url, {
        redis: { namespace: name, partitions: 1, ...PATIENT, ...settings },
        ...more,
      }),
    );
  /** Every batch of it is full. */
  const startReader = async (name: string, batchMaxPublications = 1): Promise<Instance> => {
    const reader = await start(name, { redis: { batchMaxPublications } });
    await reader.adapter.raiseFence(1);
    return reader;
  };
  const journalOf = async (name: string): Promise<number> => {
    const [key] = await commands.keys(`${name}:*:j`);
    return key === undefined ? 0 : commands.llen(key);
  };

  /** What another instance knows of a room. */
  const seen = async ({ adapter }: Instance, deviceId: string) => {
    const [state] = await adapter.read([deviceId]);
    const page = await adapter.history(deviceId, { epoch: state!.epoch, offset: 0 }, 1_000);
    return {
      offset: state!.offset,
      newest: state!.telemetry?.payload.toString(),
      newestMeta: state!.telemetry?.meta?.toString(),
      status: state!.status,
      meta: state!.meta?.toString(),
      history: page!.publications.map(({ offset, payload, meta, serverTs }) => [
        offset,
        payload.toString(),
        meta?.toString(),
        serverTs,
      ]),
    };
  };

  it('is settled by whoever attaches, reads or rewinds, so that nobody sees a room without it', async () => {
    const name = namespace();
    const reader = await startReader(name);
    const other = await start(name);
    const looks: ((deviceId: string, epoch: string) => Promise<unknown>)[] = [
      async (id) => expect((await other.adapter.read([id]))[0]).toMatchObject({ offset: 4 }),
      async (id) => expect((await other.adapter.attach([id]))[0]).toMatchObject({ offset: 4 }),
      async (id, epoch) =>
        expect(await other.adapter.rewind([{ deviceId: id, epoch }], { count: 2 })).toEqual([2]),
      async (id, epoch) =>
        expect((await other.adapter.history(id, { epoch, offset: 1 }, 9))?.publications).toHaveLength(3),
      async () => other.adapter.eachDevice(() => undefined),
    ];
    for (const [n, look] of looks.entries()) {
      const id = `d${n}`;
      await publish(reader.adapter, id, 1);
      const [state] = await other.adapter.read([id]);
      await Promise.all([2, 3, 4].map((value) => publish(reader.adapter, id, value)));
      expect(await journalOf(name)).toBeGreaterThan(0);
      await look(id, state!.epoch);
      expect(await journalOf(name)).toBe(0);
      expect((await seen(other, id)).history.map(([, payload]) => payload)).toEqual(['1', '2', '3', '4']);
    }
  });

  it('is written into rooms by the reader itself, each once, when it is old', async () => {
    const name = namespace();
    const reader = await startReader(name);
    await publish(reader.adapter, 'd1', 0);
    for (let n = 1; n <= 20; n += 1) {
      await publish(reader.adapter, 'd1', n);
    }
    expect(await journalOf(name)).toBe(20);
    await eventually(async () => (await journalOf(name)) === 0, 'settled');
    const [history] = await commands.keys(`${name}:*:h:d1`);
    expect(await commands.llen(history!)).toBe(2);
    expect((await seen(await start(name), 'd1')).history.map(([, payload]) => payload)).toEqual(
      Array.from({ length: 21 }, (_, n) => String(n)),
    );
  });

  it('is settled before an instance stops', async () => {
    const name = namespace();
    const reader = await startReader(name);
    await publish(reader.adapter, 'd1', 1);
    await publish(reader.adapter, 'd1', 2);
    expect(await journalOf(name)).toBe(1);
    await reader.stop();
    expect(await journalOf(name)).toBe(0);
  });

  it('is taken over by the next holder, who recognises what the broker sends again', async () => {
    const name = namespace();
    const [old, next] = [await startReader(name), await start(name)];
    await publish(old.adapter, 'd1', 1);
    await publish(old.adapter, 'd1', 2, { packetId: 2 });
    await publish(old.adapter, 'd1', 3, { packetId: 3 });
    expect(await journalOf(name)).toBe(2);
    await next.adapter.raiseFence(2);
    void publish(old.adapter, 'd1', 'late');
    expect(await publish(next.adapter, 'd1', 3, { packetId: 3, dup: true })).toBe('duplicate');
    expect(await publish(next.adapter, 'd1', 4)).toBe('accepted');
    const { offset, history } = await seen(next, 'd1');
    expect([offset, history.map(([, payload]) => payload)]).toEqual([4, ['1', '2', '3', '4']]);
  });

  it('stores nothing twice when the answer to an entry is lost', async () => {
    const name = namespace();
    const { adapter } = await startReader(name);
    await publish(adapter, 'd1', 0);
    await publish(adapter, 'd1', 1);
    expect(await journalOf(name)).toBe(1);
    await commands.call('CLIENT', 'PAUSE', '200', 'WRITE');
    const published = publish(adapter, 'd1', 2);
    await new Promise((resolve) => setImmediate(resolve));
    await commands.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await commands.call('CLIENT', 'UNPAUSE');
    expect(await published).toBe('accepted');
    const { history } = await seen(await start(name), 'd1');
    expect(history.map(([, payload]) => payload)).toEqual(['0', '1', '2']);
  });

  // A room expired in Redis while its head was kept, and began anew because somebody watched it. What the device said then went into the
  // journal under the old numbering, was acknowledged, and followed on nothing when it was settled: all of it was lost. Publications to a
  // room that may have expired go the way now on which the room is read.
  it('takes nothing for a room that may have expired, and begun anew', async () => {
    jest.spyOn(Journal.prototype, 'settled').mockImplementation(function (this: Journal) {
      this.forget();
    });
    const name = namespace();
    const rooms = { deviceExpiryS: 1 };
    const reader = await start(name, { redis: { batchMaxPublications: 1 }, rooms });
    const other = await start(name, { rooms });
    await reader.adapter.raiseFence(1);
    await publish(reader.adapter, 'd1', 1);
    await eventually(async () => (await commands.keys(`${name}:*:r:d1`)).length === 0, 'expired');
    const [begun] = await other.adapter.attach(['d1']);
    for (const value of [2, 3, 4]) {
      expect(await publish(reader.adapter, 'd1', value)).toBe('accepted');
    }
    expect((await other.adapter.read(['d1']))[0]).toMatchObject({ epoch: begun!.epoch, offset: 3 });
    await other.receiver.until(() => other.receiver.payloads('d1').join() === '2,3,4');
  });

  // An instance of a release that knows no journal would not see what is in it.
  it('is not used while a release before it is there', async () => {
    const name = namespace();
    await commands.hset(`${name}:{all.mt}:agreement`, 'partitions', '1', 'format', '1');
    const { adapter } = await startReader(name);
    await publish(adapter, 'd1', 1);
    await publish(adapter, 'd1', 2);
    await publish(adapter, 'd1', 3);
    expect(await journalOf(name)).toBe(0);
    expect(await commands.hget(`${name}:{all.mt}:agreement`, 'format')).toBe('1.0');
  });

  it('costs no other room its publications when one cannot be written', async () => {
    const name = namespace();
    const reader = await startReader(name);
    for (const id of ['bad', 'd1']) {
      await publish(reader.adapter, id, 1);
      await publish(reader.adapter, id, 2);
    }
    const [history] = await commands.keys(`${name}:*:h:bad`);
    await commands.set(history!, 'no list');
    const other = await start(name);
    expect((await seen(other, 'd1')).offset).toBe(2);
    expect(await journalOf(name)).toBe(0);
    expect(await publish(reader.adapter, 'd1', 3)).toBe('accepted');
    expect((await seen(other, 'd1')).offset).toBe(3);
  });

  const deviceId = fc.constantFrom('a', 'b', 'ü');
  const step = fc.oneof(
    {
      weight: 12,
      arbitrary: fc.record({ do: fc.constant('publish' as const), deviceId, value: fc.nat(120) }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constantFrom('meta' as const, 'status' as const, 'read' as const, 'repeat' as const),
        deviceId,
        value: fc.nat(3),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('settle' as const), deviceId, value: fc.nat(1) }) },
  );

  it('leaves rooms, and tells watchers, as if there were none', async () => {
    // Also where it does not pay.
    jest.spyOn(Journal.prototype, 'settled').mockImplementation(function (this: Journal) {
      this.forget();
    });
    const ways = await Promise.all(
      [1, 100].map(async (most) => {
        const name = namespace();
        return { name, reader: await startReader(name, most), other: await start(name) };
      }),
    );
    let run = 0;
    let journaled = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
        run += 1;
        const idOf = (id: string): string => `${run}-${id}`;
        const results = [];
        for (const { name, reader, other } of ways) {
          await other.adapter.attach([idOf('a')]);
          const outcomes: unknown[] = [];
          for (const [index, { do: what, deviceId: id, value }] of steps.entries()) {
            const device = idOf(id);
            switch (what) {
              case 'publish': {
                const more = { packetId: 1 + index };
                outcomes.push(await publish(reader.adapter, device, 'x'.repeat(value), more));
                break;
              }
              case 'repeat':
                outcomes.push(
                  await publish(reader.adapter, device, 'again', { packetId: 60_000 + value, dup: true }),
                );
                break;
              case 'meta':
                await reader.adapter.setMeta(device, Buffer.from(`{"v":${value}}`));
                break;
              case 'status':
                await reader.adapter.setStatus(device, { ...STATUS, lastSeen: value }, false);
                break;
              case 'read':
                await other.adapter.read([device]);
                break;
              case 'settle':
                journaled += await journalOf(name);
                await new Promise((resolve) => setTimeout(resolve, value));
            }
          }
          const known = await other.adapter.read(['a', 'b', 'ü'].map(idOf));
          const rooms = await Promise.all(
            ['a', 'b', 'ü'].map(async (id, at) => (known[at] === null ? null : seen(other, idOf(id)))),
          );
          const told = (): unknown[] =>
            other.receiver.publications
              .filter((publication) => publication.deviceId === idOf('a'))
              .map(({ offset, payload, meta }) => [offset, payload.toString(), meta?.toString()]);
          const last = known[0]?.offset ?? 0;
          await other.receiver.until(() => told().length >= last);
          results.push({ outcomes, told: told(), rooms: withoutTimes(rooms) });
        }
        expect(results[0]).toEqual(results[1]);
      }),
      { numRuns: 40 },
    );
    expect(journaled).toBeGreaterThan(5);
  }, 60_000);
});

/** The two ways run one after the other. */
function withoutTimes(rooms: ({ history: unknown[][] } | null)[]): unknown {
  return rooms.map((room) => room && { ...room, history: room.history.map((each) => each.slice(0, 3)) });
}
