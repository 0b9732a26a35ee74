import type { IngestOutcome, Publication } from '../../src/rooms/broadcast-adapter.js';
import { publish } from '../contract/broadcast-adapter.contract.js';
import { stopAfterEach } from '../support/cleanup.js';
import { startRedis } from '../support/redis.js';
import { createInstance, eventually, startInstance, type Instance } from './redis-fixture.js';

/** What Redis answered it has written; what a process wrote outlives its being killed, without a disk to wait for. */
const KEPT_OVER_A_KILL = ['--appendonly', 'yes', '--appendfsync', 'no'];

/** Publishes and never waits: the outcome comes, or the store is lost and it never does. */
function publishInto(outcomes: IngestOutcome[], { adapter }: Instance, device: string, payload: unknown) {
  void publish(adapter, device, payload).then((outcome) => outcomes.push(outcome));
}

describe('Redis away', () => {
  const own = stopAfterEach();

  it('serves rooms from the instance within 2 s when Redis freezes, and ignores what it executes when it thaws', async () => {
    const redis = own(await startRedis());
    const a = own(await startInstance(redis.url, { returnsWhenAsked: true }));
    const b = own(await startInstance(redis.url, { returnsWhenAsked: true }));
    await Promise.all([a, b].map(({ adapter }) => adapter.attach(['d1'])));
    await publish(a.adapter, 'd1', 'before');
    await Promise.all([a, b].map(({ receiver }) => receiver.until(() => receiver.publications.length === 1)));
    const before = b.receiver.publications[0]!;

    redis.freeze();
    const frozen = Date.now();
    const outcomes: IngestOutcome[] = [];
    publishInto(outcomes, a, 'd1', 'buffered');
    await eventually(() => a.adapter.mode === 'local' && b.adapter.mode === 'local', 'local mode');
    expect(Date.now() - frozen).toBeLessThan(2_000);
    expect(a.modes).toEqual(['local']);
    await a.receiver.until(() => a.receiver.resets.length === 1);
    // Members go on from what was known, under another epoch.
    expect(a.receiver.resets[0]).toMatchObject({ deviceId: 'd1', offset: 0, telemetry: { offset: 0 } });
    expect(a.receiver.resets[0]?.telemetry?.payload.toString()).toBe('"before"');
    expect(a.receiver.resets[0]?.epoch).not.toBe(before.epoch);
    expect(a.receiver.resets[0]?.epoch).not.toBe(b.receiver.resets[0]?.epoch);

    // Live data goes on, here only.
    expect(await publish(a.adapter, 'd1', 'live')).toBe('accepted');
    expect(a.receiver.publications.at(-1)).toMatchObject({ offset: 1, epoch: a.receiver.resets[0]?.epoch });
    expect(b.receiver.payloads('d1')).toEqual(['"before"']);
    expect(a.adapter.healthy).toBe(false);

    redis.thaw();
    await eventually(() => a.adapter.storeReachable && b.adapter.storeReachable, 'reachable');
    expect(outcomes).toEqual([]);
    expect(a.receiver.payloads('d1')).toEqual(['"before"', '"live"']);
    await Promise.all([a.adapter.resumeStore(), b.adapter.resumeStore()]);
    expect(b.receiver.payloads('d1')).toEqual(['"before"']);
    expect(a.receiver.resets.at(-1)?.epoch).toBe(before.epoch);
    expect(b.receiver.resets.at(-1)?.epoch).toBe(before.epoch);
    await publish(a.adapter, 'd1', 'after');
    await b.receiver.until(() => b.receiver.payloads('d1').includes('"after"'));
    expect(outcomes).toEqual([]);
    expect(a.modes).toEqual(['local', 'store']);
  }, 30_000);

  it('begins new epochs when Redis comes back empty', async () => {
    const redis = own(await startRedis());
    const a = own(await startInstance(redis.url));
    const b = own(await startInstance(redis.url));
    await Promise.all([a, b].map(({ adapter }) => adapter.attach(['d1', 'd2'])));
    await publish(a.adapter, 'd1', 1);
    await a.adapter.setStatus('d2', { isOnline: true, lastSeen: 1, serverTs: 1 }, false);
    await b.receiver.until(() => b.receiver.publications.length === 1 && b.receiver.statuses.length === 1);
    const { epoch } = b.receiver.publications[0]!;
    await redis.kill();
    await eventually(() => b.adapter.mode === 'local', 'local mode');
    expect((await b.adapter.attach(['d2']))[0]?.status?.isOnline).toBe(true);
    expect((await b.adapter.attach(['d3']))[0]).toMatchObject({ offset: 0, telemetry: null });
    await redis.start();
    await eventually(() => a.adapter.healthy && b.adapter.healthy, 'back in the store');
    const resets = b.receiver.resets.filter(({ deviceId }) => deviceId === 'd1');
    expect(resets).toHaveLength(2);
    expect(resets[1]?.epoch).not.toBe(epoch);
    await publish(a.adapter, 'd1', 2);
    await b.receiver.until(() => b.receiver.publications.length === 2);
    expect(b.receiver.publications[1]).toMatchObject({ offset: 1, epoch: resets[1]?.epoch });
    expect(await b.adapter.history('d1', { epoch, offset: 1 }, 10)).toBeNull();
  }, 30_000);

  it('begins new epochs when Redis comes back with its data, which may lack what was delivered', async () => {
    const redis = own(await startRedis({ args: KEPT_OVER_A_KILL }));
    const a = own(await startInstance(redis.url));
    const [before] = await a.adapter.attach(['d1']);
    await a.adapter.setMeta('d1', Buffer.from('{"m":1}'));
    await publish(a.adapter, 'd1', 'kept', { packetId: 9 });
    // Redis answers the publisher before it writes to the subscriber: killed in between, it never tells.
    await a.receiver.until(() => a.receiver.publications.length === 1);
    await redis.kill();
    await eventually(() => a.adapter.mode === 'local', 'local mode');
    await redis.start();
    await eventually(() => a.adapter.healthy, 'back in the store');
    const state = a.receiver.resets.at(-1)!;
    expect(state.epoch).not.toBe(before?.epoch);
    expect(state).toMatchObject({ offset: 0, telemetry: { offset: 0 } });
    expect(state.telemetry?.payload.toString()).toBe('"kept"');
    expect(state.meta?.toString()).toBe('{"m":1}');
    // What the broker delivers again is known although the numbering began anew.
    expect(await publish(a.adapter, 'd1', 'kept', { packetId: 9, dup: true })).toBe('duplicate');
    expect(await publish(a.adapter, 'd1', 'new')).toBe('accepted');
    await a.receiver.until(() => a.receiver.publications.length === 2);
    expect(a.receiver.publications.at(-1)).toMatchObject({ offset: 1, epoch: state.epoch });
  }, 30_000);

  it('survives a restart shorter than the timeout: what was under way is stored once', async () => {
    const redis = own(await startRedis({ args: KEPT_OVER_A_KILL }));
    const rooms = { historyMaxPublications: 10_000, historyMaxBytes: 1_000_000 };
    const a = own(await startInstance(redis.url, { redis: { timeoutMs: 10_000 }, rooms }));
    await a.adapter.attach(['d1']);
    const outcomes: IngestOutcome[] = [];
    await publish(a.adapter, 'd1', -1);
    let sent = 0;
    const sending = setInterval(() => publishInto(outcomes, a, 'd1', (sent += 1)), 1);
    await a.receiver.until(() => a.receiver.publications.length > 50);
    await redis.kill();
    await redis.start();
    await eventually(
      () => a.receiver.publications.at(-1)?.epoch !== a.receiver.publications[0]?.epoch,
      'new epoch',
    );
    clearInterval(sending);
    await eventually(() => outcomes.length === sent, 'all stored');
    expect(a.modes).toEqual([]);
    await publish(a.adapter, 'd1', 'end');
    await a.receiver.until(() => a.receiver.payloads('d1').at(-1) === '"end"');
    const { epoch } = a.receiver.publications.at(-1)!;
    const numbers = (of: Publication[]): number[] => of.map(({ payload }) => Number(payload.toString()));
    const earlier = numbers(a.receiver.publications.filter((publication) => publication.epoch !== epoch));
    const later = numbers(a.receiver.publications.filter((publication) => publication.epoch === epoch));
    // What Redis had stored and not yet shown when it was killed is in the state that begins the new epoch.
    const state = a.receiver.resets.find((reset) => reset.epoch === epoch)!;
    const kept = Number(state.telemetry?.payload.toString());
    expect(earlier.slice(1)).toEqual(Array.from({ length: earlier.length - 1 }, (_, n) => n + 1));
    expect(kept).toBeGreaterThanOrEqual(earlier.at(-1)!);
    expect(later.slice(0, -1)).toEqual(Array.from({ length: sent - kept }, (_, n) => kept + n + 1));
  }, 30_000);

  it('keeps showing the newest value when Redis comes back with older data', async () => {
    const redis = own(await startRedis());
    const a = own(await startInstance(redis.url, { redis: { timeoutMs: 10_000 } }));
    await a.adapter.attach(['d1']);
    await publish(a.adapter, 'd1', 'saved');
    await redis.command('SAVE');
    await publish(a.adapter, 'd1', 'delivered, then forgotten');
    await a.receiver.until(() => a.receiver.publications.length === 2);
    await redis.kill();
    await redis.start();
    await a.receiver.until(() => a.receiver.resets.length === 1);
    const [reset] = a.receiver.resets;
    expect(reset).toMatchObject({ offset: 0, telemetry: { offset: 0, epoch: reset!.epoch } });
    expect(reset!.telemetry?.payload.toString()).toBe('"delivered, then forgotten"');
    expect(reset!.epoch).not.toBe(a.receiver.publications[0]!.epoch);
    expect(a.modes).toEqual([]);
  }, 30_000);

  it('goes local when Redis is full, and returns when it takes writes again', async () => {
    const redis = own(await startRedis());
    const a = own(await startInstance(redis.url));
    await a.adapter.attach(['d1']);
    await redis.command('CONFIG', 'SET', 'maxmemory', '1');
    await eventually(() => a.adapter.mode === 'local', 'local mode');
    expect(a.log.join()).toContain('OOM');
    expect(await publish(a.adapter, 'd1', 1)).toBe('accepted');
    await redis.command('CONFIG', 'SET', 'maxmemory', '0');
    await eventually(() => a.adapter.healthy, 'back in the store');
  }, 30_000);

  it('starts without Redis, serves, and takes it when it comes', async () => {
    const redis = own(await startRedis());
    await redis.kill();
    const a = own(createInstance(redis.url));
    const start = Date.now();
    await a.adapter.start();
    expect(Date.now() - start).toBeLessThan(2_500);
    expect(a.adapter).toMatchObject({ mode: 'local', healthy: false, storeReachable: false });
    await a.adapter.attach(['d1']);
    await publish(a.adapter, 'd1', 1);
    expect(a.receiver.payloads('d1')).toEqual(['1']);
    await redis.start();
    await eventually(() => a.adapter.healthy, 'in the store');
    expect(a.adapter.storeReachable).toBe(true);
  }, 30_000);

  /**
   * A room that was attached while a return was under way, and answered from this process when Redis was lost again, was not told of the next
   * return: its members went on under the local epoch, and publications of the store were taken for old ones.
   */
  it('tells of the return also a room that was attached during one that failed', async () => {
    const redis = own(await startRedis());
    const a = own(await startInstance(redis.url, { returnsWhenAsked: true }));
    redis.freeze();
    await eventually(() => a.adapter.mode === 'local', 'local mode');
    redis.thaw();
    await eventually(() => a.adapter.storeReachable, 'reachable');

    await a.adapter.attach(['d1']);
    redis.freeze();
    const failed = expect(a.adapter.resumeStore()).rejects.toThrow();
    const [local] = await a.adapter.attach(['d2']);
    await failed;
    await publish(a.adapter, 'd2', 'local');
    redis.thaw();
    // As ingest does it: a call of before the thaw may still fail, and with it the first attempt.
    const returned = (): Promise<boolean> =>
      a.adapter.resumeStore().then(
        () => true,
        () => false,
      );
    await eventually(async () => a.adapter.storeReachable && (await returned()), 'in the store again');
    const reset = a.receiver.resets.filter(({ deviceId }) => deviceId === 'd2').at(-1);
    expect(reset?.epoch).toBeDefined();
    expect(reset?.epoch).not.toBe(local?.epoch);
    await publish(a.adapter, 'd2', 'stored');
    await a.receiver.until(() => a.receiver.payloads('d2').includes('"stored"'));
    expect(a.receiver.publications.at(-1)).toMatchObject({ epoch: reset?.epoch, offset: 1 });
  });

  it('stores what a session brings before the return without showing it as live', async () => {
    const redis = own(await startRedis());
    const a = own(await startInstance(redis.url, { returnsWhenAsked: true }));
    await a.adapter.attach(['d1']);
    await redis.kill();
    await eventually(() => a.adapter.mode === 'local', 'local mode');
    await publish(a.adapter, 'd1', 'seen live');
    await redis.start();
    await eventually(() => a.adapter.storeReachable, 'reachable');
    const stored = new Promise((settle) =>
      a.adapter.storeWriter.publish({
        deviceId: 'd1',
        payload: Buffer.from('"seen live"'),
        receivedAt: Date.now(),
        receivedMono: performance.now(),
        packetId: 1,
        dup: false,
        settle,
      }),
    );
    expect(await stored).toBe('accepted');
    expect(a.receiver.payloads('d1')).toEqual(['"seen live"']);
    await a.adapter.resumeStore();
    expect(a.receiver.resets.at(-1)).toMatchObject({ offset: 1 });
    expect(a.receiver.payloads('d1')).toEqual(['"seen live"']);
    // A local session that is not closed yet changes nothing any more.
    expect(
      await new Promise((settle) =>
        a.adapter.publishLocal({
          deviceId: 'd1',
          payload: Buffer.from('"late"'),
          receivedAt: 1,
          receivedMono: 1,
          packetId: 0,
          dup: false,
          settle,
        }),
      ),
    ).toBe('accepted');
    expect(a.receiver.payloads('d1')).toEqual(['"seen live"']);
  }, 30_000);
});
