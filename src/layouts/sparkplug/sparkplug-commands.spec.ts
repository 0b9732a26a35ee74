import { get } from 'sparkplug-payload';
import type { UMetric } from 'sparkplug-payload/lib/sparkplugbpayload.js';
import type { ProtocolError } from '../../protocol/errors.js';
import { encodeSparkplugCommand } from './sparkplug-commands.js';
import { type MetricTable, readBirth, readValues } from './sparkplug-metrics.js';
import { readPayload } from './sparkplug-payload.js';

const { encodePayload, decodePayload } = get('spBv1.0')!;

const motor = {
  name: 'motor',
  type: 'Template',
  value: {
    isDefinition: false,
    templateRef: 'Motor',
    parameters: [],
    metrics: [
      { name: 'rpm', type: 'Int32', value: 1 },
      {
        name: 'drive',
        type: 'Template',
        value: {
          isDefinition: false,
          templateRef: 'Drive',
          parameters: [],
          metrics: [
            { name: 'on', type: 'Boolean', value: true },
            { name: 'gear', type: 'Int8', value: 1 },
          ],
        },
      },
    ],
  },
} as UMetric;

const TYPES: Record<string, unknown> = {
  Int8: -1,
  Int16: -1,
  Int32: -1,
  Int64: -1,
  UInt8: 1,
  UInt16: 1,
  UInt32: 1,
  UInt64: 1,
  Float: 1,
  Double: 1,
  Boolean: false,
  String: '',
  DateTime: 1,
  Text: '',
  UUID: '',
  Bytes: Uint8Array.of(1),
};

describe('commands to Sparkplug nodes and devices', () => {
  let table: MetricTable;

  const metrics: UMetric[] = [
    ...Object.entries(TYPES).map(([type, value]) => ({ name: type, type, value }) as UMetric),
    { name: 'aliased', alias: 7, type: 'Boolean', value: false },
    { name: 'Node Control/Reboot', type: 'Boolean', value: false },
    { name: 'bdSeq', type: 'Int64', value: 1 },
    { name: 'set', type: 'DataSet', value: { numOfColumns: 0, columns: [], types: [], rows: [] } },
    motor,
  ];

  beforeAll(() => {
    table = readBirth(readPayload(encodePayload({ timestamp: 1, metrics }), true)).table;
  });

  const encode = (command: unknown, allows = false): Buffer =>
    encodeSparkplugCommand(
      typeof command === 'string' ? command : JSON.stringify(command),
      table,
      () => allows,
      1_700_000_000_000,
    );
  const refusal = (command: unknown): string => {
    try {
      encode(command);
      return 'none';
    } catch (error) {
      return (error as ProtocolError).code;
    }
  };

  it('have a time and no sequence number, and are by name or by the alias alone (tck-id-topics-ncmd-timestamp, tck-id-payloads-dcmd-seq, tck-id-payloads-alias-data-cmd-requirement)', () => {
    const payload = decodePayload(encode({ Int8: -7, aliased: true }));
    expect([Number(payload.timestamp), payload.seq]).toEqual([1_700_000_000_000, undefined]);
    expect(payload.metrics).toMatchObject([
      { name: 'Int8', type: 'Int8', value: -7 },
      { type: 'Boolean', value: true },
    ]);
    const [, aliased] = readPayload(encode({ Int8: -7, aliased: true }), false).metrics;
    expect(aliased).toMatchObject({ name: undefined, alias: 7 });
  });

  it.each([
    ['Int8', -128],
    ['Int16', -32768],
    ['Int32', -2147483648],
    ['Int64', '-9223372036854775808'],
    ['UInt8', 255],
    ['UInt16', 65535],
    ['UInt32', 4294967295],
    ['UInt64', '18446744073709551615'],
    ['DateTime', 1486144502122],
    ['Float', 12.1],
    ['Double', -0.1],
    ['Boolean', true],
    ['String', 'é"\n'],
    ['Text', ''],
    ['UUID', 'x'],
    ['Bytes', 'AQL/'],
  ])(
    'carry %s as the type that the birth told (tck-id-operational-behavior-data-commands-dcmd-metric-value)',
    (type, value) => {
      const bytes = encode({ [type]: value });
      const json = readValues(readPayload(bytes, false), table).values.get(type);
      expect(String(JSON.parse(json!.replace(/^-?\d{17,}$/, '"$&"')))).toBe(String(value));
      const [metric] = decodePayload(bytes).metrics!;
      const theirs = metric!.value as { toString(): string };
      if (type === 'UInt32') {
        expect(Number(theirs) >>> 0).toBe(value);
      } else if (type === 'Float') {
        expect(Math.fround(value as number)).toBe(theirs);
      } else if (type !== 'Bytes') {
        expect(theirs.toString()).toBe(String(value));
      }
    },
  );

  it.each([
    [{ Int8: 128 }],
    [{ Int8: 1.5 }],
    [{ Int8: '1x' }],
    [{ Int8: true }],
    [{ UInt8: -1 }],
    [{ UInt64: -1 }],
    ['{"Int64":9007199254740993}'],
    [{ Int64: '9223372036854775808' }],
    [{ Float: 1e39 }],
    [{ Float: '1' }],
    [{ Double: null }],
    [{ Boolean: 1 }],
    [{ String: 1 }],
    [{ Bytes: 'not base64' }],
    [{ set: [] }],
    [{ motor: 1 }],
    [{ motor: { other: 1 } }],
    [{ unknown: 1 }],
    [{}],
    [[]],
    [null],
    ['"text"'],
    ['{"__proto__":1}'],
    [{ constructor: 1 }],
  ])('are invalid_message for %j', (command) => {
    expect(refusal(command)).toBe('invalid_message');
  });

  it('set what belongs to the protocol only where the layout allows it, and bdSeq never', () => {
    expect([refusal({ 'Node Control/Reboot': true }), refusal({ bdSeq: 1 })]).toEqual([
      'forbidden',
      'forbidden',
    ]);
    const [metric] = decodePayload(encode({ 'Node Control/Reboot': true }, true)).metrics!;
    expect(metric).toMatchObject({ name: 'Node Control/Reboot', value: true });
    expect(() => encode({ bdSeq: 1 }, true)).toThrow('does not allow');
  });

  it.each([[{ 'motor/rpm': -5, 'motor/drive/on': false }], [{ motor: { rpm: -5, drive: { on: false } } }]])(
    'set members of a template as a part of it: %j (tck-id-payloads-template-instance-ref)',
    (command) => {
      const [metric, ...others] = decodePayload(encode(command)).metrics!;
      expect(others).toEqual([]);
      expect(metric).toMatchObject({
        name: 'motor',
        type: 'Template',
        value: {
          isDefinition: false,
          templateRef: 'Motor',
          metrics: [
            { name: 'rpm', value: -5 },
            { name: 'drive', value: { templateRef: 'Drive', metrics: [{ name: 'on', value: false }] } },
          ],
        },
      });
    },
  );

  // The second member of a template within a template took the place of the first, and each copied all before it: a command of 32 KB took a second.
  it('set several members of a template within a template', () => {
    const [metric] = decodePayload(encode({ 'motor/drive/on': false, 'motor/drive/gear': 3 })).metrics!;
    expect(metric).toMatchObject({
      value: {
        metrics: [
          {
            name: 'drive',
            value: {
              metrics: [
                { name: 'on', value: false },
                { name: 'gear', value: 3 },
              ],
            },
          },
        ],
      },
    });
  });
});
