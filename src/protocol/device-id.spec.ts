import { NON_CHARACTERS } from '../../test/support/non-characters.js';
import { isDeviceId } from './device-id.js';
import { normalPattern } from './id-pattern.js';

describe(isDeviceId.name, () => {
  it.each([
    'a',
    ' ',
    '*',
    'a$',
    '__proto__',
    'Größe 😀',
    'x'.repeat(128),
    '\ufdcf\ufdf0\ufeff\ufffd',
    '\u{1fffd}',
  ])('takes %j', (id) => {
    expect(isDeviceId(id)).toBe(true);
  });

  it.each([
    ...['', '$SYS', 'a/b', '+', '#', 'a\u0000', 'a\u0085', '\ud83d', '\ude00', 'x'.repeat(129)],
    ...[1, null, undefined, ['a']],
  ])('refuses %j', (id) => {
    expect(isDeviceId(id)).toBe(false);
  });

  it('refuses each of the 66 Unicode non-characters, in any place, in ids as in patterns', () => {
    expect(NON_CHARACTERS).toHaveLength(66);
    for (const character of NON_CHARACTERS) {
      for (const id of [character, `a${character}`, `${character}a`]) {
        expect(isDeviceId(id)).toBe(false);
        expect([normalPattern(`${id}*`), normalPattern(`*${id}`)]).toEqual([undefined, undefined]);
      }
    }
  });
});
