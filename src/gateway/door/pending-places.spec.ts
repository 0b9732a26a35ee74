import { PendingPlaces } from './pending-places.js';

describe(PendingPlaces.name, () => {
  function crowd(maxPlaces: number) {
    const places = new PendingPlaces(maxPlaces);
    const gaveWay: string[] = [];
    const take = (address: string, name: string) => places.take(address, () => gaveWay.push(name));
    return { places, gaveWay, take };
  }

  it('gives one address all places while no other comes', () => {
    const { places, gaveWay, take } = crowd(3);
    for (const name of ['1', '2', '3']) {
      expect(places.hasRoomFor('a')).toBe(true);
      take('a', name);
    }
    expect(places.hasRoomFor('a')).toBe(false);
    expect([places.size, gaveWay]).toEqual([3, []]);
  });

  it('has the oldest of the address with most give way to one of an address with fewer', () => {
    const { places, gaveWay, take } = crowd(4);
    take('b', 'b1');
    ['a1', 'a2', 'a3'].forEach((name) => take('a', name));
    expect(places.hasRoomFor('c')).toBe(true);
    take('c', 'c1');
    expect([places.size, gaveWay]).toEqual([4, ['a1']]);
  });

  it('refuses an address whose share would be the largest, also when shares are equal', () => {
    const { places, take } = crowd(4);
    ['a1', 'a2'].forEach((name) => take('a', name));
    ['b1', 'b2'].forEach((name) => take('b', name));
    expect(['a', 'b', 'c'].map((address) => places.hasRoomFor(address))).toEqual([false, false, true]);
  });

  it('refuses a new address too when each has one place', () => {
    const { places, take } = crowd(2);
    take('a', 'a1');
    take('b', 'b1');
    expect(places.hasRoomFor('c')).toBe(false);
  });

  it('frees a place once, however often its holder leaves', () => {
    const { places, gaveWay, take } = crowd(2);
    const first = take('a', 'a1');
    take('a', 'a2');
    const last = take('b', 'b1');
    expect(gaveWay).toEqual(['a1']);
    places.leave(first);
    expect(places.size).toBe(2);
    places.leave(last);
    places.leave(last);
    expect(places.size).toBe(1);
  });
});
