import fc from 'fast-check';
import { type Expiring, ExpiryHeap } from './deadlines.js';

const entry = (expiresAt: number): Expiring => ({ expiresAt, expiryIndex: -1 });

describe(ExpiryHeap.name, () => {
  it('gives back what has expired, first things first, whatever came, changed and left', () => {
    const steps = fc.array(fc.tuple(fc.constantFrom('add', 'change', 'remove'), fc.nat(50), fc.nat(1_000)));
    fc.assert(
      fc.property(steps, (list) => {
        const heap = new ExpiryHeap<Expiring>();
        const entries = Array.from({ length: 51 }, () => entry(0));
        const inside = new Set<Expiring>();
        for (const [step, which, at] of list) {
          const one = entries[which] as Expiring;
          if (step === 'remove') {
            heap.remove(one);
            inside.delete(one);
          } else {
            one.expiresAt = at;
            heap.add(one);
            inside.add(one);
          }
        }
        expect(heap.size).toBe(inside.size);
        const taken: number[] = [];
        for (let next = heap.takeExpired(500); next !== null; next = heap.takeExpired(500)) {
          expect(next.expiryIndex).toBe(-1);
          taken.push(next.expiresAt);
        }
        const expired = [...inside].map(({ expiresAt }) => expiresAt).filter((at) => at <= 500);
        expect(taken).toEqual(expired.sort((one, other) => one - other));
      }),
    );
  });
});
