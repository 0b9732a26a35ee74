import { Interests } from './interests.js';
import { Positions } from './positions.js';

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
    ['a', 'p.x'].forEach((deviceId) => positions.subscribed(room(deviceId)));

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

  it('keeps messages under what the server takes', () => {
    const interests = new Interests();
    const positions = new Positions();
    const ids = Array.from({ length: 400 }, (_, at) => `${at}`.padEnd(128, 'x'));
    interests.add(ids, undefined);
    ids.forEach((deviceId) =>
      positions.subscribed({ deviceId, epoch: 'e'.repeat(24), offset: Number.MAX_SAFE_INTEGER }),
    );
    const [messages = []] = interests.restore(positions);
    expect(messages).toHaveLength(3);
    messages.forEach((message) => expect(JSON.stringify(message).length).toBeLessThan(64 * 1024));
  });
});
