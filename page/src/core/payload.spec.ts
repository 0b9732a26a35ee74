import { describe, expect, it } from '@jest/globals';
import { countFields, fieldOf, fieldsOf, primaryOf, textOf, unitOf } from './payload.js';

describe('fields', () => {
  it.each([
    [12, [['', 12]]],
    [null, [['', null]]],
    [[1, 2], [['', [1, 2]]]],
    [{}, []],
    [
      { a: 1, b: { c: true, d: {} } },
      [
        ['a', 1],
        ['b.c', true],
        ['b.d', {}],
      ],
    ],
    [
      JSON.parse('{"__proto__":{"x":1},"y":2}'),
      [
        ['__proto__.x', 1],
        ['y', 2],
      ],
    ],
  ])('of %j', (payload, fields) => {
    expect(fieldsOf(payload)).toEqual(fields);
  });

  it('are bounded, whatever a device sends, and those left out are counted', () => {
    const wide = Object.fromEntries(Array.from({ length: 5_000 }, (_, index) => [`f${index}`, index]));
    expect(fieldsOf(wide)).toHaveLength(1_000);
    expect(countFields(wide)).toBe(5_000);
    let deep: unknown = 1;
    for (let level = 0; level < 1_000; level++) {
      deep = { deep };
    }
    expect(fieldsOf(deep)).toHaveLength(1);
    expect(countFields(deep)).toBe(1);
  });

  it.each([
    ['a', 1],
    ['b.c', 2],
    ['d.e', 3],
    ['__proto__.x', 4],
    ['constructor', undefined],
    ['', undefined],
  ])('are found by the name %j', (name, value) => {
    const payload: unknown = JSON.parse('{"a":1,"b":{"c":2},"d.e":3,"__proto__":{"x":4}}');
    expect(fieldOf(payload, name)).toBe(value);
  });

  it('that are a time or a place are not what a tile shows big', () => {
    const fields = fieldsOf({ ts: 1_795_504_465_544, lat: 52.52, on: true, flow: 3 });
    expect(primaryOf(fields, undefined)).toEqual(['on', true]);
    expect(primaryOf(fields, 'flow')).toEqual(['flow', 3]);
    expect(primaryOf(fieldsOf({ name: 'x' }), undefined)).toEqual(['name', 'x']);
  });

  it('trust no metadata', () => {
    for (const meta of [null, undefined, 5, 'text', [], { name: 7, units: 'x' }]) {
      expect([textOf(meta, 'name'), unitOf(meta, 'a')]).toEqual([undefined, '']);
    }
    expect(unitOf({ units: { flow: 'l/min' } }, 'flow')).toBe('l/min');
    expect(unitOf({ units: {} }, 'constructor')).toBe('');
  });
});
