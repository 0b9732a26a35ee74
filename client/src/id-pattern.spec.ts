import fc from 'fast-check';
import { IdPattern } from '../../src/protocol/id-pattern.js';
import { matches, mayOverlap, normalPattern } from './id-pattern.js';

const word = (characters: string, maxLength: number) =>
  fc.array(fc.constantFrom(...characters), { maxLength }).map((parts) => parts.join(''));

describe(mayOverlap.name, () => {
  it('holds for every pattern and each device that the server finds it to match', () => {
    fc.assert(
      fc.property(word('ab*', 10), word('ab', 12), (pattern, id) => {
        fc.pre(pattern.includes('*') ? new IdPattern(pattern).matches(id) : pattern === id);
        expect(mayOverlap(pattern, id) && mayOverlap(id, pattern)).toBe(true);
      }),
    );
  });

  it('does not hold where the beginnings exclude each other', () => {
    expect([mayOverlap('plant-1.*', 'plant-2.*'), mayOverlap('plant-1.*', 'plant-2.a')]).toEqual([
      false,
      false,
    ]);
    expect(mayOverlap('plant-1*', 'plant-1.a*')).toBe(true);
  });
});

describe(matches.name, () => {
  it('finds what the server finds', () => {
    fc.assert(
      fc.property(word('ab*', 10), word('ab', 12), (text, id) => {
        const pattern = normalPattern(`${text}*`);
        expect(matches(pattern, id)).toBe(new IdPattern(pattern).matches(id));
      }),
    );
  });

  it('takes one pass, whatever the text', () => {
    expect(matches(`${'*a'.repeat(60)}*b`, 'a'.repeat(128))).toBe(false);
  });
});

describe(normalPattern.name, () => {
  it('makes runs of stars one', () => {
    expect(normalPattern('a**b***')).toBe('a*b*');
  });
});
