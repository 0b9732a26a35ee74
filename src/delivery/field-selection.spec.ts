import { FieldSelection } from './field-selection.js';

const select = (fields: string[], payload: string): string | undefined => {
  const selected = new FieldSelection(fields).select(JSON.parse(payload));
  return selected === undefined ? undefined : JSON.stringify(selected);
};

describe(FieldSelection.name, () => {
  it.each([
    [['a'], '{"a":1,"b":2}', '{"a":1}'],
    [['a', 'b'], '{"b":2,"a":1,"c":3}', '{"b":2,"a":1}'],
    [['gps.lat'], '{"gps":{"lat":1,"lon":2},"v":3}', '{"gps":{"lat":1}}'],
    [['gps.lat', 'gps'], '{"gps":{"lat":1,"lon":2}}', '{"gps":{"lat":1,"lon":2}}'],
    [['gps.lat', 'gps.lon'], '{"gps":{"lat":1,"lon":2,"alt":3}}', '{"gps":{"lat":1,"lon":2}}'],
    [['a'], '{"a":null}', '{"a":null}'],
    [['__proto__'], '{"__proto__":{"x":1},"b":2}', '{"__proto__":{"x":1}}'],
  ])('%j of %s', (fields, payload, expected) => {
    expect(select(fields, payload)).toBe(expected);
  });

  // A field with dots selected the nested member and the one with that very name, where the documentation and both client libraries take the
  // second alone: two subscriptions to one device at a client then disagreed.
  it.each([
    [['a.b'], '{"a.b":1,"a":{"b":2,"c":3}}', '{"a.b":1}'],
    [['a.b', 'a.c'], '{"a.b":1,"a":{"b":2,"c":3}}', '{"a":{"c":3},"a.b":1}'],
    [['a.b', 'a'], '{"a.b":1,"a":{"b":2}}', '{"a":{"b":2},"a.b":1}'],
    [['a.b', 'a.b.c'], '{"a.b":1,"a":{"b":{"c":2,"d":3}}}', '{"a":{"b":{"c":2}},"a.b":1}'],
    [['a.b.c'], '{"a.b":1,"a":{"b":{"c":2}}}', '{"a":{"b":{"c":2}}}'],
    [['a.b', 'c'], '{"c":3,"a.b":null,"a":{"b":2}}', '{"c":3,"a.b":null}'],
  ])('%j of %s takes the member whose own name has the dots', (fields, payload, expected) => {
    expect(select(fields, payload)).toBe(expected);
  });

  it.each([
    [['a'], '{"b":1}'],
    [['a.b'], '{"a":1}'],
    [['a.b'], '{"a":{"c":1}}'],
    [['length'], '[1,2]'],
    [['a'], '"a"'],
    [['a'], 'null'],
    [['toString', 'constructor'], '{}'],
  ])('%j is not in %s', (fields, payload) => {
    expect(select(fields, payload)).toBeUndefined();
  });
});
