import { Interests, subscribeMessage } from './interests.js';
import type { Telemetry } from './messages.js';
import { Positions } from './positions.js';

const publication = (room: { deviceId: string; epoch: string; offset: number }): Telemetry => ({
  type: 'telemetry',
  ...{ ...room, payload: 1, meta: null, serverTs: 1 },
});

describe(Interests.name, () => {
  it('restores devices by their positions and options, then patterns, then leaves their devices to them', () => {
    const interests = new Interests();
    const positions = new Positions();
    interests.add(['a', 'b'], undefined);
    interests.add(['c'], { mode: 'latest' });
    interests.addPattern('p.*', { maxRateHz: 1 });
    const room = (deviceId: string): { deviceId: string; epoch: string; offset: number } => ({
      ...{ deviceId, epoch: 'e', offset: 3 },
    });
    interests.subscribed({ type: 'subscribed', rooms: [room('a')], denied: ['b'] });
    interests.subscribed({ type: 'subscribed', pattern: 'p.*', rooms: [room('p.x'), room('a')], denied: [] });
    ['a', 'p.x'].forEach((deviceId) => positions.telemetry(publication(room(deviceId))));

    expect(interests.restore(positions)).toEqual([
      [
        { type: 'subscribe', deviceIds: ['a'], since: { a: { epoch: 'e', offset: 3 } } },
        { type: 'subscribe', deviceIds: ['c'], delivery: { mode: 'latest' } },
        {
          type: 'subscribe',
          deviceIds: ['p.x'],
          delivery: { maxRateHz: 1 },
          since: { 'p.x': { epoch: 'e', offset: 3 } },
        },
      ],
      [{ type: 'subscribe', pattern: 'p.*', delivery: { maxRateHz: 1 } }],
      [{ type: 'unsubscribe', deviceIds: ['p.x'] }],
    ]);
  });

  // Positions were assigned to a plain object: that of a device named `__proto__` became its prototype, and was never sent.
  it('sends the position of every device, whatever its id', () => {
    const positions = new Positions();
    const ids = ['__proto__', 'constructor', 'toString'];
    ids.forEach((deviceId) => positions.telemetry(publication({ deviceId, epoch: 'e', offset: 7 })));
    const { since } = JSON.parse(JSON.stringify(subscribeMessage(ids, undefined, positions))) as {
      since: object;
    };
    expect(Object.entries(since)).toEqual(ids.map((deviceId) => [deviceId, { epoch: 'e', offset: 7 }]));
  });

  it('leaves devices of a pattern that ends to another one that matches them', () => {
    const interests = new Interests();
    const rooms = ['p.a.x', 'p.b'].map((deviceId) => ({ deviceId, epoch: 'e', offset: 1 }));
    interests.addPattern('p.*', undefined);
    interests.subscribed({ type: 'subscribed', pattern: 'p.*', rooms, denied: [] });
    interests.addPattern('p.*.x', { mode: 'latest' });
    interests.removePattern('p.*');
    expect([interests.has('p.a.x'), interests.has('p.b')]).toEqual([true, false]);
    expect(interests.deliveryOf('p.a.x')).toEqual({ mode: 'latest' });
  });

  it('goes on as before where the server refuses what was asked for', () => {
    const interests = new Interests();
    interests.add(['a'], { maxRateHz: 5 });
    const takeBack = interests.add(['a', 'b'], { maxRateHz: 1_000 });
    takeBack();
    expect(interests.deliveryOf('a')).toEqual({ maxRateHz: 5 });
    expect(interests.has('b')).toBe(false);
    interests.addPattern('*', undefined)();
    expect(interests.restore(new Positions())[1]).toEqual([]);
  });

  it('leaves a device that is not wanted by its id any more to a pattern that covers it', () => {
    const interests = new Interests();
    interests.addPattern('p.*', undefined);
    interests.add(['p.x', 'q'], undefined);
    interests.remove(['p.x', 'q']);
    expect([interests.has('p.x'), interests.isExplicit('p.x'), interests.has('q')]).toEqual([
      true,
      false,
      false,
    ]);
  });

  it('keeps messages under what the server takes', () => {
    const interests = new Interests();
    const positions = new Positions();
    const ids = Array.from({ length: 400 }, (_, at) => `${at}`.padEnd(128, 'x'));
    interests.add(ids, undefined);
    ids.forEach((deviceId) =>
      positions.telemetry(publication({ deviceId, epoch: 'e'.repeat(24), offset: Number.MAX_SAFE_INTEGER })),
    );
    const [messages = []] = interests.restore(positions);
    expect(messages).toHaveLength(3);
    messages.forEach((message) => expect(JSON.stringify(message).length).toBeLessThan(64 * 1024));
  });
});
