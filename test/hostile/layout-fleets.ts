import fc from 'fast-check';
import {
  anyValue,
  type DeviceSpec,
  type DeviceStep,
  type EdgeMessage,
  garbage,
  type Metric,
  oddId,
  one,
  type Payload,
  pick,
  roundWith,
  statusPayload,
  telemetryValue,
  times,
  toHex,
} from './generator.js';

/**
 * Layouts of every kind, of which the attackers, the witness and nobody have devices. Ids end with the name of their layout, so that a
 * token for `h-*` covers the attackers' devices of all of them.
 */
export const LAYOUTS = `
version: 1
layouts:
  own: { preset: sluice, device: '{device}.o' }
  fields:
    device: '{device}.f'
    telemetry: [{ topic: 'f/{device}/{name...}', as: field, payload: scalar }]
    status: [{ topic: 'fs/{device}', online: up, offline: down }]
    meta: [{ topic: 'fm/{device}/{name}', as: field, payload: scalar }]
    command: { topic: 'f/{device}/{/name}/set', allow: { /name: any }, payload: { text: /value } }
  bursts:
    device: '{device}.b'
    telemetry: [{ topic: 'b/{device}/{name}', as: field, payload: text }]
    window: 50ms
    silence: 2s
  merge:
    device: '{device}.m'
    telemetry: [{ topic: 'm/{device}', as: merge }]
    status: [{ topic: 'ms/{device}', at: /s, online: up, offline: down, order: /n, ts: /t }]
  cbor: { device: '{device}.c', telemetry: [{ topic: 'c/{device}', as: merge, payload: cbor }] }
  lists:
    device: '{device}.l'
    telemetry: [{ topic: 'l/{gateway}', each: /values, id: { device: /id }, pick: /v, when: { /k: [a, b] } }]
    status: [{ topic: 'ls/{gateway}', at: /s, offline: down, else: ignore, of: 'h-*.l', id: { device: /id } }]
  plant:
    device: '{node}.{dev}.s'
    telemetry:
      - { topic: 'spBv1.0/Plant/NDATA/{node}', payload: sparkplug }
      - { topic: 'spBv1.0/Plant/DDATA/{node}/{dev}', payload: sparkplug }
    sparkplug: { reorder: 200ms }
    command: { topic: 'spBv1.0/Plant/DCMD/{node}/{dev}', payload: sparkplug, qos: 0 }
`;

const deviceLevel = pick([8, one('h-0', 'h-0', 'h-1', 'h-x7')], [1, oddId]);
const fieldName = pick(
  [6, one('t', 't', 'a', 'a/b', 'rpm')],
  [2, one('__proto__', 'constructor', '$i', '$i', '"', '\\', 'ä', ' ')],
  [1, fc.nat(300).map((length) => 'n'.repeat(length + 1))],
  [1, fc.string({ unit: 'binary', minLength: 1, maxLength: 20 })],
);
const scalar = pick<Payload>(
  [
    4,
    one('21.50', '-0', 'true', 'null', '"x"', 'ON', '1e400', 'NaN', '', ' 7 ', '[1]', '{"a":1}').map(
      (text): Payload => ({ kind: 'text', text }),
    ),
  ],
  [2, garbage],
  [1, telemetryValue],
);
const cborValue = pick<Payload>(
  [
    3,
    fc
      .record({ value: fc.dictionary(fc.string({ maxLength: 5 }), anyValue), cut: one(1, 1, 0.5, 0.9) })
      .map((spec): Payload => ({ kind: 'cbor', ...spec })),
  ],
  [1, fc.record({ kind: fc.constant('cbor' as const), value: anyValue })],
  // Open lists within each other, lengths that nobody sends, maps with keys of every type, big numbers, tags in tags.
  [
    2,
    one(
      '9f'.repeat(5_000),
      'bf'.repeat(200),
      '81'.repeat(100_000) + '01',
      'bb7fffffffffffffff',
      '9bffffffffffffffff',
      '5b00000000ffffffff',
      'a181010203',
      'a1f9' + '7e00f6',
      'c2' + '5a00010000' + 'ff'.repeat(65_536),
      'd9d9f7'.repeat(1_000) + 'a0',
    ).map((hex): Payload => ({ kind: 'hex', hex })),
  ],
  [1, fc.uint8Array({ maxLength: 60 }).map((bytes): Payload => ({ kind: 'hex', hex: toHex(bytes) }))],
);
const list = pick<Payload>(
  [
    3,
    fc
      .array(
        fc.record(
          { id: pick<unknown>([4, deviceLevel], [1, anyValue]), v: anyValue, k: one('a', 'b', 'c') },
          { requiredKeys: ['k'] },
        ),
        { maxLength: 20 },
      )
      .map((values): Payload => ({ kind: 'json', value: { values } })),
  ],
  [1, fc.record({ kind: fc.constant('readings' as const), count: one(999, 1_000, 1_001, 8_000) })],
  [1, telemetryValue],
  [1, garbage],
);

const metric: fc.Arbitrary<Metric> = fc.record(
  {
    name: pick(
      [4, one('a', 'b', 'Drive/speed', 'bdSeq', 'Node Control/Rebirth', '__proto__', '')],
      [1, fc.string({ unit: 'binary', maxLength: 30 })],
      [1, one(1_000, 100_000).map((length) => 'x'.repeat(length))],
    ),
    alias: one(1, 1, 2, 10, 1_000, 7_000_000, Number.MAX_SAFE_INTEGER),
    type: one(1, 3, 8, 9, 10, 11, 12, 15, 16, 17, 19, 20, 22, 34, 99),
    value: pick<unknown>(
      [4, one(0, 1, 255, 4_294_967_295, Number.MAX_SAFE_INTEGER, -1, 1.5, Number.NaN, Infinity)],
      [2, fc.boolean()],
      [2, fc.string({ unit: 'binary', maxLength: 20 })],
      [1, one(10_000, 250_000).map((length) => 'y'.repeat(length))],
    ),
    isNull: fc.boolean(),
    isHistorical: fc.boolean(),
  },
  { requiredKeys: [] },
);
const MAX_BIRTH_BYTES = 400_000;
const edgePayload = fc
  .record(
    {
      kind: fc.constant('sparkplug' as const),
      metrics: fc.array(metric, { maxLength: 6 }),
      names: pick([12, fc.constant(0)], [2, one(10, 500)], [1, one(5_000, 25_000)]),
      nameBytes: one(0, 0, 20, 1_000),
      cut: one(1, 1, 1, 1, 0.5, 0.98),
    },
    { requiredKeys: ['kind', 'metrics'] },
  )
  .map((payload) => ({
    ...payload,
    // A little over the largest message that is read: more is the broker's burden alone, and everybody waits behind it.
    names: Math.min(payload.names ?? 0, Math.floor(MAX_BIRTH_BYTES / ((payload.nameBytes ?? 0) + 20))),
  }));
const edgeMessage = (verb: EdgeMessage['verb'], device: fc.Arbitrary<string>): fc.Arbitrary<EdgeMessage> =>
  fc.record({
    verb: fc.constant(verb),
    device,
    jump: pick([6, fc.constant(0)], [2, one(1, 2, 127, 128, 255)]),
    payload: edgePayload,
  });
const edgeDevice = pick([6, one('a', 'a', 'b', 'c')], [1, one('$i', 'ä', 'h-0.s')]);
const itself = fc.constant('');
const anyEdgeMessage = pick<EdgeMessage>(
  [2, edgeMessage('NBIRTH', itself)],
  [3, edgeMessage('DBIRTH', edgeDevice)],
  [2, edgeMessage('NDATA', itself)],
  [5, edgeMessage('DDATA', edgeDevice)],
  [1, edgeMessage('NDEATH', itself)],
  [1, edgeMessage('DDEATH', edgeDevice)],
  [1, edgeMessage('NCMD', itself)],
);
const edgeStep: fc.Arbitrary<DeviceStep> = fc.record({
  do: fc.constant('edge' as const),
  node: pick([6, one('h-0', 'h-0', 'h-1')], [1, one('h-ä', 'h-0.s')]),
  says: fc.array(anyEdgeMessage, { minLength: 1, maxLength: 8 }),
  qos: one<0 | 1>(0, 0, 1),
  times: times(300),
  everyMs: one(0, 0, 1),
});

const publication = (
  topic: fc.Arbitrary<string>,
  payload: fc.Arbitrary<Payload>,
  most: number,
): fc.Arbitrary<DeviceStep> =>
  fc.record({
    do: fc.constant('publish' as const),
    topic,
    payload,
    qos: one<0 | 1>(0, 1),
    retain: pick([5, fc.constant(false)], [1, fc.constant(true)]),
    times: times(most),
    everyMs: one(0, 0, 1, 20),
  });
const under = (prefix: string, ...parts: fc.Arbitrary<string>[]): fc.Arbitrary<string> =>
  fc.tuple(...parts).map((levels) => [prefix, ...levels].join('/'));

const layoutStep = pick<DeviceStep>(
  [4, publication(under('f', deviceLevel, fieldName), scalar, 1_500)],
  [3, publication(under('b', deviceLevel, fieldName), scalar, 1_500)],
  [4, publication(under('m', deviceLevel), pick([3, telemetryValue], [1, garbage]), 600)],
  [3, publication(under('c', deviceLevel), cborValue, 600)],
  [3, publication(under('l', deviceLevel), list, 100)],
  [
    1,
    publication(
      under('ls', deviceLevel),
      one<Payload>({ kind: 'json', value: { s: 'down', id: 'h-0' } }, { kind: 'json', value: { s: 'up' } }),
      20,
    ),
  ],
  [1, publication(under('ms', deviceLevel), statusPayload, 300)],
  [1, publication(under('fs', deviceLevel), scalar, 300)],
  [1, publication(under('fm', deviceLevel, fieldName), scalar, 1_500)],
  [6, edgeStep],
  [
    1,
    publication(
      under('spBv1.0/Plant', one('NBIRTH', 'NDATA', 'STATE', 'XDATA', 'NDEATH'), deviceLevel),
      garbage,
      100,
    ),
  ],
  [
    2,
    fc.record({
      do: fc.constant('fleet' as const),
      prefix: one('h-f', 'h-x'),
      from: fc.nat(3_000),
      count: pick([2, fc.nat(200)], [1, fc.integer({ min: 3_000, max: 10_000 })]),
      kind: one('f/$id/t', 'b/$id/t', 'm/$id', 'spBv1.0/Plant/NBIRTH/$id', 'spBv1.0/Plant/NDATA/$id'),
      payload: one<Payload>(
        { kind: 'json', value: { t: 1 } },
        { kind: 'large', bytes: 800 },
        { kind: 'large', bytes: 6_000 },
        { kind: 'sparkplug', seq: 0, metrics: [{ name: 'bdSeq', type: 4, value: 0 }], names: 20 },
        { kind: 'sparkplug', seq: 9, metrics: [{ alias: 5, value: 1 }] },
      ),
      qos: one<0 | 1>(0, 1),
      retain: fc.constant(false),
    }),
  ],
  [1, fc.record({ do: fc.constant('wait' as const), ms: one(10, 300) })],
  [1, one<DeviceStep>({ do: 'crash' }, { do: 'leave' })],
);
const layoutDevice: fc.Arbitrary<DeviceSpec> = fc.record(
  {
    version: one<4 | 5>(4, 5),
    will: fc.record({
      topic: one('spBv1.0/Plant/NDEATH/h-0', 'fs/h-0', 'f/h-0/t'),
      payload: pick([1, scalar], [1, edgePayload]),
      retain: fc.boolean(),
    }),
    steps: fc.array(layoutStep, { minLength: 1, maxLength: 6 }),
  },
  { requiredKeys: ['version', 'steps'] },
);

/** A round of clients, and of devices of {@link LAYOUTS}. */
export const layoutRound = roundWith(layoutDevice);
