import { Redis } from 'ioredis';
import { form, seconds, TEST_TIMEOUT_MS } from './form.js';
import { startInstance } from '../redis/redis-fixture.js';
import type { Instance } from './support/instance.js';
import { Stage } from './support/stage.js';
import { until } from './support/until.js';
import { expectConsistent, say } from './support/verdict.js';

/** In the full form every moment is another one. Instances return more slowly to a Redis that goes again and again. */
const ROUNDS = form(10, 1);
const REDIS_ROUNDS = form(3, 1);
const DEVICES = 12;
/** All of a second at once: batches are full, and the journal is used. */
const PER_SECOND = 1_200;
const PATIENT = { timeoutMs: 60_000 };
const PREFIX = 'sluice:{0.0}:';
const JOURNAL = `${PREFIX}j`;
const IDS = Array.from({ length: DEVICES }, (_, n) => `d1-${n}`);

/**
 * The other faults hardly ever fill a batch, so that they do not meet the journal (decision 25). Here every fault comes while it has something
 * in it: the reader is halted, the journal is looked at, and then the fault happens.
 */
describe('a fault while publications are in the journal and in no room', () => {
  let stage: Stage;
  let commands: Redis;
  let met = 0;

  beforeAll(async () => {
    stage = await Stage.start({
      instances: 2,
      // What it has acknowledged is there again after a kill.
      redisArgs: ['--appendonly', 'yes', '--appendfsync', 'always'],
      env: { REDIS_PARTITIONS: '1' },
      fleet: { deviceCount: DEVICES, dashboardCount: 6, devicesPerDashboard: 4, perSecond: PER_SECOND },
    });
    commands = new Redis(stage.redis.url, { retryStrategy: () => 50 });
    commands.on('error', () => undefined);
    await stage.fleet.publish(true);
  }, TEST_TIMEOUT_MS);

  afterAll(async () => {
    commands.disconnect();
    await stage.stop();
    await Stage.endKept();
  });

  /** Halts the reader at a moment at which the journal is not empty. */
  async function haltReader(): Promise<Instance> {
    const reader = await stage.holder();
    const entries = form(1 + Math.floor(Math.random() * 5), 2);
    await until('publications are in the journal, and the reader is halted', 15_000, async () => {
      if ((await commands.llen(JOURNAL)) < entries) {
        return false;
      }
      reader.freeze();
      if ((await commands.llen(JOURNAL)) > 0) {
        return true;
      }
      reader.thaw();
      return false;
    });
    met += 1;
    return reader;
  }

  const allUseRedis = (): Promise<number> =>
    until('all instances use Redis', 30_000, async () =>
      (await Promise.all(stage.instances.map((one) => one.health()))).every(({ status }) => status === 'ok'),
    );

  const other = (one: Instance): Instance => stage.instances.find((each) => each !== one) as Instance;

  /** The newest offset of each device, in its room or in the journal: what was acknowledged, while nobody writes. */
  async function acknowledged(): Promise<number[]> {
    const newest = new Map<string, number>();
    for (const id of IDS) {
      newest.set(id, (await commands.getBuffer(`${PREFIX}r:${id}`))!.readDoubleLE(16));
    }
    for (const entry of await commands.lrangeBuffer(JOURNAL, 0, -1)) {
      for (let at = 0; at < entry.length;) {
        const block = at + 12 + entry.readUInt32LE(at);
        newest.set(entry.toString('utf8', at + 12, block), lastOf(entry.subarray(block)));
        at = block + entry.readUInt32LE(at + 8);
      }
    }
    return [...newest.values()];
  }

  const epochsNow = (): Promise<string[]> =>
    Promise.all(IDS.map((id) => commands.getrange(`${PREFIX}r:${id}`, 80, 103)));

  /** The newest offset of each device in the numbering before the current one, which has no hole. */
  async function keptOfBefore(): Promise<number[]> {
    const newest: number[] = [];
    for (const id of IDS) {
      const blocks = await commands.lrangeBuffer(`${PREFIX}o:${id}`, 0, -1);
      blocks.reduce(
        (last, block) => {
          expect(block.readDoubleLE(16)).toBe(last + 1);
          return lastOf(block);
        },
        blocks[0]!.readDoubleLE(16) - 1,
      );
      newest.push(lastOf(blocks.at(-1)!));
    }
    return newest;
  }

  /** The rooms as an instance finds them that comes now: numbered without a hole, and with no publication twice. */
  async function expectWholeHistory(): Promise<number> {
    const { adapter, stop } = await startInstance(stage.redis.url, { redis: { partitions: 1, ...PATIENT } });
    let stored = 0;
    try {
      for (const id of IDS) {
        const [state] = await adapter.read([id]);
        const { epoch, offset } = state!;
        const [begin] = await adapter.rewind([{ deviceId: id, epoch }], { count: 1_000_000 });
        const found: { offset: number; n: number }[] = [];
        for (let at = begin!; at < offset; at = found.at(-1)!.offset) {
          const page = await adapter.history(id, { epoch, offset: at }, 2_000);
          expect(page?.publications.length ?? 0).toBeGreaterThan(0);
          page!.publications.forEach((one) =>
            found.push({ offset: one.offset, n: (JSON.parse(one.payload.toString()) as { n: number }).n }),
          );
        }
        expect(found.length).toBeGreaterThan(0);
        const [first] = found;
        expect(found).toEqual(found.map((_, n) => ({ offset: first!.offset + n, n: first!.n + n })));
        expect(found.at(-1)!.offset).toBe(offset);
        stored += offset;
      }
    } finally {
      await stop();
    }
    return stored;
  }

  it(
    'loses and doubles nothing when the reader is killed, stopped, or paused until another has taken over',
    async () => {
      for (let round = 0; round < ROUNDS; round += 1) {
        const killed = await haltReader();
        await killed.kill();
        await until('the other reads', 10_000, async () => (await stage.holder()) === other(killed));
        await killed.start();

        // It has its copy of the journal still, and goes on with it.
        const paused = await haltReader();
        await until(
          'the other reads',
          10_000,
          async () => (await other(paused).metric('sluice_ingest_lease_held')) === 1,
        );
        await seconds(Math.random() * form(1, 0.2));
        paused.thaw();
        await allUseRedis();

        const stopped = await haltReader();
        stopped.thaw();
        await stopped.stop();
        await stopped.start();
      }
      await stage.fleet.halt();
      await stage.fleet.settle();
      const report = await stage.fleet.report();
      say('journal and its reader', report, { met });
      expectConsistent(stage, report);
      expect(await expectWholeHistory()).toBe(report.published);
      expect(met).toBe(3 * ROUNDS);
    },
    TEST_TIMEOUT_MS * ROUNDS,
  );

  it(
    'loses and doubles nothing when Redis freezes, or is killed and comes back with what it had',
    async () => {
      met = 0;
      await stage.fleet.publish(true);
      for (let round = 0; round < REDIS_ROUNDS; round += 1) {
        const reader = await haltReader();
        stage.redis.freeze();
        reader.thaw();
        await seconds(form(Math.random() * 4, 1.5));
        stage.redis.thaw();
        await allUseRedis();

        const again = await haltReader();
        const before = await acknowledged();
        const epochs = await epochsNow();
        await stage.redis.kill();
        again.thaw();
        await seconds(form(Math.random() * 3, 0));
        await stage.redis.start();
        await allUseRedis();
        await until('every room is numbered anew', 10_000, async () =>
          (await epochsNow()).every((epoch, at) => epoch !== epochs[at]),
        );
        expect(await keptOfBefore()).toEqual(before);
        await until('every device is heard again', 10_000, async () =>
          (await acknowledged()).every((offset) => offset > 0),
        );
      }
      await stage.fleet.halt();
      await stage.fleet.settle();
      const report = await stage.fleet.report();
      say('journal and Redis', report, { met });
      expectConsistent(stage, report, { superseded: true });
      await expectWholeHistory();
      expect(met).toBe(2 * REDIS_ROUNDS);
    },
    TEST_TIMEOUT_MS * REDIS_ROUNDS,
  );
});

/** Of a block of history (redis/lua/publish.lua). */
function lastOf(block: Buffer): number {
  return block.readDoubleLE(16) + block.readUInt16LE(8) - 1;
}
