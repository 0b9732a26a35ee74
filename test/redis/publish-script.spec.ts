import fc from 'fast-check';
import { Redis } from 'ioredis';
import { loadConfig } from '../../src/config/load-config.js';
import { encodeBatch, type Operation } from '../../src/redis/rooms/batch.js';
import { FinishedCalls } from '../../src/redis/rooms/finished-call.js';
import { KeptRooms } from '../../src/redis/rooms/kept-rooms.js';
import { Partitions } from '../../src/redis/connection/partitions.js';
import { scriptTexts, withScripts } from '../../src/redis/connection/scripts.js';
import { CONTRACT_LIMITS, publish } from '../contract/broadcast-adapter.contract.js';
import { stopAfterAll, stopAfterEach } from '../support/cleanup.js';
import { startRedis, type RedisServer } from '../support/redis.js';
import { PATIENT, startInstance } from './redis-fixture.js';

const config = loadConfig({ REDIS_URL: 'redis://localhost' });
/** So few that no history is trimmed by count: the short way leaves that to the next publication. */
const MAX_STEPS = 7;
const NOW_S = 1_800_000_000;
const DEADLINE = String(NOW_S * 1_000 + 3_600_000);

/** One way of storing, in a namespace of its own, with a clock that stands until it is moved. */
class Way {
  readonly told: string[] = [];
  private readonly partition;
  private clockS = NOW_S;
  /** Rooms that were stored from a kept head. */
  fromHeads = 0;

  constructor(
    private readonly redis: Redis,
    private readonly listener: Redis,
    readonly namespace: string,
    private readonly change: (lua: string) => string,
    private readonly heads: KeptRooms | null = null,
  ) {
    this.partition = new Partitions(namespace, 1).all[0]!;
  }

  async listen(): Promise<void> {
    this.listener.on('pmessageBuffer', (_pattern, channel: Buffer, message: Buffer) =>
      this.told.push(`${this.neutral(channel.toString())} ${message.toString('hex')}`),
    );
    await this.listener.psubscribe(`${this.namespace}:*`);
  }

  pass(seconds: number): void {
    this.clockS += seconds;
  }

  async store(operations: readonly Operation[], generation: string): Promise<string> {
    const texts = scriptTexts(
      { ...config, rooms: { ...config.rooms, ...CONTRACT_LIMITS, historyMaxPublications: 5 } },
      false,
    );
    const publishText = this.change(texts.get('sluicePublish')!).replace(
      "call('TIME')",
      `{ '${this.clockS}', '0' }`,
    );
    const { headKey } = this.partition;
    // A name of its own for each text: ioredis keeps what it has loaded by name.
    const connection = withScripts(this.redis.duplicate(), new Map([['sluicePublish', publishText]]));
    try {
      if (this.heads === null) {
        const { bytes } = encodeBatch(operations, 1, false);
        return await connection.sluicePublish(headKey, 'run', '1', DEADLINE, generation, bytes);
      }
      const keeping = { rooms: this.heads, now: this.clockS * 1_000 };
      const { bytes, kept, deviceIds } = encodeBatch(operations, 1, false, keeping);
      const first = ['run', '1', DEADLINE, generation, bytes, kept!.stamp, ''];
      const calls = new FinishedCalls(publishText);
      const answer = await calls.call(connection, headKey, first, kept!.rooms * 3, kept!);
      const [outcomes, stamp, , ...heads] = answer as Buffer[];
      this.heads.stamp = stamp!.toString();
      heads.forEach((head, at) => this.heads!.keep(deviceIds[at]!, head));
      this.fromHeads += kept!.rooms;
      return outcomes!.toString();
    } finally {
      connection.disconnect();
    }
  }

  /** Everything stored, and when it ends to the second. */
  async stored(): Promise<string[]> {
    const keys = (await this.redis.keys(`${this.namespace}:*`)).sort();
    return Promise.all(
      keys.map(async (key) => {
        const [dump, left] = await Promise.all([this.redis.dumpBuffer(key), this.redis.pttl(key)]);
        return `${this.neutral(key)} ${dump?.toString('hex')} ${left < 0 ? left : 'ends'}`;
      }),
    );
  }

  /** What was told, by channel: rooms may change places within a batch. */
  get toldInOrder(): string[] {
    const channelOf = (text: string): string => text.slice(0, text.indexOf(' '));
    return this.told.toSorted((a, b) => channelOf(a).localeCompare(channelOf(b)));
  }

  private neutral(name: string): string {
    return name.replace(this.namespace, 'ns');
  }
}

const deviceId = fc.constantFrom('a', 'b', 'ü');
const publication = fc
  .record({ deviceId, payload: fc.constantFrom('1', '22', '33', '{"a":4}'), dup: fc.constant(false) })
  .map(({ deviceId: id, payload, dup }): Operation => ({
    deviceId: id,
    payload: Buffer.from(payload),
    receivedAt: NOW_S * 1_000,
    receivedMono: 0,
    packetId: 7,
    dup,
    settle: () => undefined,
  }));
const change = fc
  .record({
    deviceId,
    kind: fc.constantFrom('status', 'meta', 'fill'),
    text: fc.constantFrom('{}', '{"m":1}'),
  })
  .map(({ deviceId: id, kind, text }): Operation => {
    const done = { stored: () => undefined, lost: () => undefined };
    switch (kind) {
      case 'status': {
        const status = { isOnline: text === '{}', lastSeen: 1, serverTs: 2 };
        return { deviceId: id, change: { kind, status, onlyIfUnknown: false }, ...done };
      }
      case 'meta':
        return { deviceId: id, change: { kind, meta: Buffer.from(text) }, ...done };
      default:
        return {
          deviceId: id,
          change: { kind: 'fill', payload: Buffer.from(text), receivedAt: 3 },
          ...done,
        };
    }
  });
const step = fc.record({
  operations: fc.array(fc.oneof({ weight: 5, arbitrary: publication }, { weight: 1, arbitrary: change }), {
    minLength: 1,
    maxLength: 6,
  }),
  passS: fc.constantFrom(0, 0, 0, 1, 20, 90),
});

describe('the publish script', () => {
  const shared = stopAfterAll();
  const own = stopAfterEach();
  let redis: RedisServer;

  beforeAll(async () => {
    redis = shared(await startRedis());
  });

  function connect(): Redis {
    const connection = new Redis(redis.url);
    own({ stop: () => connection.disconnect() });
    return connection;
  }

  it('stores and tells the same by its short way, and from kept heads, as by the long one', async () => {
    const commands = connect();
    let run = 0;
    let fromHeads = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: MAX_STEPS }), async (steps) => {
        run += 1;
        const takesShort = 'return append(id, key, stored, at, stop) or apply(';
        const ways = [`s${run}`, `l${run}`].map(
          (name, index) =>
            new Way(commands, connect(), name, (lua) => {
              expect(lua).toContain(takesShort);
              return index === 0
                ? lua.replace(
                    takesShort,
                    'local head = append(id, key, stored, at, stop) if head then call("INCR", "short") return head end return apply(',
                  )
                : lua.replace(takesShort, 'return apply(');
            }),
        );
        const keeping = new Way(commands, connect(), `k${run}`, (lua) => lua, new KeptRooms(100, true));
        ways.push(keeping);
        await Promise.all(ways.map((way) => way.listen()));
        for (const { operations, passS } of steps) {
          ways.forEach((way) => way.pass(passS));
          const answers = await Promise.all(ways.map((way) => way.store(operations, 'generation01')));
          expect(answers[0]).toBe(answers[1]);
          expect(answers[2]).toBe(answers[1]!.startsWith('A') ? 'A' : answers[2]);
        }
        const [short, long, kept] = await Promise.all(ways.map((way) => way.stored()));
        expect(short).toEqual(long);
        expect(kept).toEqual(long);
        expect(ways[0]!.told).toEqual(ways[1]!.told);
        expect(keeping.toldInOrder).toEqual(ways[1]!.toldInOrder);
        fromHeads += keeping.fromHeads;
      }),
      { numRuns: 100 },
    );
    expect(Number(await commands.get('short'))).toBeGreaterThan(50);
    expect(fromHeads).toBeGreaterThan(50);
  }, 120_000);

  it('keeps history within its count where each publication is a block', async () => {
    const instance = own(await startInstance(redis.url, { redis: { ...PATIENT, namespace: 'count' } }));
    for (let n = 1; n <= 400; n += 1) {
      await publish(instance.adapter, 'd1', n);
    }
    const commands = connect();
    const [key] = await commands.keys('count:*:h:d1');
    const entries = await commands.llen(key!);
    expect(entries).toBeGreaterThanOrEqual(CONTRACT_LIMITS.historyMaxPublications);
    expect(entries).toBeLessThanOrEqual(CONTRACT_LIMITS.historyMaxPublications * 1.125 + 17);
  });
});
