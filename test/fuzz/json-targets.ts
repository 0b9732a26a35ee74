import fc from 'fast-check';
import { isUtf8 } from 'node:buffer';
import { Aggregate } from '../../src/delivery/aggregate.js';
import { FieldSelection } from '../../src/delivery/field-selection.js';
import { jsonValue } from '../../src/devices/json-check.js';
import { HotCounters } from '../../src/metrics/hot-counters.js';
import { MAX_JSON_LEVELS, tooDeepAt } from '../../src/protocol/json.js';
import { rawMember } from '../../src/protocol/raw-member.js';
import { mutated, mutations, type Target, target, timed } from './target.js';

/** JSON texts as people and machines write them: white space, escapes, names that are there twice. */
export const jsonText: fc.Arbitrary<string> = fc.oneof(
  { weight: 4, arbitrary: fc.json({ maxDepth: 5, noUnicodeString: false }) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.jsonValue({ maxDepth: 4, stringUnit: 'binary' }), fc.nat(3))
      .map(([value, indent]) => JSON.stringify(value, null, indent)),
  },
  {
    weight: 2,
    arbitrary: fc
      .array(fc.tuple(fc.constantFrom('a', 'command', '\\u0061', '__proto__', ''), fc.json({ maxDepth: 2 })))
      .map((all) => `{${all.map(([name, value]) => ` "${name}" :${value}\n`).join(',')}}`),
  },
  {
    weight: 2,
    arbitrary: fc
      .array(fc.constantFrom('[', '{"a":', '[1,', '{"b":2,"c":', ' ', '[[[[[[[[[[[[[[['), { maxLength: 90 })
      .map((openers) => closed(openers.join(''))),
  },
  {
    weight: 2,
    arbitrary: fc
      .array(
        fc.constantFrom(
          '"',
          '\\',
          '{',
          '}',
          '[',
          ']',
          ',',
          ':',
          '1',
          '-',
          '0',
          '.',
          'e',
          'true',
          'null',
          ' ',
          'é',
          '\\u12',
          '"a"',
        ),
        { maxLength: 30 },
      )
      .map((tokens) => tokens.join('')),
  },
);

function closed(opened: string): string {
  const closers = [...opened].flatMap((character) =>
    character === '[' ? [']'] : character === '{' ? ['}'] : [],
  );
  return `${opened}1${closers.reverse().join('')}`;
}

const parsed = (text: string): { value: unknown } | null => {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return null;
  }
};

/** Told without recursion, and from the value: the code under test looks at the text. */
function levelsOf(value: unknown): number {
  let levels = 0;
  let layer = [value];
  for (;;) {
    const containers = layer.filter((each) => typeof each === 'object' && each !== null);
    if (containers.length === 0) {
      return levels;
    }
    levels += 1;
    layer = containers.flatMap((each) => Object.values(each));
  }
}

const hasTwice = (text: string): boolean => /"(?:[^"\\]|\\.)*"\s*:/.test(text);

/** Text of up to 128 KiB that is one piece again and again, and may be cut off anywhere. */
const longText = fc
  .tuple(
    fc.array(
      fc.constantFrom('[', '{"a":', '"a', '\\\\', '\\"', ',', '1', ' ', ']', '}', '{"a":1},', '"a":"b",'),
      { minLength: 1, maxLength: 3 },
    ),
    fc.integer({ min: 1, max: 128 }),
    fc.constantFrom('', '{', '[', '"', '{"a":"'),
  )
  .map(([pieces, kib, opener]) => {
    const piece = pieces.join('');
    return opener + piece.repeat(Math.ceil((kib * 1024) / piece.length));
  });

export const jsonTargets: Target[] = [
  target('time grows with the size of a text and no faster', longText, (text) => {
    const bytes = Buffer.from(text);
    timed(bytes.length, () => jsonValue(bytes, 0, bytes.length));
    timed(bytes.length, () => tooDeepAt(text));
    if (parsed(text) !== null) {
      timed(bytes.length, () => rawMember(text, 'a'));
    }
  }),
  target(
    'the check of device JSON agrees with JSON.parse, wherever the bytes lie',
    fc.tuple(jsonText, mutations, fc.constantFrom('', ' ', '\n\t', '\ufeff'), fc.nat(9)),
    ([text, damage, around, margin]) => {
      const bytes = mutated(Buffer.from(around + text + around), damage);
      const padded = Buffer.concat([Buffer.alloc(margin, '['), bytes, Buffer.alloc(margin, ']')]);
      const found = timed(bytes.length, () => jsonValue(padded, margin, margin + bytes.length));
      // A text decoder would hide a byte order mark, and characters that are none.
      const good = isUtf8(bytes) ? parsed(bytes.toString('latin1')) : null;
      if (good === null) {
        expect(typeof found).toBe('string');
      } else if (levelsOf(good.value) > MAX_JSON_LEVELS) {
        expect(found).toBe('too_deep');
      } else if (typeof found === 'string') {
        // Only depth in what a later member of the same name hides may still be against it.
        expect([found, hasTwice(bytes.toString())]).toEqual(['too_deep', true]);
      } else {
        expect(found.toString('latin1')).toBe(
          bytes.toString('latin1').replace(/^[ \t\n\r]+|[ \t\n\r]+$/g, ''),
        );
      }
    },
  ),
  target('the depth of a text is that of its value', fc.tuple(jsonText, fc.nat(70)), ([text, levels]) => {
    const good = parsed(text);
    if (good !== null) {
      const at = timed(text.length, () => tooDeepAt(text, levels));
      if (levelsOf(good.value) > levels) {
        expect('[{').toContain(text[at]);
      }
      expect(at).toBeLessThan(text.length);
      // Deeper text than value: only where a name is there twice.
      expect(at < 0 || levelsOf(good.value) > levels || hasTwice(text)).toBe(true);
    }
  }),
  target(
    'the text of a member is the text of what JSON.parse finds',
    fc.tuple(jsonText, fc.constantFrom('a', 'command', '__proto__', '')),
    ([text, name]) => {
      const good = parsed(text);
      if (
        good !== null &&
        typeof good.value === 'object' &&
        good.value !== null &&
        !Array.isArray(good.value)
      ) {
        const raw = timed(text.length, () => rawMember(text, name));
        const has = Object.hasOwn(good.value, name);
        expect(raw !== undefined).toBe(has);
        if (raw !== undefined) {
          expect(JSON.parse(raw)).toEqual((good.value as Record<string, unknown>)[name]);
          expect(raw).toBe(raw.trim());
        }
      }
    },
  ),
  target(
    'fields select what a reader of the documents would, from any payload',
    fc.tuple(
      fc.jsonValue({ maxDepth: 4, stringUnit: 'binary' }),
      fc.array(
        fc.array(fc.constantFrom('a', 'b', '', '__proto__', 'constructor'), { minLength: 1, maxLength: 4 }),
        {
          minLength: 1,
          maxLength: 4,
        },
      ),
    ),
    ([value, paths]) => {
      const selected = new FieldSelection(paths.map((path) => path.join('.'))).select(value);
      const text = JSON.stringify(selected);
      expect(text === undefined || parsed(text) !== null).toBe(true);
      expect(contains(value, selected)).toBe(true);
      expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(PROTOTYPE_NAMES);
    },
  ),
  target(
    'an aggregate of any payloads is JSON, and summarises numbers',
    fc.array(fc.jsonValue({ maxDepth: 4, stringUnit: 'binary' }), { minLength: 1, maxLength: 5 }),
    (values) => {
      const aggregate = new Aggregate(new HotCounters());
      values.forEach((value, index) => aggregate.add(value, index));
      const result = JSON.parse(aggregate.payload().toString()) as unknown;
      const last = values.at(-1);
      if (typeof last === 'number') {
        const numbers = values.filter((value) => typeof value === 'number');
        expect(result).toMatchObject({
          min: Math.min(...numbers) + 0,
          last: last + 0,
          count: numbers.length,
        });
      } else if (typeof last !== 'object' || last === null || Array.isArray(last)) {
        expect(result).toEqual(JSON.parse(JSON.stringify(last)));
      } else {
        expect(Object.keys(result as object)).toEqual(expect.arrayContaining(Object.keys(last)));
      }
    },
  ),
];

const PROTOTYPE_NAMES = Object.getOwnPropertyNames(Object.prototype);

/** Whether every member of `part` is in `whole` at the same place. */
function contains(whole: unknown, part: unknown): boolean {
  if (part === undefined) {
    return true;
  }
  if (typeof part !== 'object' || part === null || Array.isArray(part)) {
    return JSON.stringify(whole) === JSON.stringify(part);
  }
  return Object.entries(part).every(
    ([name, value]) =>
      typeof whole === 'object' &&
      whole !== null &&
      Object.hasOwn(whole, name) &&
      contains((whole as Record<string, unknown>)[name], value),
  );
}
