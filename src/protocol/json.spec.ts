import fc from 'fast-check';
import { MAX_JSON_LEVELS, tooDeepAt } from './json.js';

function levelsOf(value: unknown): number {
  return typeof value === 'object' && value !== null
    ? 1 + Math.max(0, ...Object.values(value).map(levelsOf))
    : 0;
}

describe(tooDeepAt.name, () => {
  it('agrees with a walk through the parsed value', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), fc.nat(4), fc.nat(6), (value, indent, levels) => {
        // Longer than what is too short to be deep.
        const text = JSON.stringify(value, null, indent) + ' '.repeat(20);
        expect(tooDeepAt(text, levels) >= 0).toBe(levelsOf(value) > levels);
      }),
      { numRuns: 2_000 },
    );
  });

  it('points to the bracket that opens a level too many', () => {
    const text = `${'[{"a":'.repeat(MAX_JSON_LEVELS / 2)}{"b":1}${'}]'.repeat(MAX_JSON_LEVELS / 2)}`;
    expect(text.slice(tooDeepAt(text))).toMatch(/^{"b":1}}]/);
    expect(tooDeepAt(text, MAX_JSON_LEVELS + 1)).toBe(-1);
  });

  it('takes brackets in texts for what they are', () => {
    expect(tooDeepAt(JSON.stringify(['["\\', '['.repeat(1_000), '\\"[', '{'.repeat(1_000)]))).toBe(-1);
  });

  it('sees what a parsed object no longer has', () => {
    expect(tooDeepAt(`{"a":${'['.repeat(70)}${']'.repeat(70)},"a":1}`)).toBeGreaterThan(0);
  });
});
