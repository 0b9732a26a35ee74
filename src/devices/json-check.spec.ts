import fc from 'fast-check';
import { isUtf8 } from 'node:buffer';
import { MAX_JSON_LEVELS } from '../protocol/json.js';
import { jsonValue } from './json-check.js';

/** The bytes that are taken, or null where they are no JSON. */
function check(bytes: Buffer): string | null {
  const value = jsonValue(bytes, 0, bytes.length);
  return value === 'not_json' ? null : value.toString('latin1');
}

/** Whether both think the same of these bytes; once per example, of which there are thousands. */
const agrees = (bytes: Buffer): boolean => (check(bytes) !== null) === isJson(bytes);

/** What JSON.parse thinks of the same bytes. */
function isJson(bytes: Buffer): boolean {
  if (!isUtf8(bytes)) {
    return false;
  }
  try {
    // latin1, since toString('utf8') would hide a byte order mark.
    JSON.parse(bytes.toString('latin1'));
    return true;
  } catch {
    return false;
  }
}

const SAMPLES = [
  '',
  ' ',
  '\n',
  'null',
  'true',
  'false',
  'nul',
  'nulll',
  'True',
  'undefined',
  'NaN',
  'Infinity',
  '0',
  '-0',
  '-',
  '+1',
  '01',
  '1.',
  '.5',
  '1.5',
  '1e5',
  '1E+5',
  '1e',
  '1e+',
  '-1.25e-7',
  '1 2',
  '0x10',
  '"',
  '""',
  '"a',
  '"\\"',
  '"\\u12"',
  '"\\u12aF"',
  '"\\x41"',
  '"\\uD800"',
  '"\u0000"',
  '"\t"',
  '"\u007f"',
  '"ü€😀"',
  "'a'",
  '[]',
  '[ ]',
  '[',
  ']',
  '[1]',
  '[1,]',
  '[,1]',
  '[1 2]',
  '[1,2,[3,{"a":[]}]]',
  '{}',
  '{ }',
  '{"a"}',
  '{"a":}',
  '{"a":1,}',
  '{"a":1,"a":2}',
  '{a:1}',
  '{"a":1}}',
  '{"a" : [ 1 , 2 ] } ',
  '{"__proto__":null}',
  '{"id":1}',
  '{"data":1}',
  '[}',
  '{]',
  '[{]}',
  '{"a":1]',
  '/**/1',
  '\ufeff1',
  '\u00a01',
  '1\u00a0',
  '\u000b1',
  'truefalse',
  '"a""b"',
  '{"a":1 "b":2}',
  '[true,false,null]',
];

describe(jsonValue.name, () => {
  it.each(SAMPLES)('judges %j as JSON.parse does', (text) => {
    const bytes = Buffer.from(text);
    expect(check(bytes) !== null).toBe(isJson(bytes));
  });

  it('judges any JSON value and any mutation of it as JSON.parse does', () => {
    fc.assert(
      fc.property(
        fc.jsonValue({ maxDepth: 4 }),
        fc.nat(4),
        fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 2 }),
        (value, indent, changes) => {
          const bytes = Buffer.from(JSON.stringify(value, null, indent));
          const before = agrees(bytes);
          for (const [at, byte] of changes) {
            bytes[at % bytes.length] = byte;
          }
          const cut = bytes.subarray(0, (changes[0]?.[0] ?? 0) % (bytes.length + 1));
          return before && agrees(bytes) && agrees(cut);
        },
      ),
      { numRuns: 3_000 },
    );
  });

  it('judges any text made of JSON characters as JSON.parse does', () => {
    const characters = fc.constantFrom(...'{}[],:"\\ue-+.0123456789 \ntrfalsn\u0001\u00ff');
    fc.assert(
      fc.property(fc.array(characters, { maxLength: 12 }), (text) => agrees(Buffer.from(text.join('')))),
      { numRuns: 20_000 },
    );
  });

  it('keeps the bytes and trims white space at the ends only', () => {
    expect(check(Buffer.from(' \r\n\t{ "a" :\n1.50 } \n'))).toBe('{ "a" :\n1.50 }');
  });

  it('looks only between start and end', () => {
    expect(jsonValue(Buffer.from('xx[1]yy'), 2, 5)?.toString()).toBe('[1]');
  });

  it.each([
    ['an overlong form', [0x22, 0xc0, 0x80, 0x22]],
    ['a surrogate', [0x22, 0xed, 0xa0, 0x80, 0x22]],
    ['a cut character', [0x22, 0xe2, 0x82, 0x22]],
    ['a lone continuation byte', [0x22, 0x80, 0x22]],
    ['latin1', [0x22, 0xfc, 0x22]],
  ])('refuses UTF-8 with %s', (_what, bytes) => {
    expect(check(Buffer.from(bytes))).toBeNull();
  });

  // A payload of 15 KB, nested some thousand levels deep, was taken: JSON.stringify of what a dashboard had asked for by `fields` or `aggregate`
  // exhausted the stack, and ended the process. The check lets nothing in that is nested deeper than code may recurse.
  it.each([
    ['lists', '[', ']'],
    ['objects', '{"a":', '}'],
    ['both', '[{"a":', '}]'],
  ])('takes %s up to the bound of nesting, and says of deeper ones what is wrong', (_what, opens, closes) => {
    const nested = (levels: number): Buffer => {
      const times = (levels * 2) / (opens + closes).replace(/[^{}[\]]/g, '').length;
      return Buffer.from(`${opens.repeat(times)}${opens.endsWith(':') ? '1' : ''}${closes.repeat(times)}`);
    };
    const deepest = nested(MAX_JSON_LEVELS);
    expect(jsonValue(deepest, 0, deepest.length)).toEqual(deepest);
    for (const levels of [MAX_JSON_LEVELS + 2, 3_500, 100_000]) {
      const deeper = nested(levels);
      expect(jsonValue(deeper, 0, deeper.length)).toBe('too_deep');
    }
  });

  it('counts the levels that are open, and not the brackets', () => {
    const wide = Buffer.from(`[${'[{}],"[[[[",'.repeat(10_000)}0]`);
    expect(jsonValue(wide, 0, wide.length)).toEqual(wide);
    const oneMore = Buffer.from(`${'['.repeat(MAX_JSON_LEVELS)}[`);
    expect(jsonValue(oneMore, 0, oneMore.length)).toBe('too_deep');
    expect(jsonValue(oneMore, 0, oneMore.length - 1)).toBe('not_json');
  });
});
