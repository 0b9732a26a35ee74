import { Redis } from 'ioredis';
import { type EdgeNodes, MemoryEdgeNodes } from '../../src/rooms/edge-nodes.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { startRedis, type RedisServer } from '../support/redis.js';
import { PATIENT, startInstance } from './redis-fixture.js';

/** Small enough to be reached: the share of one partition has a slack of sixteen. */
const MAX_NODES = 3;
const SLACK_NODES = 20;

describe('what is kept of edge nodes', () => {
  const shared = stopAfterAll();
  const own = stopAfterEach();
  let redis: RedisServer;
  let runs = 0;

  beforeAll(async () => {
    redis = shared(await startRedis());
  });

  const start = async (namespace: string): ReturnType<typeof startInstance> =>
    own(
      await startInstance(redis.url, {
        rooms: { maxDevices: MAX_NODES },
        redis: { namespace, partitions: 1, ...PATIENT },
      }),
    );

  describe.each([
    ['in memory', (): Promise<EdgeNodes> => Promise.resolve(new MemoryEdgeNodes(MAX_NODES))],
    [
      'in Redis',
      async (): Promise<EdgeNodes> => (await start(`nodes-${(runs += 1)}`)).adapter.storeWriter.edgeNodes,
    ],
  ])('%s', (_where, create) => {
    let nodes: EdgeNodes;

    beforeEach(async () => {
      nodes = await create();
    });

    it('reads what was written, down to what was forgotten', async () => {
      expect(await nodes.read('g/n')).toBeNull();
      expect(
        await nodes.write('g/n', {
          replace: true,
          parts: new Map([
            ['head', '{"seq":1}'],
            ['device ü', '[]'],
          ]),
        }),
      ).toBe(true);
      expect(
        await nodes.write('g/n', {
          replace: false,
          parts: new Map([
            ['head', '{"seq":2}'],
            ['device ü', null],
          ]),
        }),
      ).toBe(true);
      expect(await nodes.read('g/n')).toEqual(new Map([['head', '{"seq":2}']]));
    });

    // A command read everything of a node with all its devices, for the metrics of one.
    it('reads the texts that are asked for, and no others', async () => {
      const parts = new Map([
        ['head', '1'],
        ['a', '2'],
        ['b', '3'],
      ]);
      await nodes.write('g/n', { replace: true, parts });
      expect(await nodes.read('g/n', ['a', 'head', 'none'])).toEqual(
        new Map([
          ['a', '2'],
          ['head', '1'],
        ]),
      );
      expect(await nodes.read('g/n', ['none'])).toBeNull();
      expect(await nodes.read('g/other', ['a'])).toBeNull();
    });

    it('forgets everything before a change that replaces', async () => {
      await nodes.write('g/n', { replace: true, parts: new Map([['a', '1']]) });
      await nodes.write('g/n', { replace: true, parts: new Map([['b', '2']]) });
      expect(await nodes.read('g/n')).toEqual(new Map([['b', '2']]));
    });

    it('does not keep a part of a node of which nothing is known', async () => {
      expect(await nodes.write('g/n', { replace: false, parts: new Map([['a', '1']]) })).toBe(false);
      expect(await nodes.read('g/n')).toBeNull();
    });

    it('keeps no more nodes than devices', async () => {
      const all = Array.from({ length: 40 }, (_, n) => `g/n${n}`);
      for (const node of all) {
        await nodes.write(node, { replace: true, parts: new Map([['a', '1']]) });
      }
      const kept = await Promise.all(all.map((node) => nodes.read(node)));
      expect(kept.filter((parts) => parts !== null).length).toBeLessThanOrEqual(MAX_NODES + SLACK_NODES);
    });
  });

  // The nodes were counted and not their bytes, and each may say as much as a message: a heap of births.
  it('is bounded in bytes, too, in memory: the node that was written least recently is forgotten', async () => {
    const nodes = new MemoryEdgeNodes(100, 2_400);
    const born = (node: string, bytes: number): Promise<boolean> =>
      nodes.write(node, { replace: true, parts: new Map([['d', 'x'.repeat(bytes)]]) });
    await born('g/a', 400);
    await born('g/b', 400);
    await nodes.write('g/a', { replace: false, parts: new Map([['d', 'y'.repeat(300)]]) });
    expect(await born('g/c', 400)).toBe(true);
    expect([await nodes.read('g/b'), nodes.size]).toEqual([null, 2]);
    expect(await born('g/d', 2_400)).toBe(false);
    expect(nodes.size).toBe(0);
  });

  // Only characters were counted: devices without metrics, of some characters each, took ten times the memory that there may be.
  it('is bounded in memory by texts of no length, too', async () => {
    const nodes = new MemoryEdgeNodes(100, 2_400);
    const devices = new Map(Array.from({ length: 20 }, (_, n) => [`d${n}`, '[]'] as const));
    expect(await nodes.write('g/a', { replace: true, parts: devices })).toBe(false);
  });

  // One such key made every call of its node an error of the server: nothing was stored for a moment, again and again.
  it('is nothing where somebody else has written another type, and the store goes on', async () => {
    const { adapter } = await start('nodes-type');
    const { edgeNodes } = adapter.storeWriter;
    const change = { replace: true, parts: new Map([['a', '1']]) };
    await edgeNodes.write('g/n', change);
    const client = new Redis(redis.url);
    const [key] = await client.keys('nodes-type:*n:g/n');
    await client.set(key as string, 'no hash');
    expect([await edgeNodes.read('g/n'), await edgeNodes.read('g/n', ['a'])]).toEqual([null, null]);
    expect(await edgeNodes.write('g/n', { ...change, replace: false })).toBe(false);
    expect(adapter.storeReachable).toBe(true);
    expect(await edgeNodes.write('g/n', change)).toBe(true);
    expect(await edgeNodes.read('g/n')).toEqual(change.parts);
    await client.quit();
  });

  it('is bounded in time and fenced like the devices', async () => {
    const old = await start('nodes-fence');
    const next = await start('nodes-fence');
    const change = { replace: true, parts: new Map([['a', '1']]) };
    let fenced = 0;
    old.adapter.onFenced(() => (fenced += 1));
    await old.adapter.raiseFence(1);
    await old.adapter.storeWriter.edgeNodes.write('g/n', change);
    await next.adapter.raiseFence(2);
    await expect(old.adapter.storeWriter.edgeNodes.write('g/n', change)).rejects.toThrow('fenced');
    expect(fenced).toBe(1);
    expect(await next.adapter.edgeNodes.read('g/n')).toEqual(change.parts);
    const client = new Redis(redis.url);
    const [key] = await client.keys('nodes-fence:*n:g/n');
    expect(await client.pttl(key as string)).toBeGreaterThan(0);
    await client.quit();
  });
});
