import { jest } from '@jest/globals';
import fc from 'fast-check';
import { IdPattern, IdPatternSet, normalPattern } from './id-pattern.js';

/** The textbook definition, slow and obviously right. */
function matchesByDefinition(pattern: string, text: string): boolean {
  if (pattern === '') {
    return text === '';
  }
  if (pattern[0] === '*') {
    return (
      matchesByDefinition(pattern.slice(1), text) ||
      (text !== '' && matchesByDefinition(pattern, text.slice(1)))
    );
  }
  return text !== '' && text[0] === pattern[0] && matchesByDefinition(pattern.slice(1), text.slice(1));
}

/** Every text over the alphabet up to a length. */
function* texts(alphabet: string, maxLength: number): Generator<string> {
  let layer = [''];
  for (let length = 0; length <= maxLength; length++) {
    yield* layer;
    layer = layer.flatMap((text) => [...alphabet].map((character) => text + character));
  }
}

const word = (characters: string, maxLength: number) =>
  fc.array(fc.constantFrom(...characters), { maxLength }).map((parts) => parts.join(''));
const pattern = (maxLength: number) =>
  word('ab*', maxLength)
    .filter((text) => text.includes('*'))
    .map((text) => text.replace(/\*+/g, '*'));

describe(normalPattern.name, () => {
  it.each([
    ['plant-7.*', 'plant-7.*'],
    ['***', '*'],
    ['a**b***', 'a*b*'],
    ['*$', '*$'],
    ['__proto__*', '__proto__*'],
    ['日本*🚀', '日本*🚀'],
    [`${'x'.repeat(128)}*`, `${'x'.repeat(128)}*`],
    ['a*'.repeat(128), 'a*'.repeat(128)],
  ])('keeps %j', (text, normal) => {
    expect(normalPattern(text)).toBe(normal);
  });

  it.each([
    '',
    'exact',
    '$SYS*',
    'a/*',
    '+*',
    '#*',
    '*\u0000',
    '*\n',
    '*\u0085',
    `${'x'.repeat(129)}*`,
    '\ud83d*',
    '*\uffff',
  ])('refuses %j, which matches no device id', (text) => {
    expect(normalPattern(text)).toBeUndefined();
  });
});

describe(IdPattern.name, () => {
  it('matches what the definition of * matches', () => {
    fc.assert(
      fc.property(pattern(7), word('abc', 9), (source, text) => {
        expect(new IdPattern(source).matches(text)).toBe(matchesByDefinition(source, text));
      }),
      { numRuns: 3_000 },
    );
  });

  it('does not let prefix and suffix share characters', () => {
    expect(new IdPattern('ab*ba').matches('aba')).toBe(false);
    expect(new IdPattern('ab*ba').matches('abba')).toBe(true);
  });

  it('needs steps in proportion to the text for patterns that make a backtracking matcher explode', () => {
    const evil = new IdPattern(`${'*a'.repeat(100)}*b`);
    const text = 'a'.repeat(128);
    const indexOf = jest.spyOn(String.prototype, 'indexOf');
    try {
      expect(evil.matches(`${text}c`)).toBe(false);
      expect(evil.matches(`${text}b`)).toBe(true);
      expect(indexOf.mock.calls.length).toBeLessThanOrEqual(2 * 100);
    } finally {
      indexOf.mockRestore();
    }
  });
});

describe(IdPatternSet.name, () => {
  it('matches an id exactly when one of its patterns does', () => {
    fc.assert(
      fc.property(fc.array(pattern(5), { maxLength: 6 }), word('abc', 7), (sources, text) => {
        const expected = text !== '' && sources.some((source) => matchesByDefinition(source, text));
        expect(new IdPatternSet(sources).matchesId(text)).toBe(expected);
      }),
      { numRuns: 2_000 },
    );
  });

  it('covers a pattern exactly when no text is matched by it alone', () => {
    // `c` is in no pattern, so the shortest text that only the inner one matches is no longer than the inner one itself.
    fc.assert(
      fc.property(pattern(5), pattern(5), (outer, inner) => {
        const counterexample = [...texts('abc', inner.length)].find(
          (text) => matchesByDefinition(inner, text) && !matchesByDefinition(outer, text),
        );
        expect(new IdPatternSet([outer]).covers(inner)).toBe(counterexample === undefined);
      }),
      { numRuns: 1_500 },
    );
  });

  it('never covers a pattern that matches something outside all of its patterns together', () => {
    fc.assert(
      fc.property(
        fc.array(pattern(4), { maxLength: 4 }),
        pattern(4),
        word('abc', 6),
        (outers, inner, text) => {
          fc.pre(
            matchesByDefinition(inner, text) && !outers.some((outer) => matchesByDefinition(outer, text)),
          );
          expect(new IdPatternSet(outers).covers(inner)).toBe(false);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('asks few of ten thousand patterns', () => {
    const set = new IdPatternSet(Array.from({ length: 10_000 }, (_, i) => `plant-${i}.*`));
    const matches = jest.spyOn(IdPattern.prototype, 'matches');
    try {
      expect(set.matchesId('plant-7.pump')).toBe(true);
      expect(set.matchesId('plant-77777.pump')).toBe(false);
      expect(matches.mock.calls.length).toBeLessThanOrEqual(2);
    } finally {
      matches.mockRestore();
    }
  });
});
