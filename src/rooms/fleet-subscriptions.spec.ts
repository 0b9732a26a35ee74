import { IdPattern } from '../protocol/id-pattern.js';
import { testRooms, type TestMember } from '../../test/support/test-rooms.js';
import { FleetSubscriptions } from './fleet-subscriptions.js';

const EVERY = { mode: 'every' as const };
const request = (pattern: string, id?: string, maxRooms = 200_000) => ({
  pattern: new IdPattern(pattern),
  id,
  terms: () => ({ delivery: EVERY, maxRooms, maxPatterns: 100 }),
});
const ids = (m: TestMember): string[] =>
  m
    .messages('subscribed')
    .flatMap((s) => (s['rooms'] as { deviceId: string }[]).map(({ deviceId }) => deviceId));

describe(FleetSubscriptions.name, () => {
  it('subscribes to the known devices that match, with one answer and one snapshot', async () => {
    const { rooms, member, publish, settle } = testRooms();
    publish('plant-1.a', 1);
    publish('plant-1.b', 2);
    publish('plant-2.a', 3);
    const m = member();
    await rooms.fleet.subscribe(m, request('plant-1.*', 'q'));
    await settle();
    publish('plant-1.a', 4);
    publish('plant-2.a', 5);
    await settle();
    expect(m.messages('subscribed')).toEqual([
      {
        type: 'subscribed',
        id: 'q',
        pattern: 'plant-1.*',
        rooms: [
          { deviceId: 'plant-1.a', epoch: expect.any(String), offset: 1 },
          { deviceId: 'plant-1.b', epoch: expect.any(String), offset: 1 },
        ],
        denied: [],
      },
    ]);
    expect(m.messages('snapshot')).toHaveLength(1);
    expect(m.messages('telemetry').map((t) => t['payload'])).toEqual([4]);
  });

  it('joins future devices once they are known, many of a turn in one answer', async () => {
    const { rooms, member, publish, settle } = testRooms();
    const m = member();
    await rooms.fleet.subscribe(m, request('p.*', 'q'));
    await settle();
    for (let n = 0; n < 5; n += 1) {
      publish(`p.${n}`, n);
    }
    publish('other', 1);
    await settle();
    publish('p.3', 'later');
    await settle();
    expect(m.messages('subscribed')).toHaveLength(2);
    expect(ids(m)).toEqual(['p.0', 'p.1', 'p.2', 'p.3', 'p.4']);
    expect(m.messages('snapshot').at(-1)?.['devices']).toHaveLength(5);
    expect(m.messages('telemetry').map((t) => t['payload'])).toEqual(['later']);
  });

  it('pages the answer and the snapshot of 30 000 devices, no frame over 256 KiB', async () => {
    const { rooms, member, publish, settle } = testRooms();
    for (let n = 0; n < 30_000; n += 1) {
      publish(`d${n}`, n);
    }
    const m = member();
    await rooms.fleet.subscribe(m, request('*', 'all'));
    await settle();
    expect(ids(m)).toHaveLength(30_000);
    const sizes = m.messages().map((message) => Buffer.byteLength(JSON.stringify(message)));
    expect(Math.max(...sizes)).toBeLessThanOrEqual(256 * 1024);
    const answers = m.messages('subscribed');
    expect(answers.slice(0, -1).every((answer) => answer['more'] === true && answer['id'] === 'all')).toBe(
      true,
    );
    expect(answers.at(-1)?.['more']).toBeUndefined();
  });

  it('matches a new device once per distinct pattern and a known one never, with 1 000 subscriptions', async () => {
    const { rooms, member, publish, settle } = testRooms();
    let matched = 0;
    const pattern = (n: number) => {
      const compiled = new IdPattern(`plant-${n}.*`);
      return {
        source: compiled.source,
        matches: (id: string) => {
          matched += 1;
          return compiled.matches(id);
        },
      };
    };
    const members = Array.from({ length: 1_000 }, () => member());
    for (const [at, m] of members.entries()) {
      await rooms.fleet.subscribe(m, { ...request('x'), pattern: pattern(at % 100) });
    }
    matched = 0;
    publish('plant-7.pump', 1);
    await settle();
    expect(matched).toBe(100);
    publish('plant-7.pump', 2);
    await settle();
    expect(matched).toBe(100);
    expect(rooms.subscriptionCount).toBe(10);
  });

  it('keeps rooms that were also joined by id, or by another pattern, when a pattern is left', async () => {
    const { rooms, member, publish, settle } = testRooms();
    ['a.1', 'a.2', 'a.3'].forEach((id) => publish(id, 1));
    const m = member();
    await rooms.fleet.subscribe(m, request('a.*'));
    await rooms.fleet.subscribe(m, request('*.2'));
    await rooms.subscribe(m, { deviceIds: ['a.1'], denied: [], delivery: EVERY });
    await settle();
    rooms.fleet.unsubscribe(m, 'a.*');
    expect(m.subscriptions.ids().sort()).toEqual(['a.1', 'a.2']);
    rooms.unsubscribe(m, ['a.1', 'a.2']);
    expect(m.subscriptions.ids()).toEqual(['a.2']);
    rooms.fleet.unsubscribe(m, '*.2');
    expect(rooms.roomCount).toBe(0);
    expect(rooms.fleet.patternsOf(m)).toEqual([]);
  });

  it('refuses a pattern that stands for more rooms than allowed, and joins no future device beyond the bound', async () => {
    const { rooms, member, publish, settle } = testRooms();
    ['a.1', 'a.2', 'a.3'].forEach((id) => publish(id, 1));
    const m = member();
    await expect(rooms.fleet.subscribe(m, request('a.*', 'q', 2))).rejects.toMatchObject({
      code: 'too_many_rooms',
    });
    expect(rooms.roomCount).toBe(0);
    await rooms.fleet.subscribe(m, request('b.*', 'q', 2));
    ['b.1', 'b.2', 'b.3'].forEach((id) => publish(id, 1));
    await settle();
    expect(rooms.subscriptionCount).toBe(2);
  });

  it('joins nothing for a connection that goes while it subscribes, or while new devices are announced', async () => {
    const { rooms, member, publish, settle } = testRooms();
    publish('a.1', 1);
    const gone = member();
    const subscribing = rooms.fleet.subscribe(gone, request('a.*', 'q'));
    rooms.leave(gone);
    gone.outbound.close();
    await subscribing;
    const going = member();
    await rooms.fleet.subscribe(going, request('b.*', 'q'));
    publish('b.1', 1);
    await Promise.resolve();
    rooms.leave(going);
    going.outbound.close();
    await settle();
    expect([rooms.roomCount, rooms.subscriptionCount]).toEqual([0, 0]);
    expect(rooms.fleet.patternsOf(gone)).toEqual([]);
  });

  it('leaves nothing behind when the connection goes', async () => {
    const { rooms, member, publish, settle } = testRooms();
    const m = member();
    await rooms.fleet.subscribe(m, request('a.*'));
    publish('a.1', 1);
    await settle();
    rooms.leave(m);
    publish('a.2', 1);
    await settle();
    expect([rooms.roomCount, rooms.subscriptionCount]).toEqual([0, 0]);
  });
});
