import { Redis } from 'ioredis';
import type { Config } from '../../src/config/config.js';
import { publish } from '../contract/broadcast-adapter.contract.js';
import { stopAfterEach } from '../support/cleanup.js';
import { startRedis, type RedisServer } from '../support/redis.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { eventually, PATIENT, startInstance, type Instance } from './redis-fixture.js';

/** Ends when every publication up to the count has come once, in order. */
async function sawAll({ receiver }: Instance, device: string, count: number): Promise<void> {
  await receiver.until(() => receiver.payloads(device).length >= count);
  expect(receiver.payloads(device)).toEqual(Array.from({ length: count }, (_, n) => String(n + 1)));
  expect(receiver.resets).toEqual([]);
}

async function publishNumbers({ adapter }: Instance, device: string, from: number, to: number) {
  const numbers = Array.from({ length: to - from + 1 }, (_, n) => from + n);
  await Promise.all(numbers.map((n) => publish(adapter, device, n)));
}

describe('connections to Redis', () => {
  const own = stopAfterEach();
  let redis: RedisServer;
  let writer: Instance;

  beforeEach(async () => {
    redis = own(await startRedis());
    writer = own(await startInstance(redis.url));
  });

  it('goes on in order after SCRIPT FLUSH under load', async () => {
    const reader = own(await startInstance(redis.url));
    await reader.adapter.attach(['d1']);
    for (let round = 0; round < 20; round += 1) {
      const stored = publishNumbers(writer, 'd1', round * 30 + 1, round * 30 + 30);
      await Promise.all([stored, redis.command('SCRIPT', 'FLUSH')]);
    }
    await sawAll(reader, 'd1', 600);
  });

  it('finds one listener on the stream of ioredis, in whose place it reads channel messages', async () => {
    const connection = new Redis(redis.url, { lazyConnect: true });
    own({ stop: () => connection.disconnect() });
    await connection.connect();
    expect(connection.stream.listenerCount('data')).toBe(1);
  });

  /** A reader whose subscriber connection alone goes through a proxy that can fail. */
  async function readerThroughProxy(
    settings: Partial<Config['redis']> = {},
  ): Promise<{ reader: Instance; subscriberProxy: TcpProxy }> {
    const subscriberProxy = own(await startTcpProxy(redis.port));
    const reader = own(
      await startInstance(redis.url, {
        rooms: { historyMaxPublications: 1_000 },
        redis: settings,
        subscriberUrl: `redis://127.0.0.1:${subscriberProxy.port}`,
      }),
    );
    return { reader, subscriberProxy };
  }

  it('notices a half-open subscriber within 10 s, replaces it and resumes the gap', async () => {
    const { reader, subscriberProxy } = await readerThroughProxy();
    await reader.adapter.attach(['d1']);
    await publishNumbers(writer, 'd1', 1, 10);
    await sawAll(reader, 'd1', 10);
    const stalled = Date.now();
    subscriberProxy.stall();
    await publishNumbers(writer, 'd1', 11, 60);
    await eventually(
      () => reader.log.some((line) => line.includes('probe did not arrive')),
      'noticed',
      10_000,
    );
    expect(Date.now() - stalled).toBeLessThan(10_000);
    subscriberProxy.cut();
    subscriberProxy.heal();
    await publishNumbers(writer, 'd1', 61, 70);
    await sawAll(reader, 'd1', 70);
    expect(reader.modes).toEqual([]);
  });

  it('resumes the gap after a cut, and learns of status and metadata it missed', async () => {
    const { reader, subscriberProxy } = await readerThroughProxy(PATIENT);
    await reader.adapter.attach(['d1', 'd2']);
    await publishNumbers(writer, 'd1', 1, 5);
    await sawAll(reader, 'd1', 5);
    subscriberProxy.refuse();
    await publishNumbers(writer, 'd1', 6, 50);
    await writer.adapter.setStatus('d2', { isOnline: true, lastSeen: 1, serverTs: 1 }, false);
    await writer.adapter.setMeta('d2', Buffer.from('{"a":1}'));
    subscriberProxy.heal();
    await sawAll(reader, 'd1', 50);
    await reader.receiver.until(() => reader.receiver.metas.length === 1);
    await reader.receiver.until(() => reader.receiver.statuses.length === 1);
  });

  it('sends what was under way when the command connection broke once more, and it is stored once', async () => {
    const proxy = own(await startTcpProxy(redis.port));
    const broken = own(await startInstance(`redis://127.0.0.1:${proxy.port}`, { redis: PATIENT }));
    const reader = own(await startInstance(redis.url, { rooms: { historyMaxPublications: 1_000 } }));
    await reader.adapter.attach(['d1']);
    let sent = 0;
    const stored: Promise<unknown>[] = [];
    for (let round = 0; round < 5; round += 1) {
      for (let turn = 0; turn < 20; turn += 1) {
        for (let n = 0; n < 5; n += 1) {
          stored.push(publish(broken.adapter, 'd1', (sent += 1), { packetId: 0 }));
        }
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      proxy.cut();
      await eventually(() => broken.adapter.storeReachable, 'connected again');
    }
    await Promise.all(stored);
    await sawAll(reader, 'd1', sent);
  });

  it('resumes after Redis cut a subscriber that fell behind', async () => {
    await redis.command('CONFIG', 'SET', 'client-output-buffer-limit', 'pubsub 65536 0 0');
    const { reader, subscriberProxy } = await readerThroughProxy();
    await reader.adapter.attach(['d1']);
    subscriberProxy.stall();
    // What the kernel and the proxy hold has to be full first.
    const filler = 'x'.repeat(20_000);
    await eventually(
      async () => {
        await Promise.all(Array.from({ length: 20 }, () => publish(writer.adapter, 'd1', filler)));
        return (await redis.command('CLIENT', 'LIST', 'TYPE', 'pubsub')).split('\n').length < 2;
      },
      'Redis cut the subscriber',
      10_000,
    );
    subscriberProxy.cut();
    subscriberProxy.heal();
    const { offset } = (await writer.adapter.attach(['d1']))[0]!;
    await eventually(
      () =>
        reader.receiver.resets.at(-1)?.offset === offset ||
        reader.receiver.publications.at(-1)?.offset === offset,
      'caught up by history or a snapshot',
    );
  });

  it('tells ingest to wait when as much as allowed is under way, and to go on', async () => {
    const slow = own(
      await startInstance(redis.url, { redis: { maxPendingPublications: 100, timeoutMs: 5_000 } }),
    );
    const told: boolean[] = [];
    slow.adapter.onCongestion((congested) => told.push(congested));
    redis.freeze();
    const outcomes = Array.from({ length: 100 }, (_, n) => publish(slow.adapter, 'd1', n));
    expect(slow.adapter.congested).toBe(true);
    expect(await publish(slow.adapter, 'd1', 'over', { packetId: 0 })).toBe('refused');
    redis.thaw();
    expect(new Set(await Promise.all(outcomes))).toEqual(new Set(['accepted']));
    expect(told).toEqual([true, false]);
  });
});
