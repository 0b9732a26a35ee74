import { Redis } from 'ioredis';
import type { KeyedRecord, OwnRecord } from '../../src/gateway/commands/command-keys.js';
import { MAX_DUE, RedisCommandKeys } from '../../src/redis/command-keys.js';
import { stopAfterEach } from '../support/cleanup.js';
import { type RedisServer, startRedis } from '../support/redis.js';
import { eventually, startInstance } from './redis-fixture.js';

const UNAVAILABLE = { code: 'keys_unavailable' };

describe(RedisCommandKeys.name, () => {
  const own = stopAfterEach();
  let redis: RedisServer;
  let client: Redis;

  beforeEach(async () => {
    redis = own(await startRedis());
    client = new Redis(redis.port, { retryStrategy: () => null, disconnectTimeout: 0 });
    client.on('error', () => undefined);
    own({ stop: () => client.disconnect() });
  });

  interface Instance {
    keys: RedisCommandKeys;
    owns: Map<string, OwnRecord>;
    /** Claims, and owns what it got. */
    claims(id: string, fields?: Partial<OwnRecord>): Promise<KeyedRecord | null>;
  }

  let claims = 0;
  /** No server is young, but where the test is about that. */
  async function startKeys({ youngMs = 0, timeoutMs = 10_000 } = {}): Promise<Instance> {
    const { adapter } = own(await startInstance(redis.url));
    const keys = new RedisCommandKeys(adapter.places, timeoutMs, { youngMs, changedMs: 1_500 });
    own({ stop: () => keys.onModuleDestroy() });
    const owns = new Map<string, OwnRecord>();
    keys.start(() => owns.values());
    return {
      keys,
      owns,
      async claims(id, fields = {}) {
        const record: OwnRecord = {
          id,
          digest: 'd',
          correlation: `c${(claims += 1)}`,
          state: 'claimed',
          lifeMs: 60_000,
          ...fields,
        };
        const known = await keys.claim(record);
        if (known === null) {
          owns.set(id, record);
        }
        return known;
      },
    };
  }
  const stored = async (): Promise<number> => (await client.keys('*command:*')).length;

  it('lets exactly one of many claims through, whatever instance asks, and shows the others who was first', async () => {
    const instances = [await startKeys(), await startKeys(), await startKeys()];
    const ids = Array.from({ length: 40 }, (_, n) => `id-${n}`);
    const answers = await Promise.all(
      ids.flatMap((id) => [...instances, ...instances].map((instance) => instance.claims(id))),
    );
    expect(answers.filter((answer) => answer === null)).toHaveLength(ids.length);
    for (const id of ids) {
      const first = instances.flatMap(({ owns }) => owns.get(id) ?? []);
      expect(first).toHaveLength(1);
      expect(await instances[0]!.keys.read(id)).toEqual({
        correlation: first[0]!.correlation,
        digest: 'd',
        state: 'claimed',
      });
    }
  });

  it('keeps the first reply, byte for byte, and what else is known, until the end of its life', async () => {
    const [a, b] = [await startKeys(), await startKeys()];
    await a.claims('id');
    const record = a.owns.get('id')!;
    await a.keys.put({ ...record, state: 'sent', delivered: false });
    const reply = Buffer.from('{"ü":"\u0000"}');
    expect(await b.keys.put({ ...record, state: 'sent', reply })).toMatchObject({ reply });
    const last = await a.keys.put({
      ...record,
      state: 'sent',
      delivered: true,
      reply: Buffer.from('2'),
      lifeMs: 50,
    });
    expect(last).toEqual({
      correlation: record.correlation,
      digest: 'd',
      state: 'sent',
      delivered: true,
      reply,
    });
    await eventually(async () => (await stored()) === 0, 'the end of its life');
    expect(await b.claims('id')).toBeNull();
  });

  it('says of a reply that is not kept that there was one', async () => {
    const { claims: claim, keys, owns } = await startKeys();
    await claim('id');
    await keys.put({ ...owns.get('id')!, state: 'sent', reply: null });
    expect(await keys.read('id')).toMatchObject({ reply: null });
  });

  it('lets only the claim itself be put and freed', async () => {
    const [a, b] = [await startKeys(), await startKeys()];
    await a.claims('id');
    const record = a.owns.get('id')!;
    await b.keys.put({ ...record, correlation: 'forged', state: 'failed' });
    b.keys.free('id', 'forged');
    expect(await b.keys.read('id')).toMatchObject({ state: 'claimed' });
    a.keys.free('id', record.correlation);
    await eventually(async () => (await a.keys.read('id')) === undefined, 'freed');
  });

  it('takes what no instance writes for a command of which nobody knows what became', async () => {
    const { claims: claim, keys } = await startKeys();
    await claim('id');
    const [key] = await client.keys('*command:*');
    await client.hset(key!, { correlation: 'x', state: 'done', delivered: 'maybe', reply: 'text' });
    expect(await keys.read('id')).toEqual({ correlation: 'x', digest: 'd', state: 'claimed' });
  });

  it('throws while Redis is away, or does not answer, and lets go what it may have claimed when Redis is back', async () => {
    const [a, b] = [await startKeys({ timeoutMs: 50 }), await startKeys()];
    await a.claims('before');
    redis.freeze();
    await expect(a.claims('id')).rejects.toMatchObject(UNAVAILABLE);
    await expect(a.keys.read('before')).rejects.toMatchObject(UNAVAILABLE);
    redis.thaw();
    await eventually(async () => (await b.keys.read('id')) === undefined, 'the claim is let go');
    await redis.kill();
    await eventually(
      () =>
        a.claims('id').then(
          () => false,
          (error: { code: string }) => error.code === UNAVAILABLE.code,
        ),
      'away',
    );
  });

  // A Redis without persistence that is started again, or a replica that was behind, has lost keys: the second instance would publish again.
  it('writes its records again where they were lost, before others may claim them', async () => {
    const [a, b] = [await startKeys(), await startKeys()];
    await a.claims('id');
    await a.keys.put({ ...a.owns.get('id')!, state: 'sent', delivered: true });
    a.owns.set('id', { ...a.owns.get('id')!, state: 'sent', delivered: true });
    await b.keys.read('id');
    await redis.kill();
    await redis.start();
    let answer: KeyedRecord | null | undefined;
    await eventually(
      () =>
        b.claims('id').then(
          (known) => {
            answer = known;
            return true;
          },
          () => false,
        ),
      'an answer',
    );
    expect(answer).toMatchObject({ state: 'sent', delivered: true });
  });

  it('claims nothing at a server that has just started: others may have lost records in the one before', async () => {
    const { claims: claim } = await startKeys({ youngMs: 3_000 });
    const before = performance.now();
    expect(await claim('id')).toBeNull();
    expect(Number(/uptime_in_seconds:(\d+)/.exec(await client.info('server'))?.[1])).toBeGreaterThanOrEqual(
      2,
    );
    expect(performance.now() - before).toBeLessThan(10_000);
  });

  it('keeps a bounded number of records that wait to be written', async () => {
    const keys = new RedisCommandKeys([{ prefix: 'x:', connection: () => null }], 10);
    own({ stop: () => keys.onModuleDestroy() });
    const { keys: places, postpone } = keys as unknown as {
      keys: [{ due: Map<string, unknown> }];
      postpone(place: object, what: 'put', record: Partial<OwnRecord>): void;
    };
    for (let n = 0; n < MAX_DUE + 10; n += 1) {
      postpone(places[0], 'put', { id: `id-${n}` });
    }
    expect(places[0].due.size).toBe(MAX_DUE);
  });
});
