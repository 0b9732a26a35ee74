import { jest } from '@jest/globals';
import {
  CONTRACT_LIMITS,
  describeBroadcastAdapter,
  publish,
  RecordingReceiver,
} from '../../../test/contract/broadcast-adapter.contract.js';
import { loadConfig } from '../../config/load-config.js';
import { Metrics } from '../../metrics/metrics.js';
import type { DeviceMemo } from '../broadcast-adapter.js';
import { MemoryBroadcastAdapter } from './memory-adapter.js';
import type { MemoryRoom } from './memory-room.js';

function create(limits: Partial<ReturnType<typeof loadConfig>['rooms']> = {}) {
  let now = Date.now();
  const metrics = new Metrics();
  const adapter = new MemoryBroadcastAdapter(
    { ...loadConfig({}).rooms, ...CONTRACT_LIMITS, ...limits },
    metrics,
    () => now,
  );
  const receiver = new RecordingReceiver();
  adapter.bind(receiver);
  return { adapter, metrics, receiver, advance: (ms: number) => (now += ms), stop: () => adapter.stop() };
}

const ONLINE = { isOnline: true, lastSeen: 1, serverTs: 1 };

describeBroadcastAdapter(MemoryBroadcastAdapter.name, () => Promise.resolve(create()));

describe(MemoryBroadcastAdapter.name, () => {
  // Defect: status and metadata of a device over the bound were dropped, and counted as accepted.
  it('refuses messages of new devices over the bound, and goes on with the known ones', async () => {
    const { adapter } = create({ maxDevices: 2 });
    await publish(adapter, 'd1', 1);
    await publish(adapter, 'd2', 1);
    expect(await publish(adapter, 'd3', 1)).toBe('refused');
    expect(await adapter.setStatus('d3', ONLINE, false)).toBe('refused');
    expect(await adapter.setMeta('d3', Buffer.from('{}'))).toBe('refused');
    expect(await adapter.setMeta('d3', null)).toBeUndefined();
    expect(await adapter.setStatus('d1', ONLINE, false)).toBeUndefined();
    expect(await adapter.setMeta('d1', Buffer.from('{}'))).toBeUndefined();
    expect(await publish(adapter, 'd1', 2)).toBe('accepted');
    expect(adapter.roomCount).toBe(2);
  });

  // All devices were gone through in one turn: at SIGHUP a fleet with a silence held up everybody.
  it('names all known devices in several turns of the event loop', async () => {
    const { adapter } = create({ maxDevices: 20_000 });
    for (let device = 0; device < 12_000; device += 1) {
      await adapter.setStatus(`d${device}`, ONLINE, false);
    }
    let named = 0;
    const done = adapter.eachDevice(() => (named += 1));
    expect(named).toBeLessThan(6_000);
    await done;
    expect(named).toBe(12_000);
  });

  it('bounds history over all devices and counts what it drops', async () => {
    const { adapter, metrics } = create({ historyTotalMaxBytes: 64 * 1024, historyMaxBytes: 1024 * 1024 });
    for (let n = 0; n < 100; n += 1) {
      for (let device = 0; device < 20; device += 1) {
        await publish(adapter, `d${device}`, 'x'.repeat(200));
      }
    }
    const [bytes] = (await metrics.historyBytes.get()).values;
    expect(bytes?.value).toBeLessThanOrEqual(64 * 1024 + 20 * 1024);
    expect((await metrics.historyEvicted.get()).values[0]?.value).toBeGreaterThan(0);
    expect((await adapter.attach(['d3']))[0]?.telemetry?.offset).toBe(100);
  });

  // The newest publication is kept whatever its age, and with it were all versions of metadata since: a device that changed its metadata and
  // published nothing took all memory. Now the newest is kept, and that of the newest publication.
  it('keeps of metadata the newest and that of the newest publication, and counts both as history', async () => {
    const { adapter, metrics } = create();
    await adapter.setMeta('d1', Buffer.from('"first"'));
    await publish(adapter, 'd1', 1);
    const held = async () => (await metrics.historyBytes.get()).values[0]?.value as number;
    const before = await held();
    for (let n = 0; n < 500; n += 1) {
      await adapter.setMeta('d1', Buffer.from(JSON.stringify(`${n}`.padStart(10_000))));
    }
    expect(await held()).toBe(before + 10_002);
    const [state] = await adapter.attach(['d1']);
    expect(state?.telemetry?.meta?.toString()).toBe('"first"');
    expect(state?.meta?.toString()).toMatch(/499"$/);
  });

  it('keeps 16 versions of metadata with history, and lets publications of older ones go', async () => {
    const { adapter } = create();
    for (let n = 1; n <= 40; n += 1) {
      await adapter.setMeta('d1', Buffer.from(`${n}`));
      await publish(adapter, 'd1', n);
    }
    const epoch = (await adapter.attach(['d1']))[0]?.epoch as string;
    expect(await adapter.history('d1', { epoch, offset: 0 }, 100)).toBeNull();
    const page = await adapter.history('d1', { epoch, offset: 24 }, 100);
    expect(page?.publications.map(({ meta }) => Number(meta?.toString()))).toEqual(
      Array.from({ length: 16 }, (_, n) => 25 + n),
    );
  });

  it('forgets a room of which nothing is known with its last member', async () => {
    const { adapter } = create();
    await adapter.attach(['ghost']);
    expect(adapter.roomCount).toBe(1);
    adapter.detach('ghost');
    expect(adapter.roomCount).toBe(0);
  });

  // Rooms that only watchers had made counted as devices: 10 000 invented ids and MAX_DEVICES was used up. Devices are counted when
  // something becomes known of them, and what is only watched has a bound of its own.
  describe('rooms of which nothing is known', () => {
    const known = async (metrics: Metrics): Promise<number | undefined> =>
      (await metrics.devicesKnown.get()).values[0]?.value;
    const ids = (prefix: string, count: number): string[] =>
      Array.from({ length: count }, (_, n) => `${prefix}${n}`);

    it('take no place from devices', async () => {
      const { adapter, metrics } = create({ maxDevices: 2 });
      await adapter.attach(ids('ghost', 2));
      expect(await known(metrics)).toBe(0);
      expect(await publish(adapter, 'd1', 1)).toBe('accepted');
      await adapter.setStatus('d2', ONLINE, false);
      expect((await adapter.attach(['d2']))[0]?.status).toEqual(ONLINE);
      expect(await known(metrics)).toBe(2);
    });

    it('stay unknown over the bound, whatever their devices send', async () => {
      const { adapter, receiver, metrics } = create({ maxDevices: 1 });
      await adapter.attach(['ghost']);
      await publish(adapter, 'd1', 1);
      expect(await publish(adapter, 'ghost', 1)).toBe('refused');
      await adapter.setStatus('ghost', ONLINE, false);
      await adapter.setMeta('ghost', Buffer.from('{}'));
      adapter.fillTelemetry('ghost', Buffer.from('{}'), 1);
      expect((await adapter.attach(['ghost']))[0]).toMatchObject({
        telemetry: null,
        status: null,
        meta: null,
      });
      expect([receiver.statuses, receiver.metas, receiver.resets]).toEqual([[], [], []]);
      expect(await known(metrics)).toBe(1);
    });

    it('are refused when there are as many of them as there may be devices; known ones are watched on', async () => {
      const { adapter } = create({ maxDevices: 3 });
      await publish(adapter, 'd1', 1);
      await adapter.attach(ids('ghost', 3));
      await expect(adapter.attach(['d1', 'one-more'])).rejects.toMatchObject({ code: 'too_many_rooms' });
      expect(adapter.roomCount).toBe(4);
      expect(await adapter.attach(['d1', 'ghost0'])).toHaveLength(2);
      adapter.detach('ghost1');
      await expect(adapter.attach(['one-more'])).resolves.toHaveLength(1);
    });

    it('are not made by metadata that is forgotten, and end with it where nobody watches', async () => {
      const { adapter, metrics } = create({ maxDevices: 1 });
      await adapter.setMeta('ghost', null);
      expect(adapter.roomCount).toBe(0);
      await adapter.setMeta('d1', Buffer.from('{}'));
      expect(await known(metrics)).toBe(1);
      await adapter.setMeta('d1', null);
      expect([adapter.roomCount, await known(metrics)]).toEqual([0, 0]);
      expect(await publish(adapter, 'd2', 1)).toBe('accepted');
    });

    it('become known once, and leave the count when their device is forgotten', async () => {
      jest.useFakeTimers({ doNotFake: ['queueMicrotask', 'performance', 'nextTick'] });
      try {
        const { adapter, metrics, advance } = create({ maxDevices: 1, deviceExpiryS: 60 });
        await adapter.start();
        await adapter.attach(['d1']);
        await adapter.setMeta('d1', Buffer.from('{}'));
        await publish(adapter, 'd1', 1);
        await adapter.setMeta('d1', null);
        expect(await known(metrics)).toBe(1);
        adapter.detach('d1');
        advance(120_000);
        jest.advanceTimersByTime(10_000);
        expect([adapter.roomCount, await known(metrics)]).toEqual([0, 0]);
        await adapter.stop();
      } finally {
        jest.useRealTimers();
      }
    });
  });

  describe('the memo of a topic', () => {
    const memoOf = (): DeviceMemo => ({ found: null });

    it('leads its messages to the room without a lookup; messages without one are looked up', async () => {
      const { adapter } = create();
      const memo = memoOf();
      await publish(adapter, 'd1', 1, { memo });
      const { home } = memo.found as MemoryRoom;
      expect(home.get('d1')).toBe(memo.found);
      const lookup = jest.spyOn(home, 'get');
      await publish(adapter, 'd1', 2, { memo });
      expect(lookup).not.toHaveBeenCalled();
      await publish(adapter, 'd1', 3);
      expect(lookup).toHaveBeenCalledTimes(1);
      expect((await adapter.attach(['d1']))[0]?.offset).toBe(3);
    });

    it('holds no room that was forgotten: the next message makes a new one', async () => {
      jest.useFakeTimers({ doNotFake: ['queueMicrotask', 'performance', 'nextTick'] });
      try {
        const { adapter, advance } = create({ deviceExpiryS: 60 });
        await adapter.start();
        const memo = memoOf();
        await publish(adapter, 'd1', 1, { memo });
        advance(120_000);
        jest.advanceTimersByTime(10_000);
        expect(adapter.roomCount).toBe(0);
        expect(memo.found).toBeNull();
        await publish(adapter, 'd1', 2, { memo });
        expect((await adapter.attach(['d1']))[0]?.offset).toBe(1);
        await adapter.stop();
        expect(memo.found).toBeNull();
      } finally {
        jest.useRealTimers();
      }
    });

    it('holds a room for one topic at a time', async () => {
      const { adapter } = create();
      const [old, current] = [memoOf(), memoOf()];
      await publish(adapter, 'd1', 1, { memo: old });
      await publish(adapter, 'd1', 2, { memo: current });
      expect(old.found).toBeNull();
      expect((current.found as MemoryRoom).log.newest).toBe(2);
    });

    it('does not lead into the rooms of another adapter', async () => {
      const [one, other] = [create(), create()];
      const memo = memoOf();
      await publish(one.adapter, 'd1', 1, { memo });
      await publish(other.adapter, 'd1', 1, { memo });
      await publish(one.adapter, 'd1', 2, { memo });
      expect((await one.adapter.attach(['d1']))[0]?.offset).toBe(2);
      expect((await other.adapter.attach(['d1']))[0]?.offset).toBe(1);
    });
  });
});
