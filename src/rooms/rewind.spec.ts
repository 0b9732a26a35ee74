import { testRooms } from '../../test/support/test-rooms.js';
import { IdPattern } from '../protocol/id-pattern.js';
import type { DeliveryOptions } from '../protocol/delivery-options.js';

const EVERY: DeliveryOptions = { mode: 'every' };

/** Rooms whose publications are one second apart, the last one now. */
function rewindable(env: Record<string, string> = {}) {
  const world = testRooms(env);
  const history = (deviceId: string, values: readonly unknown[], stepMs = 1_000): void => {
    const now = Date.now();
    values.forEach((payload, at) =>
      world.adapter.publish({
        deviceId,
        payload: Buffer.from(JSON.stringify(payload)),
        receivedAt: now - (values.length - 1 - at) * stepMs,
        receivedMono: performance.now(),
        packetId: 1,
        dup: false,
        settle: () => {},
      }),
    );
  };
  return { ...world, history };
}

const numbers = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, at) => from + at);
const offsets = (messages: Record<string, unknown>[]): unknown[] => messages.map(({ offset }) => offset);

describe('a rewind', () => {
  const rewound = async (
    world: ReturnType<typeof rewindable>,
    rewind: { count?: number; ms?: number },
    delivery = EVERY,
  ) => {
    const m = world.member();
    const charged: number[] = [];
    const onRewound = (publications: number): unknown => charged.push(publications);
    await world.rooms.subscribe(m, { deviceIds: ['d1'], denied: [], delivery, rewind, onRewound });
    await world.settle();
    return { m, charged };
  };

  it('brings the last publications by count, says from where, and goes on live without gap or double', async () => {
    const world = rewindable({ 'rooms.historyPageMaxPublications': '3' });
    world.history('d1', numbers(1, 20));
    const { m, charged } = await rewound(world, { count: 12 });
    world.publish('d1', 21);
    await world.settle();
    expect(m.messages('subscribed')[0]).toMatchObject({ rooms: [{ offset: 20, rewoundFrom: 8 }] });
    expect(m.messages('snapshot')).toEqual([{ type: 'snapshot', devices: [] }]);
    expect(offsets(m.messages('telemetry'))).toEqual(numbers(9, 21));
    expect(m.messages('telemetry').every((message) => message['skipped'] === undefined)).toBe(true);
    expect(charged).toEqual([12]);
  });

  it.each([
    [{ ms: 4_500 }, 5],
    [{ ms: 4_500, count: 3 }, 3],
    [{ ms: 100_000, count: 4 }, 4],
    [{ ms: 1_000_000 }, 20],
  ])('takes the fewer of count and ms: %j', async (rewind, count) => {
    const world = rewindable();
    world.history('d1', numbers(1, 20));
    expect(offsets((await rewound(world, rewind)).m.messages('telemetry'))).toEqual(numbers(21 - count, 20));
  });

  it('always has the newest publication, however long ago it was', async () => {
    const world = rewindable();
    world.history('d1', [1, 2, 3], 20_000);
    world.history('d1', []);
    const { m } = await rewound(world, { ms: 1 });
    expect(m.messages('telemetry').at(-1)).toMatchObject({ offset: 3, payload: 3 });
  });

  it('misses nothing that is published while it is read', async () => {
    const world = rewindable({ 'rooms.historyPageMaxPublications': '8' });
    world.history('d1', numbers(1, 50));
    const m = world.member();
    const subscribing = world.rooms.subscribe(m, {
      ...{ deviceIds: ['d1'], denied: [], delivery: EVERY, rewind: { count: 1_000 } },
    });
    for (let n = 51; n <= 80; n += 1) {
      world.publish('d1', n);
      await (n % 3 === 0 ? new Promise(setImmediate) : Promise.resolve());
    }
    await subscribing;
    await world.settle();
    expect(offsets(m.messages('telemetry'))).toEqual(numbers(1, 80));
  });

  it('begins at 0 for a device without publications, and shows a retained value in the snapshot', async () => {
    const world = rewindable();
    world.adapter.fillTelemetry('d1', Buffer.from('7'), 1);
    const { m } = await rewound(world, { count: 5 });
    expect(m.messages('subscribed')[0]).toMatchObject({ rooms: [{ offset: 0, rewoundFrom: 0 }] });
    expect(m.messages('snapshot')[0]).toMatchObject({ devices: [{ telemetry: { offset: 0, payload: 7 } }] });
    world.publish('d1', 8);
    await world.settle();
    expect(offsets(m.messages('telemetry'))).toEqual([1]);
  });

  it('gives a snapshot where no history is kept', async () => {
    const world = rewindable({ HISTORY_MAX_PUBLICATIONS: '0' });
    world.history('d1', [1, 2]);
    const { m } = await rewound(world, { count: 5 });
    expect(m.messages('subscribed')[0]).toEqual(
      expect.objectContaining({ rooms: [{ deviceId: 'd1', epoch: expect.any(String), offset: 2 }] }),
    );
    expect(m.messages('snapshot')[0]).toMatchObject({ devices: [{ telemetry: { offset: 2 } }] });
  });

  it('sends all in mode latest without a rate', async () => {
    const world = rewindable();
    world.history('d1', numbers(1, 9));
    const { m } = await rewound(world, { count: 5 }, { mode: 'latest' });
    expect(offsets(m.messages('telemetry'))).toEqual([5, 6, 7, 8, 9]);
  });

  it('is thinned to the rate by the times of receipt, ends with the newest, and counts what was skipped', async () => {
    const world = rewindable();
    world.history('d1', numbers(1, 21), 250);
    const { m } = await rewound(world, { count: 20 }, { mode: 'latest', maxRateHz: 1 });
    const sent = m.messages('telemetry');
    expect(offsets(sent)).toEqual([2, 5, 9, 13, 17, 21]);
    let previous = 1;
    for (const { offset, skipped } of sent as { offset: number; skipped?: number }[]) {
      expect(offset).toBe(previous + 1 + (skipped ?? 0));
      previous = offset;
    }
  });

  // Times of receipt come from several instances and may go back: whoever is thinned by them must not lose a publication of mode `every`.
  it('sends all without a rate, also where times of receipt go back', async () => {
    const world = rewindable();
    world.history('d1', numbers(1, 5), -1_000);
    expect(offsets((await rewound(world, { count: 5 })).m.messages('telemetry'))).toEqual([1, 2, 3, 4, 5]);
  });

  it('is merged into windows by the times of receipt', async () => {
    const world = rewindable();
    world.history(
      'd1',
      numbers(1, 10).map((t) => ({ t })),
      250,
    );
    const delivery: DeliveryOptions = { mode: 'latest', maxRateHz: 1, aggregate: true };
    const { m } = await rewound(world, { count: 10 }, delivery);
    expect(m.messages('telemetry').map(({ payload, aggregated }) => [payload, aggregated])).toEqual([
      [{ t: { min: 1, max: 4, mean: 2.5, last: 4, count: 4 } }, expect.objectContaining({ count: 4 })],
      [{ t: { min: 5, max: 8, mean: 6.5, last: 8, count: 4 } }, expect.objectContaining({ count: 4 })],
      [{ t: { min: 9, max: 10, mean: 9.5, last: 10, count: 2 } }, expect.objectContaining({ count: 2 })],
    ]);
    expect(world.metrics.hot.aggregateBytes).toBe(0);
  });

  it('lets go of an open window when the connection closes', async () => {
    const world = rewindable({ 'rooms.historyPageMaxPublications': '8' });
    world.history(
      'd1',
      numbers(1, 30).map((t) => ({ t })),
    );
    const m = world.member();
    const read = world.adapter.history.bind(world.adapter);
    let pages = 0;
    world.adapter.history = (...page) => ((pages += 1) === 1 ? read(...page) : new Promise(() => {}));
    const delivery: DeliveryOptions = { mode: 'latest', maxRateHz: 0.01, aggregate: true };
    await world.rooms.subscribe(m, { deviceIds: ['d1'], denied: [], delivery, rewind: { ms: 60_000 } });
    await world.settle();
    expect(world.metrics.hot.aggregateBytes).toBeGreaterThan(0);
    m.outbound.close();
    await world.settle();
    expect(world.metrics.hot.aggregateBytes).toBe(0);
  });

  it('has only the fields; count counts history before them', async () => {
    const world = rewindable();
    world.history(
      'd1',
      numbers(1, 9).map((n) => (n % 2 === 0 ? { a: n, b: 1 } : { b: 1 })),
    );
    const { m } = await rewound(world, { count: 4 }, { mode: 'every', fields: ['a'] });
    expect(m.messages('telemetry').map(({ payload, skipped }) => [payload, skipped])).toEqual([
      [{ a: 6 }, undefined],
      [{ a: 8 }, 1],
    ]);
    world.publish('d1', { a: 10 });
    await world.settle();
    expect(m.messages('telemetry').at(-1)).toMatchObject({ offset: 10, skipped: 1 });
  });

  it('comes after `since` where a device recovers, and in its place where it does not', async () => {
    const world = rewindable();
    world.history('d1', numbers(1, 9));
    world.history('d2', numbers(1, 9));
    const m = world.member();
    const [d1] = await world.adapter.attach(['d1']);
    const since = new Map([
      ['d1', { epoch: d1?.epoch ?? '', offset: 7 }],
      ['d2', { epoch: 'other', offset: 7 }],
    ]);
    await world.rooms.subscribe(m, {
      ...{ deviceIds: ['d1', 'd2'], denied: [], delivery: EVERY, since, rewind: { count: 3 } },
    });
    await world.settle();
    expect(m.messages('subscribed')[0]).toMatchObject({
      rooms: [{ recovered: true }, { recovered: false, rewoundFrom: 6 }],
    });
    expect(m.messages('subscribed')[0]!['rooms']).not.toMatchObject([{ rewoundFrom: expect.anything() }, {}]);
    const of = (id: string) => m.messages('telemetry').filter(({ deviceId }) => deviceId === id);
    expect([offsets(of('d1')), offsets(of('d2'))]).toEqual([
      [8, 9],
      [7, 8, 9],
    ]);
  });

  it('goes on with the oldest that is left when history is trimmed while the client reads', async () => {
    const world = rewindable({
      'rooms.historyPageMaxPublications': '8',
      HISTORY_MAX_PUBLICATIONS: '40',
    });
    world.history('d1', numbers(1, 40));
    const m = world.member();
    m.socket.room = 1;
    await world.rooms.subscribe(m, {
      ...{ deviceIds: ['d1'], denied: [], delivery: EVERY, rewind: { count: 40 } },
    });
    await world.settle();
    world.history('d1', numbers(41, 60), 1);
    m.socket.read();
    await world.settle();
    await world.settle();
    const sent = m.messages('telemetry') as { offset: number; skipped?: number }[];
    let previous = 0;
    for (const { offset, skipped } of sent) {
      expect(offset).toBe(previous + 1 + (skipped ?? 0));
      previous = offset;
    }
    expect(sent.length).toBeGreaterThanOrEqual(40);
    expect(previous).toBe(60);
  });

  it('restarts a live subscription after what was queued for it', async () => {
    const world = rewindable();
    world.history('d1', numbers(1, 5));
    const m = world.member();
    await world.rooms.subscribe(m, { deviceIds: ['d1'], denied: [], delivery: EVERY });
    await world.settle();
    m.socket.room = 1;
    world.publish('d1', 6);
    await world.settle();
    world.publish('d1', 7);
    const again = world.rooms.subscribe(m, {
      ...{ deviceIds: ['d1'], denied: [], delivery: EVERY, rewind: { count: 3 } },
    });
    await world.settle();
    m.socket.read();
    await again;
    await world.settle();
    expect(offsets(m.messages('telemetry'))).toEqual([6, 7, 5, 6, 7]);
  });

  // Between the last publication that was sent and the place that a rewind by count names, some were lost to whoever follows all of them.
  it('begins no later than where a live subscription stood', async () => {
    const world = rewindable();
    world.history('d1', numbers(1, 5));
    const m = world.member();
    await world.rooms.subscribe(m, { deviceIds: ['d1'], denied: [], delivery: EVERY });
    await world.settle();
    const look = world.adapter.rewind.bind(world.adapter);
    world.adapter.rewind = (...asked) => {
      for (let n = 6; n <= 9; n += 1) {
        world.publish('d1', n);
      }
      return look(...asked);
    };
    await world.rooms.subscribe(m, {
      ...{ deviceIds: ['d1'], denied: [], delivery: EVERY, rewind: { count: 1 } },
    });
    await world.settle();
    expect(m.messages('subscribed').at(-1)).toMatchObject({ rooms: [{ offset: 9, rewoundFrom: 5 }] });
    expect(offsets(m.messages('telemetry'))).toEqual([6, 7, 8, 9]);
  });

  describe('of a pattern', () => {
    const follow = async (
      world: ReturnType<typeof rewindable>,
      m: ReturnType<ReturnType<typeof rewindable>['member']>,
      rewind?: { count?: number; ms?: number },
      delivery = EVERY,
    ) => {
      await world.rooms.fleet.subscribe(m, {
        pattern: new IdPattern('d*'),
        id: 1,
        terms: () => ({ delivery, maxRooms: 10_000, maxPatterns: 10 }),
        rewind,
      });
      await world.settle();
    };

    it('answers first, then rewinds every device, and new devices from their first publication', async () => {
      const world = rewindable();
      const ids = numbers(1, 40).map((n) => `d${n}`);
      ids.forEach((id) => world.history(id, numbers(1, 6)));
      const m = world.member();
      await follow(world, m, { count: 4 });
      for (let turn = 0; turn < 20; turn += 1) {
        await world.settle();
      }
      const types = m.messages().map(({ type }) => type);
      expect(types.slice(0, 2)).toEqual(['subscribed', 'snapshot']);
      expect(m.messages('telemetry')).toHaveLength(160);
      for (const id of ids) {
        const own = m.messages('telemetry').filter(({ deviceId }) => deviceId === id);
        expect(offsets(own)).toEqual([3, 4, 5, 6]);
      }
      world.publish('d1', 7);
      world.publish('dnew', 1);
      world.publish('dnew', 2);
      await world.settle();
      await world.settle();
      expect(m.messages('subscribed').at(-1)).toMatchObject({
        rooms: [{ deviceId: 'dnew', rewoundFrom: 0 }],
      });
      expect(
        m
          .messages('telemetry')
          .slice(160)
          .map(({ deviceId, offset }) => [deviceId, offset]),
      ).toEqual([
        ['d1', 7],
        ['dnew', 1],
        ['dnew', 2],
      ]);
    });

    it('leaves devices that are watched by id as they are', async () => {
      const world = rewindable();
      world.history('d1', numbers(1, 6));
      const m = world.member();
      await world.rooms.subscribe(m, { deviceIds: ['d1'], denied: [], delivery: EVERY });
      await follow(world, m, { count: 4 });
      world.publish('d1', 7);
      await world.settle();
      expect(m.messages('subscribed').at(-1)!['rooms']).toEqual([
        { deviceId: 'd1', epoch: expect.any(String), offset: 6 },
      ]);
      expect(offsets(m.messages('telemetry'))).toEqual([7]);
    });

    // The snapshot of a pattern made rooms live, whoever else was bringing them there: what a rewind or a resume by id had not sent yet was
    // never sent. It passes over a room now that history brings.
    describe('and by id at the same time', () => {
      const meet = async (
        first: 'pattern' | 'id',
        then?: 'unsubscribe',
        since = new Map<string, never>(),
      ) => {
        const world = rewindable({ 'rooms.historyPageMaxPublications': '8' });
        world.history('d1', numbers(1, 40));
        world.history('d2', numbers(1, 3));
        const m = world.member();
        m.socket.room = 1;
        const steps = {
          pattern: () => follow(world, m),
          id: () =>
            world.rooms.subscribe(m, {
              ...{ deviceIds: ['d1'], denied: [], delivery: EVERY, since, rewind: { count: 30 } },
            }),
        };
        await steps[first]();
        await steps[first === 'id' ? 'pattern' : 'id']();
        if (then === 'unsubscribe') {
          world.rooms.unsubscribe(m, ['d1']);
        }
        m.socket.read();
        for (let turn = 0; turn < 10; turn += 1) {
          await world.settle();
        }
        world.publish('d1', 41);
        world.publish('d2', 4);
        await world.settle();
        return m;
      };

      it.each([
        ['pattern', undefined],
        ['id', undefined],
        ['id', 'unsubscribe'],
        ['pattern', 'unsubscribe'],
      ] as const)('brings all that is rewound: first by %s, then %s', async (first, then) => {
        const m = await meet(first, then);
        const of = (id: string) => m.messages('telemetry').filter(({ deviceId }) => deviceId === id);
        expect(offsets(of('d1'))).toEqual(numbers(11, 41));
        expect(offsets(of('d2'))).toEqual([4]);
        const shown = m.messages('snapshot').flatMap(({ devices }) => devices as Record<string, unknown>[]);
        expect(shown.filter(({ telemetry }) => telemetry !== undefined)).toMatchObject([{ deviceId: 'd2' }]);
      });
    });

    it('leaves the devices of a pattern with a rewind to the last pattern', async () => {
      const world = rewindable();
      world.history('d1', numbers(1, 6));
      const m = world.member();
      m.socket.room = 1;
      await follow(world, m, { count: 3 });
      const thinned: DeliveryOptions = { mode: 'every', fields: ['v'] };
      await world.rooms.fleet.subscribe(m, {
        pattern: new IdPattern('d1*'),
        terms: () => ({ delivery: thinned, maxRooms: 10, maxPatterns: 10 }),
      });
      m.socket.read();
      await world.settle();
      world.publish('d1', { v: 7, w: 7 });
      await world.settle();
      expect(m.messages('telemetry').at(-1)).toMatchObject({ offset: 7, payload: { v: 7 } });
      expect(m.messages('telemetry').at(-1)!['payload']).not.toHaveProperty('w');
    });

    it('starts again when it is asked for again, without a rewind too', async () => {
      const world = rewindable();
      world.history('d1', numbers(1, 6));
      const m = world.member();
      await follow(world, m, { count: 2 });
      await follow(world, m, { count: 3 }, { mode: 'every', meta: 'once' });
      expect(offsets(m.messages('telemetry'))).toEqual([5, 6, 4, 5, 6]);
      await follow(world, m);
      world.publish('d1', 7);
      await world.settle();
      expect(offsets(m.messages('telemetry'))).toEqual([5, 6, 4, 5, 6, 7]);
      expect(m.messages('snapshot').at(-1)).toMatchObject({ devices: [{ telemetry: { offset: 6 } }] });
    });
  });
});

describe('metadata once', () => {
  it('is in the snapshot and its changes, and not with telemetry', async () => {
    const { rooms, adapter, member, publish, settle } = testRooms();
    publish('d1', { v: 1 });
    await adapter.setMeta('d1', Buffer.from('{"name":"Pump"}'));
    const once = member();
    const inline = member();
    const delivery: DeliveryOptions = { mode: 'every', meta: 'once' };
    await rooms.subscribe(once, { deviceIds: ['d1'], denied: [], delivery });
    await rooms.subscribe(inline, { deviceIds: ['d1'], denied: [], delivery: EVERY });
    await adapter.setMeta('d1', Buffer.from('{"name":"Pump 2"}'));
    publish('d1', { v: 2 });
    await settle();
    const [entry] = once.messages('snapshot')[0]!['devices'] as Record<string, Record<string, unknown>>[];
    expect(entry).toMatchObject({ meta: { name: 'Pump' }, telemetry: { payload: { v: 1 }, offset: 1 } });
    expect(entry!['telemetry']).not.toHaveProperty('meta');
    expect(once.messages('device_meta')).toMatchObject([{ meta: { name: 'Pump 2' } }]);
    expect(once.messages('telemetry')).toEqual([
      {
        ...{ type: 'telemetry', deviceId: 'd1', payload: { v: 2 }, offset: 2 },
        ...{ serverTs: expect.any(Number), epoch: expect.any(String) },
      },
    ]);
    expect(inline.messages('telemetry')[0]).toMatchObject({ meta: { name: 'Pump 2' } });
  });
});
