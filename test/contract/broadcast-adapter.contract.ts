import type {
  BroadcastAdapter,
  BroadcastReceiver,
  DeviceMessage,
  DeviceStatus,
  LastHeard,
  IngestOutcome,
  MetaBytes,
  Publication,
  RoomOrigin,
  RoomState,
} from '../../src/rooms/broadcast-adapter.js';

/** How the suite gets the adapter under test, with the limits it counts on. */
export interface AdapterFixture {
  adapter: BroadcastAdapter;
  /** Moves the adapter's clock; history age is measured by it. Absent where the store's own clock rules. */
  advance?(ms: number): void;
  stop(): Promise<void>;
}

/** The limits under which the suite expects adapters to run. */
export const CONTRACT_LIMITS = {
  historyMaxPublications: 100,
  historyMaxAgeMs: 60_000,
  historyMaxBytes: 20_000,
};

/** Everything a receiver was told, in order, with a way to wait for the next of it. */
export class RecordingReceiver implements BroadcastReceiver {
  readonly publications: Publication[] = [];
  readonly statuses: { deviceId: string; status: DeviceStatus }[] = [];
  readonly metas: { deviceId: string; meta: string | null }[] = [];
  readonly resets: RoomState[] = [];
  readonly devices: string[] = [];
  /** Device, `traceparent`, and how many publications had come before. */
  readonly traced: [deviceId: string, traceparent: string, after: number][] = [];
  private waiters: { holds: () => boolean; resolve: () => void }[] = [];

  onPublication(publication: Publication, _receivedMono: number, origin: RoomOrigin): void {
    expect(origin.newest()).toEqual(publication);
    this.publications.push({ ...publication, payload: Buffer.from(publication.payload) });
    this.check();
  }

  onTraced(deviceId: string, traceparent: string): void {
    this.traced.push([deviceId, traceparent, this.publications.length]);
    this.check();
  }

  onStatus(deviceId: string, status: DeviceStatus): void {
    this.statuses.push({ deviceId, status });
    this.check();
  }

  onMeta(deviceId: string, meta: MetaBytes): void {
    this.metas.push({ deviceId, meta: meta === null ? null : meta.toString() });
    this.check();
  }

  onReset(state: RoomState): void {
    this.resets.push(state);
    this.check();
  }

  onDevice(deviceId: string): void {
    this.devices.push(deviceId);
    this.check();
  }

  /** @throws Error with what was told instead, when it does not hold within 20 s */
  until(holds: () => boolean): Promise<void> {
    if (holds()) {
      return Promise.resolve();
    }
    const missing = new Error('not told in time');
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const { publications, statuses, metas, resets, devices } = this;
        missing.message += `; told: ${JSON.stringify({ publications: publications.length, statuses, metas, resets: resets.length, devices })}`;
        reject(missing);
      }, 20_000);
      this.waiters.push({ holds, resolve: () => (clearTimeout(timer), resolve()) });
    });
  }

  payloads(deviceId: string): string[] {
    return this.publications.filter((p) => p.deviceId === deviceId).map((p) => p.payload.toString());
  }

  private check(): void {
    this.waiters = this.waiters.filter(({ holds, resolve }) => {
      if (holds()) {
        resolve();
        return false;
      }
      return true;
    });
  }
}

let packetIds = 0;

/** Publishes and resolves with the outcome. */
export function publish(
  adapter: BroadcastAdapter,
  deviceId: string,
  payload: unknown,
  more: Partial<DeviceMessage> = {},
): Promise<IngestOutcome> {
  packetIds = (packetIds % 65_535) + 1;
  const text = JSON.stringify(payload);
  return new Promise((resolve) =>
    adapter.publish({
      deviceId,
      payload: Buffer.from(text),
      receivedAt: Date.now(),
      receivedMono: performance.now(),
      packetId: packetIds,
      dup: false,
      settle: resolve,
      ...more,
    }),
  );
}

/** All ids that the adapter knows, each once. */
export async function allDeviceIds(adapter: BroadcastAdapter): Promise<string[]> {
  const ids = new Set<string>();
  for await (const batch of adapter.deviceIds()) {
    batch.forEach((deviceId) => ids.add(deviceId));
  }
  return [...ids].sort();
}

/** What every {@link BroadcastAdapter} must hold; run for memory and for Redis. */
export function describeBroadcastAdapter(name: string, create: () => Promise<AdapterFixture>): void {
  describe(`${name} as a BroadcastAdapter`, () => {
    let fixture: AdapterFixture;
    let adapter: BroadcastAdapter;
    let receiver: RecordingReceiver;

    beforeEach(async () => {
      fixture = await create();
      ({ adapter } = fixture);
      receiver = new RecordingReceiver();
      adapter.bind(receiver);
      await adapter.start();
    });

    afterEach(async () => {
      await fixture.stop();
    });

    const attach = async (deviceId: string): Promise<RoomState> =>
      (await adapter.attach([deviceId]))[0] as RoomState;

    it('gives a room without publications an epoch and offset 0', async () => {
      const state = await attach('d1');
      expect(state).toMatchObject({ deviceId: 'd1', offset: 0, telemetry: null, status: null, meta: null });
      expect(state.epoch).not.toBe('');
    });

    it('numbers publications of a device by exactly one and delivers them in order', async () => {
      const { epoch } = await attach('d1');
      const outcomes = await Promise.all(Array.from({ length: 50 }, (_, n) => publish(adapter, 'd1', { n })));
      expect(outcomes.every((outcome) => outcome === 'accepted')).toBe(true);
      await receiver.until(() => receiver.publications.length === 50);
      expect(receiver.publications.map((p) => p.offset)).toEqual(Array.from({ length: 50 }, (_, n) => n + 1));
      expect(receiver.payloads('d1')).toEqual(Array.from({ length: 50 }, (_, n) => JSON.stringify({ n })));
      expect(new Set(receiver.publications.map((p) => p.epoch))).toEqual(new Set([epoch]));
    });

    it('keeps rooms apart', async () => {
      await adapter.attach(['d1', 'd2']);
      await Promise.all([publish(adapter, 'd1', 1), publish(adapter, 'd2', 2), publish(adapter, 'd1', 3)]);
      await receiver.until(() => receiver.publications.length === 3);
      expect(receiver.payloads('d1')).toEqual(['1', '3']);
      expect(receiver.payloads('d2')).toEqual(['2']);
    });

    it('does not deliver to a room that is not attached, but stores for it', async () => {
      await attach('other');
      await publish(adapter, 'd1', 'unseen');
      await publish(adapter, 'other', 'seen');
      await receiver.until(() => receiver.publications.length === 1);
      expect(receiver.publications.map((p) => p.deviceId)).toEqual(['other']);
      const state = await attach('d1');
      expect(state.offset).toBe(1);
      expect(state.telemetry?.payload.toString()).toBe('"unseen"');
    });

    it('keeps the newest payload whole, whether longer, shorter or as long as the one before', async () => {
      const payloads = ['aaaa', 'bbbb', 'cccccccc', 'dddddddd', 'ee', 'ff', 'é', 'gggg', ''];
      for (const [index, payload] of payloads.entries()) {
        await publish(adapter, 'd1', payload);
        const state = await attach('d1');
        expect([state.offset, state.telemetry?.payload.toString()]).toEqual([
          index + 1,
          JSON.stringify(payload),
        ]);
        adapter.detach('d1');
      }
    });

    it('tells of every device when it was heard last', async () => {
      const heard: LastHeard[] = [];
      await adapter.attach(['watched']);
      await publish(adapter, 'd1', 1, { receivedAt: 5 });
      await publish(adapter, 'd1', 2, { receivedAt: 7 });
      await adapter.setStatus('d1', { isOnline: true, lastSeen: 1, serverTs: 2 }, false);
      await adapter.setStatus('d2', { isOnline: false, lastSeen: 3, serverTs: 4, reason: 'silence' }, false);
      await adapter.setMeta('d3', Buffer.from('{}'));
      await adapter.eachDevice((device) => heard.push(device));
      expect(heard.sort((a, b) => a.deviceId.localeCompare(b.deviceId))).toEqual([
        { deviceId: 'd1', telemetryAt: 7, status: { isOnline: true, lastSeen: 1, serverTs: 2 } },
        {
          deviceId: 'd2',
          telemetryAt: 0,
          status: { isOnline: false, lastSeen: 3, serverTs: 4, reason: 'silence' },
        },
        { deviceId: 'd3', telemetryAt: 0, status: null },
      ]);
    });

    it('tells offline by silence from offline as the device said, in messages and in state', async () => {
      await attach('d1');
      const silent = { isOnline: false, lastSeen: 1, serverTs: 2, reason: 'silence' as const };
      const said = { isOnline: false, lastSeen: 1, serverTs: 3 };
      const online = { isOnline: true, lastSeen: 4, serverTs: 4 };
      await adapter.setStatus('d1', silent, false);
      expect((await attach('d1')).status).toEqual(silent);
      await adapter.setStatus('d1', { ...silent, serverTs: 9 }, false); // an identical one
      await adapter.setStatus('d1', said, false);
      expect((await attach('d1')).status).toEqual(said);
      await adapter.setStatus('d1', online, false);
      await receiver.until(() => receiver.statuses.length === 3);
      expect(receiver.statuses.map(({ status }) => status)).toEqual([silent, said, online]);
    });

    describe('the base of a device', () => {
      it('is null while nothing is known, and the newest value from the call of publish on', async () => {
        expect(await adapter.base('d1')).toBeNull();
        await adapter.setStatus('d1', { isOnline: true, lastSeen: 1, serverTs: 1 }, false);
        expect(await adapter.base('d1')).toBeNull();
        const stored = [publish(adapter, 'd1', { a: 1 }), publish(adapter, 'd1', { a: 2 })];
        expect(await adapter.base('d1')).toEqual({
          shown: Buffer.from('{"a":2}'),
          untransformed: null,
          current: false,
        });
        await Promise.all(stored);
      });

      it('has what the newest value was before its transformation', async () => {
        const untransformed = Buffer.from('{"t":215}');
        await Promise.all([
          publish(adapter, 'd1', { temp: 21 }, { untransformed: Buffer.from('{"t":210}') }),
          publish(adapter, 'd1', { temp: 21.5 }, { untransformed }),
          publish(adapter, 'd2', 1, { untransformed: Buffer.from('{}') }),
        ]);
        expect(await adapter.base('d1')).toEqual({
          shown: Buffer.from('{"temp":21.5}'),
          untransformed,
          current: true,
        });
      });

      it('does not take an earlier state for that of a value published without', async () => {
        await publish(adapter, 'd1', { temp: 21.5 }, { untransformed: Buffer.from('{"t":215}') });
        await publish(adapter, 'd1', { temp: 21.5 });
        expect(await adapter.base('d1')).toMatchObject({ current: false });
      });

      it('is a retained value where nothing else is known', async () => {
        adapter.fillTelemetry('d1', Buffer.from('{"a":1}'), 1);
        expect(await adapter.base('d1')).toMatchObject({ shown: Buffer.from('{"a":1}'), current: false });
      });

      it('is answered for many devices at once, each with its own', async () => {
        const ids = Array.from({ length: 200 }, (_, number) => `d${number}`);
        await Promise.all(ids.map((id) => publish(adapter, id, { id })));
        const bases = await Promise.all(ids.map(async (id) => adapter.base(id)));
        expect(bases.map((base) => base?.shown.toString())).toEqual(ids.map((id) => JSON.stringify({ id })));
      });
    });

    it('delivers nothing more after detach, and everything again after another attach', async () => {
      await attach('d1');
      await publish(adapter, 'd1', 1);
      await receiver.until(() => receiver.publications.length === 1);
      adapter.detach('d1');
      await publish(adapter, 'd1', 2);
      const state = await attach('d1');
      expect(state.offset).toBe(2);
      await publish(adapter, 'd1', 3);
      await receiver.until(() => receiver.payloads('d1').includes('3'));
      expect(receiver.payloads('d1')).toEqual(['1', '3']);
    });

    it('leaves no gap between the state that attach returns and what is delivered after it', async () => {
      await attach('d1');
      for (let round = 0; round < 20; round += 1) {
        adapter.detach('d1');
        const before = receiver.publications.length;
        const stored = Array.from({ length: 20 }, (_, n) => publish(adapter, 'd1', { round, n }));
        const [state] = await Promise.all([attach('d1'), ...stored]);
        const total = (round + 1) * 20;
        await receiver.until(() => state.offset === total || receiver.publications.at(-1)?.offset === total);
        const missing = receiver.publications
          .slice(before)
          .map((p) => p.offset)
          .filter((offset) => offset > state.offset);
        expect(missing).toEqual(Array.from({ length: total - state.offset }, (_, n) => state.offset + n + 1));
      }
    });

    it('carries the payload byte for byte', async () => {
      await attach('d1');
      const payload = Buffer.from('{ "a" : 1.0,"b":"\\u00e9 é 😀",  "c":[1,2 ,3]}');
      await publish(adapter, 'd1', null, { payload });
      await receiver.until(() => receiver.publications.length === 1);
      expect(receiver.publications[0]?.payload.equals(payload)).toBe(true);
    });

    it('returns the missed publications directly after a position, in pages', async () => {
      const { epoch } = await attach('d1');
      await Promise.all(Array.from({ length: 10 }, (_, n) => publish(adapter, 'd1', n + 1)));
      const page = await adapter.history('d1', { epoch, offset: 4 }, 3);
      expect(page?.publications.map((p) => [p.offset, p.payload.toString()])).toEqual([
        [5, '5'],
        [6, '6'],
        [7, '7'],
      ]);
      expect(page?.newest).toBe(10);
      expect(await adapter.history('d1', { epoch, offset: 10 }, 3)).toEqual({ publications: [], newest: 10 });
    });

    it('refuses a history of another epoch, of a future offset, and one that is trimmed', async () => {
      const { epoch } = await attach('d1');
      for (let n = 0; n < 120; n += 1) {
        await publish(adapter, 'd1', n);
      }
      expect(await adapter.history('d1', { epoch: 'x', offset: 1 }, 10)).toBeNull();
      expect(await adapter.history('d1', { epoch, offset: 121 }, 10)).toBeNull();
      expect(await adapter.history('d1', { epoch, offset: 5 }, 10)).toBeNull();
      expect((await adapter.history('d1', { epoch, offset: 20 }, 200))?.publications).toHaveLength(100);
    });

    it('says where the last publications begin, within a count, an age, and what history has', async () => {
      const { epoch } = await attach('d1');
      const empty = await attach('d2');
      const rewind = (count?: number, ms?: number): Promise<(number | null)[]> =>
        adapter.rewind([{ deviceId: 'd1', epoch }], {
          ...(count !== undefined && { count }),
          ...(ms !== undefined && { ms }),
        });
      for (let n = 0; n < 120; n += 1) {
        await publish(adapter, 'd1', n);
      }
      expect(await rewind(30)).toEqual([90]);
      expect(await rewind(1_000)).toEqual([20]);
      expect(await rewind()).toEqual([20]);
      expect(await rewind(undefined, 50_000)).toEqual([20]);
      expect(await rewind(5, 50_000)).toEqual([115]);
      expect(
        await adapter.rewind(
          [
            { deviceId: 'd2', epoch: empty.epoch },
            { deviceId: 'd1', epoch },
          ],
          { count: 2 },
        ),
      ).toEqual([0, 118]);
      expect(await adapter.rewind([{ deviceId: 'd1', epoch: 'x' }], { count: 2 })).toEqual([null]);
      const [from] = await rewind();
      expect(
        (await adapter.history('d1', { epoch, offset: from as number }, 200))?.publications,
      ).toHaveLength(100);
    });

    it('rewinds within the bytes of history, to what the metadata is still known of, and always to the newest', async () => {
      const { epoch } = await attach('d1');
      const from = async (ms?: number): Promise<number> =>
        (await adapter.rewind([{ deviceId: 'd1', epoch }], ms === undefined ? {} : { ms }))[0] as number;
      const readable = async (offset: number): Promise<number | undefined> =>
        (await adapter.history('d1', { epoch, offset }, 200))?.publications.length;
      await adapter.setMeta('d1', Buffer.from('{"v":0}'));
      for (let n = 1; n <= 30; n += 1) {
        await publish(adapter, 'd1', 'x'.repeat(2_000));
      }
      expect([await from(), await readable(await from())]).toEqual([21, 9]);
      for (let n = 1; n <= 20; n += 1) {
        await adapter.setMeta('d1', Buffer.from(`{"v":${n}}`));
        await publish(adapter, 'd1', n);
      }
      expect(await readable(await from())).toBe(50 - (await from()));
      expect(await from()).toBeGreaterThan(30);
      fixture.advance?.(30_000); // a clock that stands still otherwise, while the publications took their time
      for (const last = Date.now(); Date.now() < last + 5;) {
        await new Promise(setImmediate);
      }
      expect(await from(1)).toBe(49);
    });

    it('bounds history in bytes', async () => {
      const { epoch } = await attach('d1');
      for (let n = 0; n < 30; n += 1) {
        await publish(adapter, 'd1', 'x'.repeat(2_000));
      }
      expect(await adapter.history('d1', { epoch, offset: 10 }, 100)).toBeNull();
      expect((await adapter.history('d1', { epoch, offset: 26 }, 100))?.publications).toHaveLength(4);
    });

    it('keeps the last value when history has aged out', async () => {
      if (fixture.advance === undefined) {
        return;
      }
      const { epoch } = await attach('d1');
      await publish(adapter, 'd1', 1);
      await publish(adapter, 'd1', 2);
      fixture.advance(120_000);
      expect(await adapter.history('d1', { epoch, offset: 0 }, 10)).toBeNull();
      expect((await attach('d1')).telemetry?.payload.toString()).toBe('2');
    });

    it('recognises a redelivered packet, and only by DUP', async () => {
      await attach('d1');
      expect(await publish(adapter, 'd1', 'same', { packetId: 7 })).toBe('accepted');
      expect(await publish(adapter, 'd1', 'same', { packetId: 7 })).toBe('accepted');
      expect(await publish(adapter, 'd1', 'same', { packetId: 7, dup: true })).toBe('duplicate');
      expect(await publish(adapter, 'd1', 'other', { packetId: 7, dup: true })).toBe('accepted');
      expect(await publish(adapter, 'd1', 'same', { packetId: 8, dup: true })).toBe('accepted');
      expect((await attach('d1')).offset).toBe(4);
    });

    it('gives each publication the metadata of its time', async () => {
      const { epoch } = await attach('d1');
      await publish(adapter, 'd1', 1);
      await adapter.setMeta('d1', Buffer.from('{"v":1}'));
      await publish(adapter, 'd1', 2);
      await adapter.setMeta('d1', Buffer.from('{"v":2}'));
      await publish(adapter, 'd1', 3);
      await adapter.setMeta('d1', null);
      await publish(adapter, 'd1', 4);
      const page = await adapter.history('d1', { epoch, offset: 0 }, 10);
      expect(page?.publications.map((p) => p.meta?.toString() ?? null)).toEqual([
        null,
        '{"v":1}',
        '{"v":2}',
        null,
      ]);
      await receiver.until(() => receiver.publications.length === 4);
      expect(receiver.publications.map((p) => p.meta?.toString() ?? null)).toEqual([
        null,
        '{"v":1}',
        '{"v":2}',
        null,
      ]);
    });

    it('fans out changes of status and metadata, not repeats', async () => {
      await attach('d1');
      const online = { isOnline: true, lastSeen: 5, serverTs: 6 };
      await adapter.setStatus('d1', online, false);
      await adapter.setStatus('d1', { ...online, serverTs: 7 }, false);
      await adapter.setStatus('d1', { ...online, isOnline: false }, false);
      await adapter.setMeta('d1', Buffer.from('{"a":1}'));
      await adapter.setMeta('d1', Buffer.from('{"a":1}'));
      await adapter.setMeta('d1', null);
      await receiver.until(() => receiver.metas.length === 2);
      expect(receiver.statuses.map(({ status }) => status.isOnline)).toEqual([true, false]);
      expect(receiver.metas.map(({ meta }) => meta)).toEqual(['{"a":1}', null]);
      expect(await attach('d1')).toMatchObject({ status: { isOnline: false, lastSeen: 5 }, meta: null });
    });

    it('takes a retained status only where none is known', async () => {
      await attach('d1');
      await adapter.setStatus('d1', { isOnline: true, lastSeen: 1, serverTs: 1 }, true);
      await adapter.setStatus('d1', { isOnline: false, lastSeen: 2, serverTs: 2 }, true);
      expect((await attach('d1')).status).toMatchObject({ isOnline: true, lastSeen: 1 });
    });

    it('takes a retained telemetry only where none is known, and never as a publication', async () => {
      await attach('d1');
      adapter.fillTelemetry('d1', Buffer.from('"kept"'), 1);
      await receiver.until(() => receiver.resets.length === 1);
      expect(receiver.resets[0]?.telemetry).toMatchObject({ offset: 0 });
      expect(receiver.publications).toHaveLength(0);
      await publish(adapter, 'd1', 'live');
      adapter.fillTelemetry('d1', Buffer.from('"late"'), 2);
      const state = await attach('d1');
      expect(state.telemetry?.payload.toString()).toBe('"live"');
      expect(state.offset).toBe(1);
    });

    it('lists the devices of which something is known, and announces each new one', async () => {
      await publish(adapter, 'd1', 1);
      await adapter.setStatus('d2', { isOnline: true, lastSeen: 1, serverTs: 1 }, false);
      await attach('watched-only');
      expect([...(await adapter.watchDevices())].sort()).toEqual(['d1', 'd2']);
      await publish(adapter, 'd1', 2);
      await publish(adapter, 'd3', 1);
      await adapter.setMeta('d4', Buffer.from('{"a":1}'));
      await publish(adapter, 'watched-only', 1);
      await receiver.until(() => receiver.devices.length >= 3);
      expect([...receiver.devices].sort()).toEqual(['d3', 'd4', 'watched-only']);
      expect([...(await adapter.watchDevices())].sort()).toEqual(['d1', 'd2', 'd3', 'd4', 'watched-only']);
    });

    it('reads where known devices stand, and makes no room of one that is asked for', async () => {
      await publish(adapter, 'd1', 'one');
      await adapter.setMeta('d1', Buffer.from('{"a":1}'));
      await publish(adapter, 'd1', 'two');
      await adapter.setStatus('d2', { isOnline: true, lastSeen: 1, serverTs: 2 }, false);
      await attach('watched-only');
      const [d1, nobody, d2, watched] = await adapter.read(['d1', 'nobody', 'd2', 'watched-only']);
      expect([nobody, watched]).toEqual([null, null]);
      expect({
        ...d1,
        telemetry: d1?.telemetry?.payload.toString(),
        meta: d1?.meta?.toString(),
      }).toMatchObject({
        deviceId: 'd1',
        offset: 2,
        telemetry: '"two"',
        meta: '{"a":1}',
      });
      expect(d2).toMatchObject({ deviceId: 'd2', offset: 0, telemetry: null, status: { isOnline: true } });
      expect((await attach('d1')).epoch).toBe(d1?.epoch);
      expect(await allDeviceIds(adapter)).toEqual(['d1', 'd2']);
    });

    it('takes ids that look like object properties', async () => {
      await adapter.attach(['__proto__', 'constructor']);
      await publish(adapter, '__proto__', 1);
      await receiver.until(() => receiver.publications.length === 1);
      expect((await attach('__proto__')).telemetry?.payload.toString()).toBe('1');
      expect((await attach('constructor')).telemetry).toBeNull();
    });
  });
}
