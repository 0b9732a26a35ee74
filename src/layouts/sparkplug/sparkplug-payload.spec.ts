import { jest } from '@jest/globals';
import fc from 'fast-check';
import Long from 'long';
import { get } from 'sparkplug-payload';
import type { UMetric, UPayload } from 'sparkplug-payload/lib/sparkplugbpayload.js';
import { CodecError, float32Json } from '../codecs/codec.js';
import { metadataOf, MetricTable, type MetricValues, readBirth, readValues } from './sparkplug-metrics.js';
import { MAX_METRICS, readPayload, type SparkplugPayload } from './sparkplug-payload.js';
import { MAX_ELEMENTS, MAX_PATH_CHARACTERS } from './sparkplug-values.js';

const { encodePayload } = get('spBv1.0')!;

/** What a birth with these metrics shows. */
function shown(...metrics: UMetric[]): Record<string, string> {
  const payload = readPayload(encodePayload({ timestamp: 1, seq: 0, metrics }), true);
  return Object.fromEntries(readBirth(payload).values.values);
}

/** The JSON text of one value. */
function text(type: string, value: unknown): string | undefined {
  return shown({ name: 'm', type, value } as UMetric)['m'];
}

/** A message in the form of the wire, for what the encoder cannot write. */
const tag = (field: number, wire: number): number[] => varint((field << 3) | wire);
function varint(value: number | bigint): number[] {
  const bytes: number[] = [];
  let left = BigInt.asUintN(64, BigInt(value));
  do {
    bytes.push(Number(left & 0x7fn) | (left > 0x7fn ? 0x80 : 0));
    left >>= 7n;
  } while (left > 0n);
  return bytes;
}
const within = (field: number, ...bytes: (number | number[])[]): number[] => {
  const flat = bytes.flat();
  return [...tag(field, 2), ...varint(flat.length), ...flat];
};
const name = (label: string): number[] => within(1, [...Buffer.from(label)]);
const read = (bytes: number[], birth = true): ReturnType<typeof readPayload> =>
  readPayload(Uint8Array.from(bytes), birth);
const ofType = (type: number): number[] => [...tag(4, 0), ...varint(type)];
const bytesOf = (type: number, ...bytes: number[]): string | undefined =>
  readBirth(read(within(2, name('m'), ofType(type), within(16, bytes)))).values.values.get('m');

describe('values of Sparkplug metrics', () => {
  it.each([
    ['Int8', -128, '-128'],
    ['Int16', -32768, '-32768'],
    ['Int32', -2147483648, '-2147483648'],
    ['Int64', Long.fromString('-9223372036854775808'), '-9223372036854775808'],
    ['UInt8', 255, '255'],
    ['UInt16', 65535, '65535'],
    ['UInt32', 4294967295, '4294967295'],
    ['UInt64', Long.fromString('18446744073709551615', true), '18446744073709551615'],
    ['Float', 12.1, '12.1'],
    ['Double', 0.1, '0.1'],
    ['Boolean', true, 'true'],
    ['String', 'a "b"\n\u0001é', '"a \\"b\\"\\n\\u0001é"'],
    ['DateTime', 1486144502122, '1486144502122'],
    ['Text', 'long text', '"long text"'],
    ['UUID', '123e4567-e89b', '"123e4567-e89b"'],
    ['Bytes', Uint8Array.of(1, 2, 255), '"AQL/"'],
    ['File', Uint8Array.of(), '""'],
  ])('shows %s with all that it has', (type, value, expected) => {
    expect(text(type, value)).toBe(expected);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('shows %s as null', (value) => {
    expect([text('Float', value), text('Double', value)]).toEqual(['null', 'null']);
  });

  it('shows a float as the shortest decimal that is the same in 32 bits', () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(Math.fround(Number(float32Json(value)))).toBe(value === 0 ? 0 : value);
      }),
    );
    expect([2 ** 24, 12.1, -0.001].map((value) => float32Json(Math.fround(value)))).toEqual([
      '16777216',
      '12.1',
      '-0.001',
    ]);
  });

  it('takes negative numbers in the width of their type and in 32 bits (Int8 as 0xFF and as 0xFFFFFFFF)', () => {
    const int = (type: number, value: number): string | undefined =>
      readBirth(read(within(2, name('m'), ofType(type), tag(10, 0), varint(value)))).values.values.get('m');
    expect([int(1, 0xff), int(1, 0xffffffff), int(2, 0xfffe), int(3, 0xfffffffd)]).toEqual([
      '-1',
      '-1',
      '-2',
      '-3',
    ]);
  });

  it('shows null where the value is null (tck-id-operational-behavior-data-publish-nbirth-values)', () => {
    expect(shown({ name: 'm', type: 'Int32', value: null })).toEqual({ m: 'null' });
  });

  it('shows a data set with columns, types and rows (tck-id-payloads-dataset-types-def)', () => {
    const value = {
      numOfColumns: 2,
      columns: ['a', 'b'],
      types: ['UInt32', 'String'],
      rows: [
        [1, 'x'],
        [2, 'y'],
      ],
    };
    expect(text('DataSet', value)).toBe(
      '{"columns":["a","b"],"types":["UInt32","String"],"rows":[[1,"x"],[2,"y"]]}',
    );
  });

  it('refuses a data set whose parts do not fit (tck-id-payloads-dataset-column-num-headers, -types-num)', () => {
    const columns = within(2, [0x61]);
    const types = [...tag(3, 0), 3];
    const row = within(4, within(1, [...tag(1, 0), 1]));
    const set = (...parts: number[][]): number[] => within(2, name('m'), ofType(16), within(17, ...parts));
    expect(() => read(set(columns, types, row))).not.toThrow();
    for (const bad of [
      set(columns, row),
      set(types, row),
      set(columns, types, within(4)),
      set(tag(1, 0), [2], columns, types),
    ]) {
      expect(() => read(bad)).toThrow(CodecError);
    }
  });

  it.each([
    [22, [0xef, 0x7b], '[-17,123]'],
    [23, [0xd0, 0x8a, 0x30, 0x75], '[-30000,30000]'],
    [24, [0xff, 0xff, 0xff, 0xff, 0xfa, 0xaf, 0xcb, 0x12], '[-1,315338746]'],
    [25, [0xce, 0x06, 0x72, 0xac, 0x18, 0x9c, 0xba, 0xc4], '[-4270929666821191986]'],
    [26, [0x17, 0xfa], '[23,250]'],
    [27, [0x1e, 0x00, 0x88, 0xcc], '[30,52360]'],
    [28, [0x34, 0, 0, 0, 0x49, 0xfb, 0x55, 0xc4], '[52,3293969225]'],
    [29, [0xd9, 0x9e, 0x02, 0xd1, 0xb2, 0x76, 0x37, 0xe4], '[16444743074749521625]'],
    [30, [0xa4, 0x70, 0x9d, 0x3f], '[1.23]'],
    [31, [0xd7, 0xa2, 0x05, 0x68, 0x5b, 0xb5, 0x28, 0x40], '[12.354213]'],
    [32, [0x0c, 0, 0, 0, 0x34, 0xd0], '[false,false,true,true,false,true,false,false,true,true,false,true]'],
    [33, [0x41, 0x42, 0x43, 0, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0], '["ABC","hello"]'],
    [34, [0xd9, 0x9e, 0x02, 0xd1, 0x2, 0, 0, 0], '[12096544473]'],
  ])(
    'shows an array of type %i element by element, as in the examples of the specification',
    (type, bytes, json) => {
      expect(JSON.parse(bytesOf(type, ...bytes)!)).toEqual(JSON.parse(json));
    },
  );

  it.each([
    [23, [1]],
    [32, [1]],
    [32, [9, 0, 0, 0, 1]],
    [33, [0x41]],
    [33, [0xff, 0]],
  ])('refuses an array of type %i that is not whole', (type, bytes) => {
    expect(() => bytesOf(type, ...bytes)).toThrow();
  });

  it('makes members of a template metrics of their own, also within each other, and leaves definitions out (tck-id-payloads-template-definition-nbirth-only)', () => {
    const definition = {
      name: '_types_/motor',
      type: 'Template',
      value: { isDefinition: true, metrics: [{ name: 'rpm', type: 'Int32', value: 0 }], parameters: [] },
    } as UMetric;
    const inner = {
      name: 'drive',
      type: 'Template',
      value: {
        isDefinition: false,
        templateRef: 'drive',
        metrics: [{ name: 'hot', type: 'Boolean', value: true }],
        parameters: [],
      },
    } as UMetric;
    const instance = {
      name: 'motor 1',
      type: 'Template',
      value: {
        isDefinition: false,
        templateRef: '_types_/motor',
        metrics: [{ name: 'rpm', type: 'Int32', value: -7 }, inner],
        parameters: [],
      },
    } as UMetric;
    expect(shown(definition, instance)).toEqual({ 'motor 1/rpm': '-7', 'motor 1/drive/hot': 'true' });
  });

  it('changes only the members that data has (tck-id-payloads-template-instance-members-data)', () => {
    const motor = (members: UMetric[]): UMetric => ({
      name: 'm',
      type: 'Template',
      value: { isDefinition: false, templateRef: 'r', metrics: members, parameters: [] },
    });
    const { table } = readBirth(
      readPayload(
        encodePayload({
          timestamp: 1,
          metrics: [
            motor([
              { name: 'a', type: 'Int8', value: 1 },
              { name: 'b', type: 'Int8', value: 2 },
            ]),
          ],
        }),
        true,
      ),
    );
    const data = readPayload(
      encodePayload({ timestamp: 1, metrics: [motor([{ name: 'b', type: 'Int8', value: -3 }])] }),
      false,
    );
    expect([...readValues(data, table).values]).toEqual([['m/b', '-3']]);
    const nothing = read(within(2, name('m'), ofType(19), tag(7, 0), [1]), false);
    expect([...readValues(nothing, table).values]).toEqual([
      ['m/a', 'null'],
      ['m/b', 'null'],
    ]);
  });

  // Each null template looked through all metrics: a message of 200 KB held up everybody for seconds.
  it('takes the members of a null template from an index, those of templates in it too', () => {
    const inner = within(
      2,
      name('b'),
      ofType(19),
      within(18, within(2, name('c'), ofType(1), tag(10, 0), [1])),
    );
    const templates = Array.from({ length: 50 }, (_, n) =>
      within(
        2,
        name(`t${n}`),
        ofType(19),
        within(18, inner, within(2, name('a'), ofType(1), tag(10, 0), [1])),
      ),
    );
    const { table } = readBirth(read(templates.flat()));
    const walks = jest.spyOn(table.byName, 'values');
    const nothing = Array.from({ length: 50 }, (_, n) =>
      within(2, name(`t${n}`), ofType(19), tag(7, 0), [1]),
    );
    const { values } = readValues(read(nothing.flat(), false), table);
    expect([values.size, values.get('t49/a'), values.get('t49/b/c')]).toEqual([100, 'null', 'null']);
    expect(walks.mock.calls.length).toBe(1);
  });

  // A member's path has the name of its template: one name of 100 KB and thousands of members were gigabytes, and the process ended.
  it.each([
    ['birth', true],
    ['message of data', false],
  ])('refuses a %s whose members have long paths together', (_what, isBirth) => {
    const members = Array.from({ length: MAX_PATH_CHARACTERS / 65_536 }, () =>
      within(2, name('m'), ofType(1)),
    );
    const payload = (...inner: number[][]): SparkplugPayload =>
      read(within(2, name('n'.repeat(65_536)), ofType(19), within(18, inner.flat())), isBirth);
    const shows = (message: SparkplugPayload): MetricValues =>
      isBirth ? readBirth(message).values : readValues(message, new MetricTable());
    expect(() => shows(payload(...members))).toThrow('characters');
    expect(shows(payload(...members.slice(0, 10))).values.size).toBe(1);
  });

  it('takes no member for its own template, whatever the store says', () => {
    const table = MetricTable.of([
      ['a', 19, null, null, 'a'],
      ['b', 1, null, null, 5],
      ['t/b', 1, null, null, 't'],
    ]);
    expect([...table.byName.values()].map(({ parent }) => parent)).toEqual([undefined, undefined, 't']);
  });

  it('reads data by the types that the birth told (tck-id-payloads-metric-datatype-not-req)', () => {
    const birth = read(
      within(2, name('m'), [...tag(2, 0), ...varint(2n ** 63n)], ofType(1), tag(10, 0), varint(1)),
    );
    const { table } = readBirth(birth);
    const data = read(within(2, [...tag(2, 0), ...varint(2n ** 63n)], tag(10, 0), varint(0xffffffff)), false);
    expect([...readValues(data, table).values]).toEqual([['m', '-1']]);
  });

  it('does not say which of two metrics an alias of both means (tck-id-payloads-alias-uniqueness)', () => {
    const metrics: UMetric[] = [
      { name: 'a', alias: 1, type: 'Int8', value: 1 },
      { name: 'b', alias: 1, type: 'Int8', value: 2 },
      { name: 'c', alias: 2, type: 'Int8', value: 3 },
    ];
    const { table, values } = readBirth(readPayload(encodePayload({ timestamp: 1, metrics }), true));
    expect(Object.fromEntries(values.values)).toEqual({ a: '1', b: '2', c: '3' });
    const data = read(
      [...within(2, tag(2, 0), [1], tag(10, 0), [9]), ...within(2, tag(2, 0), [2], tag(10, 0), [9])],
      false,
    );
    const read1 = readValues(data, table);
    expect([[...read1.values], read1.unknown]).toEqual([[['c', '9']], 1]);
  });

  it('leaves out what belongs to the protocol, and values of another time', () => {
    const payload = readPayload(
      encodePayload({
        timestamp: 1,
        metrics: [
          { name: 'bdSeq', type: 'Int64', value: 1 },
          { name: 'Node Control/Rebirth', type: 'Boolean', value: false },
          { name: 'Device Control/Reboot', type: 'Boolean', value: false },
          { name: 't', type: 'Int8', value: 1, isHistorical: true },
          { name: 'u', type: 'Int8', value: 2 },
        ],
      }),
      true,
    );
    const { table, values } = readBirth(payload);
    expect([[...values.values], values.historical]).toEqual([[['u', '2']], 1]);
    expect(table.byName.get('t')?.type).toBe(1);
  });

  it('makes units, types and properties the metadata (tck-id-payloads-metric-propertyvalue-type-req)', () => {
    const payload = readPayload(
      encodePayload({
        timestamp: 1,
        metrics: [
          {
            name: 't',
            type: 'Float',
            value: 1,
            properties: {
              engUnit: { type: 'String', value: '°C' },
              Quality: { type: 'Int32', value: 192 },
            },
          },
          { name: 'u', type: 'Int8', value: 2 },
        ],
      }),
      true,
    );
    const { table } = readBirth(payload);
    expect(JSON.parse(metadataOf(payload, table).toString())).toEqual({
      units: { t: '°C' },
      types: { t: 'Float', u: 'Int8' },
      properties: { t: { engUnit: '°C', Quality: 192 } },
    });
  });

  it('bounds the metadata of a birth: properties, then types are left out', () => {
    const birth = (count: number, label: string): Record<string, unknown> => {
      const metrics = Array.from({ length: count }, (_, n) => ({
        name: `metric ${n}`,
        type: 'Float',
        value: 1,
        properties: { engUnit: { type: 'String', value: 'V' }, label: { type: 'String', value: label } },
      }));
      const payload = readPayload(encodePayload({ timestamp: 1, metrics } as UPayload), true);
      return JSON.parse(metadataOf(payload, readBirth(payload).table).toString()) as Record<string, unknown>;
    };
    expect(Object.keys(birth(100, 'short'))).toEqual(['units', 'types', 'properties']);
    expect(Object.keys(birth(100, 'x'.repeat(2_000)))).toEqual(['units', 'types']);
    expect(Object.keys(birth(4_000, 'short'))).toEqual(['units']);
  });

  it('refuses properties with more keys than values (tck-id-payloads-propertyset-keys-array-size)', () => {
    const properties = within(9, within(1, [0x61]));
    expect(() => read(within(2, name('m'), properties))).toThrow('more keys than values');
    expect(() => read(within(2, name('m'), properties), false)).not.toThrow();
  });
});

describe('payloads that nobody should send', () => {
  it('refuses more metrics than a message may have', () => {
    const one = within(2, tag(2, 0), [1]);
    const bytes = Array.from({ length: MAX_METRICS + 1 }, () => one).flat();
    expect(() => read(bytes)).toThrow(expect.objectContaining({ outcome: 'too_many_fields' }) as Error);
  });

  it('refuses templates and property sets that are nested too deep', () => {
    const deep = (wrap: (inner: number[]) => number[], levels: number): number[] => {
      let bytes: number[] = [];
      for (let level = 0; level < levels; level += 1) {
        bytes = wrap(bytes);
      }
      return bytes;
    };
    const template = (inner: number[]): number[] => within(2, name('m'), within(18, inner));
    expect(() => read(deep(template, 16))).not.toThrow();
    expect(() => read(deep(template, 17))).toThrow('nested more than');
    expect(() => read(deep(template, 300))).toThrow('nested more than');
    const set = (inner: number[]): number[] => [...within(1, [0x61]), ...within(2, within(9, inner))];
    expect(() => read(within(2, name('m'), within(9, deep(set, 300))))).toThrow('nested more than');
  });

  it('refuses more elements than a message may have: a bit of an array becomes six bytes of JSON', () => {
    const count = MAX_ELEMENTS + 8;
    const length = [count & 0xff, (count >> 8) & 0xff, (count >> 16) & 0xff, 0];
    expect(() => bytesOf(32, ...length, ...new Array<number>(count / 8).fill(0))).toThrow('elements');
    const row = within(4);
    const rows = Array.from({ length: count }, () => row).flat();
    expect(() => read(within(2, name('m'), within(17, rows)))).toThrow('elements');
  });

  it('refuses a sequence number over 255, text that is no UTF-8, and a metric without name and alias', () => {
    expect(() => read([...tag(3, 0), ...varint(256)])).toThrow(CodecError);
    expect(() => read(within(2, within(1, [0xff])))).toThrow(CodecError);
    const nameless = read(within(2, tag(10, 0), [1]), false);
    expect(() => readValues(nameless, readBirth(read([])).table)).toThrow(CodecError);
  });

  it('throws a CodecError and nothing else, whatever becomes of a real payload', () => {
    const real = encodePayload({
      timestamp: 1486144502122,
      seq: 3,
      metrics: [
        { name: 'bdSeq', type: 'Int64', value: 0 },
        {
          name: 'a',
          alias: 1,
          type: 'Float',
          value: 1.5,
          properties: { engUnit: { type: 'String', value: 'V' } },
        },
        {
          name: 'd',
          type: 'DataSet',
          value: { numOfColumns: 1, columns: ['x'], types: ['UInt32'], rows: [[1], [2]] },
        },
        {
          name: 't',
          type: 'Template',
          value: {
            isDefinition: false,
            templateRef: 'r',
            metrics: [{ name: 'm', type: 'Int8', value: 1 }],
            parameters: [],
          },
        },
        { name: 'b', type: 'Bytes', value: Uint8Array.of(1, 2, 3) },
      ],
    });
    const edits = fc.array(
      fc.record({
        at: fc.nat(real.length - 1),
        byte: fc.nat(255),
        kind: fc.constantFrom('set', 'cut', 'insert'),
      }),
      { minLength: 1, maxLength: 6 },
    );
    const check = (bytes: Uint8Array): void => {
      try {
        const { table } = readBirth(readPayload(bytes, true));
        for (const json of readValues(readPayload(bytes, false), table).values.values()) {
          JSON.parse(json);
        }
        JSON.parse(metadataOf(readPayload(bytes, true), table).toString());
      } catch (error) {
        expect(error).toBeInstanceOf(CodecError);
      }
    };
    fc.assert(
      fc.property(edits, (list) => {
        const bytes = [...real];
        for (const { at, byte, kind } of list) {
          bytes.splice(at, kind === 'insert' ? 0 : 1, ...(kind === 'cut' ? [] : [byte]));
        }
        check(Uint8Array.from(bytes));
      }),
      { numRuns: 3_000 },
    );
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), check), { numRuns: 2_000 });
  });
});
