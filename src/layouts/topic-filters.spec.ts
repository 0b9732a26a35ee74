import fc from 'fast-check';
import { fits } from '../mqtt/topic-tree.js';
import { covers, overlap, partialOverlap, reduced } from './topic-filters.js';
import { filterLevels } from './compile/topic-template.js';

const word = fc.constantFrom('a', 'b', '', '$s');
const topic = fc
  .array(word, { minLength: 1, maxLength: 4 })
  .map((levels) => levels.join('/'))
  .filter((text) => text !== '');
const filter = fc
  .tuple(fc.array(fc.oneof(word, fc.constant('+')), { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([levels, tail]) => [...levels, ...(tail ? ['#'] : [])].join('/'))
  .filter((text) => text !== '');

/** As a broker does it. */
function matches(pattern: string, text: string): boolean {
  const hidden = text.startsWith('$') && /^[+#]/.test(pattern);
  return !hidden && fits(filterLevels(pattern), text.split('/'));
}

describe('sets of filters', () => {
  it('an inner filter matches nothing that the outer one does not', () => {
    fc.assert(
      fc.property(filter, filter, topic, (outer, inner, text) => {
        if (covers(outer, inner) && matches(inner, text)) {
          expect(matches(outer, text)).toBe(true);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it('two filters match one topic where an overlap is told, and none where it is not', () => {
    fc.assert(
      fc.property(filter, filter, topic, (one, two, text) => {
        const common = overlap(one, two);
        if (common === undefined) {
          expect(matches(one, text) && matches(two, text)).toBe(false);
        } else {
          expect([matches(one, common), matches(two, common)]).toEqual([true, true]);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it('what is subscribed matches the same topics as before, each by one filter, or the overlap is told', () => {
    fc.assert(
      fc.property(fc.array(filter, { minLength: 1, maxLength: 6 }), topic, (filters, text) => {
        const kept = reduced(filters.map((one) => ({ filter: one, qos: 0 as const })));
        const hits = kept.filter((one) => matches(one.filter, text)).length;
        expect(hits > 0).toBe(filters.some((one) => matches(one, text)));
        if (partialOverlap(kept.map((one) => one.filter)) === undefined) {
          expect(hits).toBeLessThanOrEqual(1);
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it('keep the higher quality of service of filters that are joined', () => {
    const low = { filter: 'a/b', qos: 0 } as const;
    const high = { filter: 'a/+', qos: 1 } as const;
    expect(reduced([low, high])).toEqual([high]);
    expect(
      reduced([
        { ...high, qos: 0 },
        { ...low, qos: 1 },
      ]),
    ).toEqual([high]);
  });
});
