import { testRooms } from '../../test/support/test-rooms.js';
import { RoomsService } from './rooms.service.js';
import type { Subscription } from './room.js';

const EVERY = { mode: 'every' as const };
const LATEST = { mode: 'latest' as const };

describe(RoomsService.name, () => {
  it('answers subscribed, then one snapshot, then live publications', async () => {
    const { rooms, adapter, member, publish, settle } = testRooms();
    publish('d1', { v: 1 });
    await adapter.setMeta('d1', Buffer.from('{"name":"Pump"}'));
    await adapter.setStatus('d1', { isOnline: true, lastSeen: 5, serverTs: 6 }, false);
    const m = member();
    await rooms.subscribe(m, { deviceIds: ['d1', 'd2'], denied: ['x/y'], id: 'a', delivery: EVERY });
    publish('d1', { v: 2 });
    await settle();
    const [subscribed, snapshot, live, ...rest] = m.messages();
    expect(rest).toEqual([]);
    expect(subscribed).toEqual({
      type: 'subscribed',
      id: 'a',
      rooms: [
        { deviceId: 'd1', epoch: expect.any(String), offset: 1 },
        { deviceId: 'd2', epoch: expect.any(String), offset: 0 },
      ],
      denied: ['x/y'],
    });
    expect(snapshot).toEqual({
      type: 'snapshot',
      devices: [
        {
          deviceId: 'd1',
          telemetry: expect.objectContaining({
            type: 'telemetry',
            deviceId: 'd1',
            payload: { v: 1 },
            meta: null,
            offset: 1,
          }),
          status: { type: 'device_status', deviceId: 'd1', isOnline: true, lastSeen: 5, serverTs: 6 },
          meta: { name: 'Pump' },
        },
      ],
    });
    expect(live).toMatchObject({ type: 'telemetry', payload: { v: 2 }, meta: { name: 'Pump' }, offset: 2 });
    expect(live).not.toHaveProperty('skipped');
  });

  it('sends an explicit subscribe a snapshot even when nothing is known, an opening one none', async () => {
    const { rooms, member, settle } = testRooms();
    const explicit = member();
    const opening = member();
    await rooms.subscribe(explicit, { deviceIds: ['d1'], denied: [], delivery: EVERY });
    await rooms.subscribe(opening, { deviceIds: ['d1'], denied: [], delivery: EVERY, opening: true });
    await settle();
    expect(explicit.messages('snapshot')).toEqual([{ type: 'snapshot', devices: [] }]);
    expect(opening.messages('snapshot')).toEqual([]);
  });

  it('resumes without gap or duplicate while publications keep coming', async () => {
    const { rooms, member, publish, settle } = testRooms({ 'rooms.historyPageMaxPublications': '3' });
    for (let n = 1; n <= 20; n += 1) {
      publish('d1', n);
    }
    const [state] = await rooms['adapter'].attach(['d1']);
    const m = member();
    const since = new Map([['d1', { epoch: state?.epoch ?? '', offset: 5 }]]);
    const subscribing = rooms.subscribe(m, { deviceIds: ['d1'], denied: [], delivery: EVERY, since });
    for (let n = 21; n <= 40; n += 1) {
      publish('d1', n);
      await Promise.resolve();
    }
    await subscribing;
    await settle();
    publish('d1', 41);
    await settle();
    expect(m.messages('subscribed')[0]).toMatchObject({ rooms: [{ recovered: true }] });
    expect(m.messages('telemetry').map((t) => t['offset'])).toEqual(
      Array.from({ length: 36 }, (_, n) => n + 6),
    );
  });

  it('answers recovered false for another epoch or a future offset, and sends the newest in the snapshot', async () => {
    const { rooms, member, publish, settle } = testRooms();
    publish('d1', 1);
    publish('d2', 1);
    const m = member();
    const [, d2] = await rooms['adapter'].attach(['d1', 'd2']);
    const since = new Map([
      ['d1', { epoch: 'old', offset: 1 }],
      ['d2', { epoch: d2?.epoch ?? '', offset: 2 }],
    ]);
    await rooms.subscribe(m, { deviceIds: ['d1', 'd2'], denied: [], delivery: EVERY, since });
    await settle();
    expect(m.messages('subscribed')[0]).toMatchObject({
      rooms: [{ recovered: false }, { recovered: false }],
    });
    expect(m.messages('snapshot')[0]).toMatchObject({
      devices: [{ telemetry: { offset: 1 } }, { telemetry: { offset: 1 } }],
    });
  });

  it('brings only the newest missed publication in mode latest, with what was skipped', async () => {
    const { rooms, member, publish, settle } = testRooms();
    for (let n = 1; n <= 10; n += 1) {
      publish('d1', n);
    }
    const [state] = await rooms['adapter'].attach(['d1']);
    const m = member();
    const since = new Map([['d1', { epoch: state?.epoch ?? '', offset: 4 }]]);
    await rooms.subscribe(m, { deviceIds: ['d1'], denied: [], delivery: LATEST, since });
    await settle();
    expect(m.messages('telemetry')).toEqual([expect.objectContaining({ offset: 10, skipped: 5 })]);
  });

  it('pages a large snapshot into frames of at most 256 KiB, all but the last with more', async () => {
    const { rooms, member, publish, settle } = testRooms();
    const ids = Array.from({ length: 30 }, (_, n) => `d${n}`);
    ids.forEach((id) => publish(id, 'x'.repeat(40_000)));
    const m = member();
    await rooms.subscribe(m, { deviceIds: ids, denied: [], delivery: EVERY });
    await settle();
    const snapshots = m.messages('snapshot');
    expect(snapshots.length).toBeGreaterThan(1);
    snapshots.forEach((snapshot, at) => {
      expect(JSON.stringify(snapshot).length).toBeLessThanOrEqual(256 * 1024);
      expect(snapshot['more']).toBe(at < snapshots.length - 1 ? true : undefined);
    });
    const devices = snapshots.flatMap((snapshot) => snapshot['devices'] as { deviceId: string }[]);
    expect(devices.map(({ deviceId }) => deviceId)).toEqual(ids);
  });

  it('goes live for a room exactly at its page of a snapshot that waits for the client', async () => {
    const { rooms, member, publish, settle } = testRooms();
    const ids = Array.from({ length: 30 }, (_, n) => `d${n}`);
    ids.forEach((id) => publish(id, 'x'.repeat(40_000)));
    const m = member();
    m.socket.room = 1;
    await rooms.subscribe(m, { deviceIds: ids, denied: [], delivery: EVERY });
    await settle();
    publish('d29', 'while waiting');
    m.socket.read();
    await settle();
    publish('d29', 'after');
    await settle();
    const last = m.messages('snapshot').at(-1)?.['devices'] as { deviceId: string; telemetry: unknown }[];
    expect(last.at(-1)).toMatchObject({
      deviceId: 'd29',
      telemetry: { payload: 'while waiting', offset: 2 },
    });
    expect(m.messages('telemetry')).toEqual([expect.objectContaining({ deviceId: 'd29', offset: 3 })]);
  });

  it('keeps the newest per device for a slow connection in mode latest and says how many were skipped', async () => {
    const { rooms, member, publish, settle, metrics } = testRooms({ 'ws.queueMaxMessages': '16' });
    const m = member();
    await rooms.subscribe(m, { deviceIds: ['d1', 'd2'], denied: [], delivery: LATEST });
    await settle();
    m.socket.room = 1;
    publish('d1', 0);
    await settle();
    for (let n = 1; n <= 1_000; n += 1) {
      publish('d1', n);
      publish('d2', n);
    }
    await settle();
    expect(m.outbound.queuedBytes).toBe(0);
    m.socket.read();
    await settle();
    publish('d1', 'live');
    await settle();
    expect(m.slow).toBe(false);
    expect(
      m.messages('telemetry').map((t) => [t['deviceId'], t['offset'], t['skipped'], t['payload']]),
    ).toEqual([
      ['d1', 1, undefined, 0],
      ['d1', 1_001, 999, 1_000],
      ['d2', 1_000, 999, 1_000],
      ['d1', 1_002, undefined, 'live'],
    ]);
    expect(metrics.hot.conflated).toBe(1_998);
    expect(metrics.hot.due).toBe(metrics.hot.delivered + metrics.hot.conflated);
  });

  it('calls a connection in mode every slow over its bound, and frees what waited', async () => {
    const { rooms, member, publish, settle, metrics, context } = testRooms({ 'ws.queueMaxMessages': '16' });
    const m = member();
    const other = member();
    await rooms.subscribe(m, { deviceIds: ['d1'], denied: [], delivery: EVERY });
    await rooms.subscribe(other, { deviceIds: ['d1'], denied: [], delivery: EVERY });
    await settle();
    m.socket.room = 1;
    for (let n = 0; n < 40; n += 1) {
      publish('d1', n);
      await settle();
    }
    expect(m.slow).toBe(true);
    expect(context.queuedBytes).toBe(0);
    expect(other.messages('telemetry')).toHaveLength(40);
    rooms.leave(m);
    m.outbound.close();
    const dropped = (await metrics.dropped.get()).values.reduce((sum, { value }) => sum + value, 0);
    expect(metrics.hot.due).toBe(metrics.hot.delivered + dropped);
  });

  it('sends status and replies ahead of waiting telemetry', async () => {
    const { rooms, adapter, member, publish, settle } = testRooms();
    const m = member();
    await rooms.subscribe(m, { deviceIds: ['d1'], denied: [], delivery: EVERY });
    await settle();
    m.socket.room = 1;
    publish('d1', 0);
    await settle();
    publish('d1', 1);
    publish('d1', 2);
    await adapter.setStatus('d1', { isOnline: false, lastSeen: 1, serverTs: 2 }, false);
    m.outbound.send({ type: 'pong', serverTs: 1 });
    m.socket.read();
    await settle();
    expect(
      m
        .messages()
        .slice(2)
        .map((message) => message['type']),
    ).toEqual(['telemetry', 'device_status', 'pong', 'telemetry', 'telemetry']);
  });

  it('voids what waits for a room that was left, also when it is joined again', async () => {
    const { rooms, member, publish, settle, metrics } = testRooms();
    const m = member();
    await rooms.subscribe(m, { deviceIds: ['d1'], denied: [], delivery: EVERY });
    await settle();
    m.socket.room = 1;
    publish('d1', 1);
    await settle();
    publish('d1', 2);
    publish('d1', 3);
    rooms.unsubscribe(m, ['d1']);
    await rooms.subscribe(m, { deviceIds: ['d1'], denied: [], delivery: EVERY });
    m.socket.read();
    await settle();
    publish('d1', 4);
    await settle();
    expect(m.messages('telemetry').map((t) => t['offset'])).toEqual([1, 4]);
    expect(m.messages('snapshot').at(-1)).toMatchObject({ devices: [{ telemetry: { offset: 3 } }] });
    expect(metrics.hot.due).toBe(4);
  });

  it('restarts a subscribed room where since says', async () => {
    const { rooms, member, publish, settle } = testRooms();
    const m = member();
    await rooms.subscribe(m, { deviceIds: ['d1'], denied: [], delivery: EVERY });
    publish('d1', 1);
    publish('d1', 2);
    await settle();
    const epoch = String(m.messages('telemetry')[0]?.['epoch']);
    await rooms.subscribe(m, {
      deviceIds: ['d1'],
      denied: [],
      delivery: EVERY,
      since: new Map([['d1', { epoch, offset: 0 }]]),
    });
    await settle();
    publish('d1', 3);
    await settle();
    expect(m.messages('telemetry').map((t) => t['offset'])).toEqual([1, 2, 1, 2, 3]);
  });

  it('sends every member a snapshot when a room is reset, and goes on from it', async () => {
    const { rooms, member, publish, settle } = testRooms();
    const m = member();
    await rooms.subscribe(m, { deviceIds: ['d1'], denied: [], delivery: EVERY });
    publish('d1', 1);
    await settle();
    const telemetry = {
      deviceId: 'd1',
      epoch: 'next',
      offset: 7,
      serverTs: 1,
      payload: Buffer.from('7'),
      meta: null,
    };
    rooms.onReset({ deviceId: 'd1', epoch: 'next', offset: 7, telemetry, status: null, meta: null });
    const tell = (offset: number): void => {
      const publication = { ...telemetry, offset, payload: Buffer.from(String(offset)) };
      rooms.onPublication(publication, performance.now(), { found: null, newest: () => publication });
    };
    tell(8);
    await settle();
    tell(9);
    await settle();
    expect(m.messages('snapshot').at(-1)).toMatchObject({
      devices: [{ telemetry: { epoch: 'next', offset: 8 } }],
    });
    expect(m.messages('telemetry').map((t) => [t['epoch'] === 'next', t['offset']])).toEqual([
      [false, 1],
      [true, 9],
    ]);
  });

  it('finds the room that is there now, also where an origin remembers one that was left', async () => {
    const { rooms, member, settle } = testRooms();
    const publication = { deviceId: 'd1', epoch: 'e', serverTs: 1, payload: Buffer.from('1'), meta: null };
    const origin = { found: null, newest: () => null };
    const first = member();
    await rooms.subscribe(first, { deviceIds: ['d1'], denied: [], delivery: EVERY });
    rooms.onPublication({ ...publication, offset: 1 }, 0, origin);
    expect(origin.found).not.toBeNull();
    rooms.leave(first);
    rooms.onPublication({ ...publication, offset: 2 }, 0, origin);
    const second = member();
    await rooms.subscribe(second, { deviceIds: ['d1'], denied: [], delivery: EVERY });
    await settle();
    rooms.onPublication({ ...publication, offset: 3 }, 0, origin);
    await settle();
    expect(second.messages('telemetry').map((t) => t['offset'])).toEqual([3]);
  });

  it('forgets a room with its last member', async () => {
    const { rooms, member, settle } = testRooms();
    const a = member();
    const b = member();
    await rooms.subscribe(a, { deviceIds: ['d1', 'd2'], denied: [], delivery: EVERY });
    await rooms.subscribe(b, { deviceIds: ['d1'], denied: [], delivery: EVERY });
    await settle();
    expect([rooms.roomCount, rooms.subscriptionCount]).toEqual([2, 3]);
    rooms.leave(a);
    expect([rooms.roomCount, rooms.subscriptionCount]).toEqual([1, 1]);
    rooms.leave(b);
    expect([rooms.roomCount, rooms.subscriptionCount]).toEqual([0, 0]);
  });

  it('answers a subscribe whose rooms were all left before it was through', async () => {
    const { rooms, member, settle } = testRooms();
    const m = member();
    const subscribing = rooms.subscribe(m, { deviceIds: ['d1'], denied: [], id: 7, delivery: EVERY });
    rooms.unsubscribe(m, ['d1']);
    await subscribing;
    await settle();
    expect(m.messages()).toEqual([{ type: 'subscribed', id: 7, rooms: [], denied: [] }]);
  });

  it('does not answer or join for a connection that left while it was subscribing', async () => {
    const { rooms, member, settle } = testRooms();
    const m = member();
    const subscribing = rooms.subscribe(m, { deviceIds: ['d1'], denied: [], delivery: EVERY });
    rooms.leave(m);
    m.outbound.close();
    await subscribing;
    await settle();
    expect(m.messages()).toEqual([]);
    expect(rooms.roomCount).toBe(0);
  });

  // A snapshot and a resume made a group for their options, and a subscription that never went live left it: each publication was then offered
  // to 1 500 groups. Groups are of live subscriptions alone.
  it('keeps no group of a subscription that was never live, whatever options it asked for', async () => {
    const { rooms, member, publish, settle } = testRooms();
    publish('d1', { f1: 1 });
    const witness = member();
    await rooms.subscribe(witness, { deviceIds: ['d1'], denied: [], delivery: EVERY });
    await settle();
    const { room } = witness.subscriptions.get('d1') as Subscription;
    const m = member();
    const most: number[] = [];
    for (let n = 0; n < 1_500; n += 1) {
      if (n % 2 === 1) {
        publish('d1', { [`f${n}`]: n });
      }
      const since = n % 3 === 0 ? undefined : new Map([['d1', { epoch: room.epoch, offset: 1 }]]);
      void rooms.subscribe(m, {
        deviceIds: ['d1'],
        denied: [],
        delivery: { mode: 'every', fields: [`f${n}`] },
        since,
      });
      if (n % 5 === 0) {
        await settle();
      }
      most.push(room.groupCount);
    }
    await settle();
    most.push(room.groupCount);
    rooms.leave(m);
    await settle();
    expect(Math.max(...most)).toBeLessThanOrEqual(1);
    expect(room.groupCount).toBe(0);
  });

  it('keeps no group of a subscription that ends at the border of a snapshot page', async () => {
    const { rooms, member, publish, settle } = testRooms({ 'ws.snapshotFrameMaxBytes': '65536' });
    const ids = Array.from({ length: 6 }, (_, n) => `d${n}`);
    ids.forEach((id) => publish(id, { big: 'x'.repeat(30_000) }));
    const witness = member();
    await rooms.subscribe(witness, { deviceIds: ids, denied: [], delivery: EVERY });
    await settle();
    const m = member();
    m.socket.room = 0;
    await rooms.subscribe(m, { deviceIds: ids, denied: [], delivery: { mode: 'every', fields: ['big'] } });
    await settle();
    rooms.leave(m);
    m.outbound.close();
    await settle();
    expect(witness.subscriptions.all().map(({ room }) => room.groupCount)).toEqual(ids.map(() => 0));
  });
});
