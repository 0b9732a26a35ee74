import fc from 'fast-check';
import { Audience, type Subscription } from './room.js';

const ROOM_FOR = 40;
const steps = fc.array(
  fc.tuple(fc.constantFrom('add', 'remove', 'goLive', 'hold'), fc.integer({ min: 0, max: ROOM_FOR - 1 })),
  { maxLength: 300 },
);

describe(Audience.name, () => {
  it('holds what two sets would hold, those that are live first, and knows the place of each', () => {
    fc.assert(
      fc.property(steps, (all) => {
        const audience = new Audience();
        const subscriptions = Array.from({ length: ROOM_FOR }, () => ({ seat: -1 }) as Subscription);
        const members = new Set<Subscription>();
        const live = new Set<Subscription>();
        for (const [step, number] of all) {
          const subscription = subscriptions[number] as Subscription;
          if (step === 'add' && !members.has(subscription)) {
            audience.add(subscription);
            members.add(subscription);
          } else if (step === 'remove') {
            audience.remove(subscription);
            members.delete(subscription);
            live.delete(subscription);
          } else if (step === 'goLive' && members.has(subscription)) {
            audience.goLive(subscription);
            live.add(subscription);
          } else if (step === 'hold') {
            audience.hold(subscription);
            live.delete(subscription);
          }
          expect([audience.size, audience.live]).toEqual([members.size, live.size]);
        }
        expect(new Set(audience.members)).toEqual(members);
        expect(new Set(audience.members.slice(0, audience.live))).toEqual(live);
        audience.members.forEach((one, index) => expect(one.seat).toBe(index));
        subscriptions.forEach((one) => expect(one.seat >= 0).toBe(members.has(one)));
      }),
    );
  });
});
