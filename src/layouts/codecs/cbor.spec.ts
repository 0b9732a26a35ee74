import { encode, Tag } from 'cbor2';
import fc from 'fast-check';
import { cborCodec, MAX_CBOR_ITEMS } from './cbor.js';
import { CodecError } from './codec.js';

const decode = (bytes: Uint8Array): string => String(cborCodec.decode(Buffer.from(bytes), 't', {}));
const hex = (text: string): string => decode(Buffer.from(text, 'hex'));

describe('CBOR', () => {
  it('becomes the JSON that it means', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
        fc.pre(!JSON.stringify(value).includes('__proto__'));
        expect(JSON.parse(decode(encode(value)))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it.each([
    ['1bffffffffffffffff', '18446744073709551615'],
    ['3bffffffffffffffff', '-18446744073709551616'],
    ['c249010000000000000000', '18446744073709551616'],
    ['c349010000000000000000', '-18446744073709551617'],
    ['f97e00', 'null'],
    ['f97c00', 'null'],
    ['f7', 'null'],
    ['fa3f9d70a4', '1.23'],
    ['43010203', '"AQID"'],
    ['5f42010243030405ff', '"AQIDBAU="'],
    ['7f657374726561646d696e67ff', '"streaming"'],
    ['9f018202039f0405ffff', '[1,[2,3],[4,5]]'],
    ['bf61610161629f0203ffff', '{"a":1,"b":[2,3]}'],
    ['a201022004', '{"1":2,"-1":4}'],
    ['a1695f5f70726f746f5f5f01', '{"__proto__":1}'],
  ])('%s is %s', (bytes, json) => {
    expect(hex(bytes)).toBe(json);
  });

  it('keeps the content of tags and constructs nothing by them', () => {
    expect(
      decode(encode({ at: new Tag(1, 1363896240), re: new Tag(35, '(a+)+$'), set: new Tag(258, [1, 2]) })),
    ).toBe('{"at":1363896240,"re":"(a+)+$","set":[1,2]}');
  });

  it.each([
    ['nothing', ''],
    ['two values', '0101'],
    ['a text that is cut', '65616263'],
    ['text that is no UTF-8', '61ff'],
    ['an array that says it is larger than all memory', '9b7fffffffffffffff01'],
    ['a text that says so', '7b7fffffffffffffff61'],
    ['an end without a beginning', 'ff'],
    ['a break in an array of two', '8201ff'],
    ['a key twice', 'a2616101616102'],
    ['a number and a text as one key', 'a2010161310 2'.replace(' ', '')],
    ['a key that is an array', 'a1810102'],
    ['a simple value without a meaning', 'f820'],
    ['parts of another kind', '7f41ff61ff'],
    ['a big integer of text', 'c26161'],
    ['a big integer of a thousand digits', `c25901f4${'ff'.repeat(500)}`],
  ])('refuses %s', (_what, bytes) => {
    expect(() => hex(bytes)).toThrow(CodecError);
  });

  it('refuses what is nested too deep, before it is entered', () => {
    expect(() => hex('81'.repeat(64) + '00')).not.toThrow();
    expect(() => hex('81'.repeat(65) + '00')).toThrow(CodecError);
    expect(() => hex('81'.repeat(200_000))).toThrow(CodecError);
    expect(() => hex('d8ff'.repeat(100_000) + '00')).toThrow(CodecError);
  });

  it('refuses more values than a message may have', () => {
    const array = (length: number): Uint8Array => encode(new Array(length).fill(0));
    expect(decode(array(MAX_CBOR_ITEMS - 1)).length).toBe(2 * MAX_CBOR_ITEMS - 1);
    expect(() => decode(array(MAX_CBOR_ITEMS))).toThrow('too many');
    expect(() => hex(`7f${'60'.repeat(MAX_CBOR_ITEMS)}ff`)).toThrow('too many');
  });

  it('throws a CodecError and nothing else, and answers JSON, whatever the bytes are', () => {
    const real = encode({
      t: 21.5,
      n: 2n ** 70n,
      list: [1, null, { a: 'x' }],
      bytes: Uint8Array.of(1, 2),
      at: new Tag(0, 'x'),
    });
    const check = (bytes: Uint8Array): void => {
      try {
        JSON.parse(decode(bytes));
      } catch (error) {
        expect(error).toBeInstanceOf(CodecError);
      }
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), check), { numRuns: 2_000 });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(real.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (edits) => {
          const bytes = Uint8Array.from(real);
          edits.forEach(([at, byte]) => (bytes[at] = byte));
          check(bytes);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});
