import fc from 'fast-check';
import { isDeviceId } from '../../protocol/device-id.js';
import { DeviceIds, type DeviceIdsOptions, DeviceTemplateError } from './device-ids.js';

/** Texts in which everything that has a meaning somewhere is frequent. */
const level = fc.string({
  unit: fc.oneof(
    fc.constantFrom(
      'a',
      'b',
      '.',
      '-',
      '%',
      '2',
      'E',
      'F',
      '$',
      '*',
      '_',
      ' ',
      '+',
      '#',
      '\u0000',
      '\u0085',
      '\ufdd0',
      'ß',
      '😀',
    ),
    fc.string({ minLength: 1, maxLength: 1 }),
  ),
  minLength: 1,
  maxLength: 8,
});
const topicLevel = level.filter((text) => !text.includes('/'));
const several = fc.array(topicLevel, { minLength: 1, maxLength: 3 }).map((levels) => levels.join('/'));

const TEMPLATES: [template: string, options: DeviceIdsOptions][] = [
  ['{a}.{b}', {}],
  ['{a}-{b}.{c}', {}],
  ['z2m.{a}', {}],
  ['{a}..{b}', {}],
  ['{a}-x-{b}-x', {}],
  ['{a}aab{b}', {}],
  ['x{a}--{b}y', {}],
  ['{a}', { rests: new Set(['a']) }],
  ['{a}', { fromPayload: true }],
  ['z.{a}.{b}.{c}', { rests: new Set(['b']) }],
  ['{a}-{b}', { rests: new Set(['a']) }],
  ['{a}--{b}-{c}', { rests: new Set(['a']) }],
  ['{a}.{b}.{c}', { lastIsOptional: true }],
];

const captures = (ids: DeviceIds, rests: ReadonlySet<string> = new Set()) =>
  fc.record(Object.fromEntries(ids.names.map((name) => [name, rests.has(name) ? several : topicLevel])), {
    requiredKeys: ids.lastIsOptional ? ids.names.slice(0, -1) : [...ids.names],
  });

describe(DeviceIds.name, () => {
  it.each(TEMPLATES)('makes of %s ids that are legal and lead back to their levels', (template, options) => {
    const ids = new DeviceIds(template, options);
    fc.assert(
      fc.property(captures(ids, options.rests), (levels) => {
        const id = ids.make(levels)!;
        if (id.length <= 128) {
          expect(isDeviceId(id)).toBe(true);
          expect(ids.read(id)).toEqual(levels);
        }
      }),
      { numRuns: 150 },
    );
  });

  it.each(TEMPLATES)('makes of %s no id of two different topics', (template, options) => {
    const ids = new DeviceIds(template, options);
    const one = captures(ids, options.rests);
    fc.assert(
      fc.property(one, one, (a, b) => {
        const same = ids.names.every((name) => a[name] === b[name]);
        expect(ids.make(a) === ids.make(b)).toBe(same);
      }),
      { numRuns: 150 },
    );
  });

  it.each(TEMPLATES)('reads with %s no id but the one it would make', (template, options) => {
    const ids = new DeviceIds(template, options);
    fc.assert(
      fc.property(fc.string({ maxLength: 30 }), topicLevel, (text, part) => {
        for (const id of [text, template.replace(/\{\w+\}/g, () => part)]) {
          const read = ids.read(id);
          expect(read === undefined || ids.make(read) === id).toBe(true);
        }
      }),
      { numRuns: 150 },
    );
  });

  it('does not let a device of one tenant take the name of another', () => {
    const ids = new DeviceIds('{tenant}.{device}');
    expect(ids.make({ tenant: 'acme', device: 'evil.x' })).toBe('acme.evil%2Ex');
    expect(ids.make({ tenant: 'acme.evil', device: 'x' })).toBe('acme%2Eevil.x');
  });

  it('changes nothing of a single level with nothing beside it', () => {
    const ids = new DeviceIds('{device}');
    for (const id of ['pump-1', 'a.b', '50%', 'a%2Fb']) {
      expect(ids.make({ device: id })).toBe(id);
      expect(ids.read(id)).toEqual({ device: id });
    }
  });

  it('joins several levels with dots, and escapes the dots that are in one', () => {
    const ids = new DeviceIds('{name}', { rests: new Set(['name']) });
    expect(ids.make({ name: 'kitchen/lamp' })).toBe('kitchen.lamp');
    expect(ids.make({ name: 'kitchen.lamp' })).toBe('kitchen%2Elamp');
    expect(ids.read('kitchen.lamp')).toEqual({ name: 'kitchen/lamp' });
  });

  it('takes an id from a payload with what a level cannot have', () => {
    const ids = new DeviceIds('{device}', { fromPayload: true });
    expect(ids.make({ device: 'Line 1/Pump' })).toBe('Line 1%2FPump');
    expect(ids.read('Line 1%2FPump')).toEqual({ device: 'Line 1/Pump' });
    expect(ids.read('Line 1%2fPump')).toBeUndefined();
    expect(ids.make({ device: '$SYS' })).toBe('%24SYS');
  });

  it.each([
    ['{a}{b}', 'two devices could get one id'],
    ['{a}2{b}', 'two devices could get one id'],
    ['{a}F-{b}', 'two devices could get one id'],
    ['{a}%{b}', 'two devices could get one id'],
    ['{a}.{a}', 'has a capture twice'],
    ['{a.{b}', 'must be captures like {name} joined by literals'],
    ['{}', 'must be captures like {name} joined by literals'],
    ['{__proto__}', 'must be captures like {name} joined by literals'],
    ['x/{a}', 'has text that a device id may not have'],
    ['$x.{a}', 'has text that a device id may not have'],
    ['{a}#', 'has text that a device id may not have'],
  ])('refuses %s', (template, why) => {
    expect(() => new DeviceIds(template)).toThrow(DeviceTemplateError);
    expect(() => new DeviceIds(template)).toThrow(why);
  });
});
