import fc from 'fast-check';
import { Grants } from './grants.js';

describe(Grants.name, () => {
  it('grants reading and commands for exact ids when nothing else is said', () => {
    const grants = new Grants(['pump-1', 'pump-2', 'pump-1']);
    expect(grants.exactIds).toEqual(['pump-1', 'pump-2']);
    expect(grants.canRead('pump-1')).toBe(true);
    expect(grants.canCommand('pump-2')).toBe(true);
    expect(grants.canRead('pump-3')).toBe(false);
    expect(grants.canRead('pump')).toBe(false);
  });

  it('does not expand patterns and does not take them for ids', () => {
    const grants = new Grants(['plant-7.*', '*-b', 'x']);
    expect(grants.exactIds).toEqual(['x']);
    expect(grants.patterns).toEqual(['plant-7.*', '*-b']);
    expect(grants.canRead('plant-7.pump')).toBe(true);
    expect(grants.canRead('plant-7.')).toBe(true);
    expect(grants.canRead('plant-7')).toBe(false);
    expect(grants.canRead('plant-70.pump')).toBe(false);
    expect(grants.canCommand('a-b')).toBe(true);
    expect(grants.canRead('a-bc')).toBe(false);
  });

  it('grants every legal id and no illegal one by *', () => {
    const grants = new Grants(['*']);
    for (const id of ['a', '__proto__', 'constructor', 'a*b', '日本', '🚀', ' ', 'x'.repeat(128), 'a$b']) {
      expect(grants.canRead(id)).toBe(true);
    }
    for (const id of ['', '$SYS', 'a/b', '+', '#', 'a\u0000', 'a\nb', '\ud83d', '\uffff', 'x'.repeat(129)]) {
      expect(grants.canRead(id)).toBe(false);
      expect(grants.canCommand(id)).toBe(false);
    }
  });

  it('grants nothing by entries that are no legal id or pattern', () => {
    const grants = new Grants([
      '',
      '$SYS',
      'a/b',
      'a/*',
      '+',
      '#',
      'x'.repeat(129),
      '$*',
      '*/',
      '\n*',
      '\ud800',
      'a\ufdd0',
      '\u{1fffe}*',
    ]);
    expect(grants.exactIds).toEqual([]);
    expect(grants.patterns).toEqual([]);
    for (const id of ['a', 'a/b', '$SYS', '+', '#', 'x'.repeat(129), '$', '\ud800', 'a\ufdd0', '\u{1fffe}']) {
      expect(grants.canRead(id)).toBe(false);
    }
  });

  it.each([
    [['read', 'command'], true, true],
    [['read'], true, false],
    [['command'], false, true],
    [[], false, false],
    [['admin', 'READ', 'write', '*'], false, false],
    [['read', 'admin', 42, null], true, false],
  ])('reads the permissions %j', (permissions, read, command) => {
    const grants = new Grants(['a', 'p-*'], permissions);
    expect([grants.canRead('a'), grants.canRead('p-1')]).toEqual([read, read]);
    expect([grants.canCommand('a'), grants.canCommand('p-1')]).toEqual([command, command]);
    expect(grants.exactIds).toEqual(read ? ['a'] : []);
    expect(grants.patterns).toEqual(read ? ['p-*'] : []);
    expect(grants.coversPattern('p-7*')).toBe(read);
  });

  it.each([
    ['plant-7.*', 'plant-7.*', true],
    ['plant-7.*', 'plant-7.pump-*', true],
    ['plant-7.*', 'plant-7.**', true],
    ['plant-7.*', 'plant-*', false],
    ['plant-7.*', '*', false],
    ['plant-7.*', 'plant-7*', false],
    ['plant-7.*', 'plant-7.pump', true],
    ['*', '*', true],
    ['*', 'anything*', true],
    ['*', 'a/*', false],
    ['*', '$*', false],
    ['*', '', false],
    ['a', 'a', true],
    ['a', 'a*', false],
    ['a*a', 'a*a*a', true],
    ['a*a*a', 'a*a', false],
    ['*.pump', 'plant-7.*.pump', true],
    ['*.pump', '*pump', false],
  ])('the grant %j covers %j: %j', (grant, pattern, covered) => {
    expect(new Grants([grant]).coversPattern(pattern)).toBe(covered);
  });

  it('reads every id of a pattern it covers', () => {
    const text = (characters: string, max: number) =>
      fc.array(fc.constantFrom(...characters), { maxLength: max }).map((parts) => parts.join(''));
    fc.assert(
      fc.property(
        fc.array(text('ab*', 4)),
        text('ab*', 4),
        fc.array(text('abc', 2)),
        (entries, pattern, fills) => {
          let used = 0;
          const id = pattern.replace(/\*/g, () => fills[used++] ?? '');
          fc.pre(id !== '');
          const grants = new Grants(entries);
          fc.pre(grants.coversPattern(pattern));
          expect(grants.canRead(id)).toBe(true);
        },
      ),
      { numRuns: 1_000 },
    );
  });
});
