import fc from 'fast-check';
import { rawMember } from './raw-member.js';

describe(rawMember.name, () => {
  it.each([
    ['{}', undefined],
    ['{"a":1}', undefined],
    ['{"v":1.0}', '1.0'],
    [' { "v" : [ 1 , "]" ] , "a" : { } } ', '[ 1 , "]" ]'],
    ['{"a":{"v":1},"b":["v",{"v":2}],"v":3}', '3'],
    ['{"a":"\\"v\\":1","v":2}', '2'],
    ['{"v":1,"v":{"x":"}"}}', '{"x":"}"}'],
    ['{"\\u0076":"\\\\"}', '"\\\\"'],
    ['{"a":"{[","v":null}', 'null'],
    ['{"a":"v","b":1}', undefined],
  ])('finds v in %s', (text, raw) => {
    expect(rawMember(text, 'v')).toBe(raw);
  });

  it('finds the member that JSON.parse finds, in any JSON', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), fc.jsonValue()),
        fc.jsonValue(),
        fc.nat(2),
        (rest, value, indent) => {
          const text = JSON.stringify({ ...rest, command: value, z: rest }, null, indent);
          const raw = rawMember(text, 'command');
          expect(JSON.parse(raw ?? '')).toEqual(JSON.parse(JSON.stringify(value)));
        },
      ),
    );
  });
});
