import fc from 'fast-check';
import { MemberRooms, type Subscription } from './room.js';

const subscriptionOf = (deviceId: string): Subscription =>
  ({ room: { deviceId }, seat: -1 }) as unknown as Subscription;

/** Joins and leaves of up to forty rooms: over and under the number up to which there is no map. */
const steps = fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 39 })), { maxLength: 200 });

describe(MemberRooms.name, () => {
  it('holds what a map would hold, in its order', () => {
    fc.assert(
      fc.property(steps, (all) => {
        const rooms = new MemberRooms();
        const model = new Map<string, Subscription>();
        for (const [joins, number] of all) {
          const deviceId = `pump-${number}`;
          const known = model.get(deviceId);
          expect(rooms.get(deviceId)).toBe(known);
          expect(rooms.of(known?.room ?? subscriptionOf(deviceId).room)).toBe(known);
          if (joins && known === undefined) {
            const subscription = subscriptionOf(deviceId);
            rooms.add(subscription);
            model.set(deviceId, subscription);
          } else if (!joins && known !== undefined) {
            rooms.delete(known);
            model.delete(deviceId);
          }
          expect(rooms.size).toBe(model.size);
          expect(rooms.has(deviceId)).toBe(model.has(deviceId));
        }
        expect(rooms.ids()).toEqual([...model.keys()]);
        expect(rooms.all()).toEqual([...model.values()]);
      }),
    );
  });

  it('hands out a list that later changes leave alone', () => {
    const rooms = new MemberRooms();
    rooms.add(subscriptionOf('pump-1'));
    const before = rooms.all();
    before.forEach((subscription) => rooms.delete(subscription));
    expect([before.length, rooms.size]).toEqual([1, 0]);
  });
});
