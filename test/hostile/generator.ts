import fc from 'fast-check';

/**
 * What hostile clients and devices do within a few seconds, as small JSON values: a round is printed, shrunk and run again.
 * Texts may have places like `"$ids:h-x:0:1000"`, which the attackers fill in (attackers/client-session.js).
 *
 * There are three kinds of devices: `h-…` are the attackers' own, `s-…` are secret (granted to nobody here, except by a token
 * that is replaced in the middle), and `w-…` belong to the witness.
 */
export interface Frame {
  op: number;
  text?: string;
  hex?: string;
  fill?: number;
  fin?: boolean;
  rsv?: number;
  masked?: boolean;
}

export type ClientStep =
  | { do: 'send'; frames: Frame[]; times?: number; everyMs?: number }
  | { do: 'flood'; frame: Frame; bytes: number }
  | { do: 'half'; frame: Frame; part: number }
  | { do: 'bytes'; hex: string }
  | { do: 'pause' | 'resume' }
  | { do: 'wait'; ms: number }
  | { do: 'end'; how: 'close' | 'bad-close' | 'fin' | 'reset' };

export interface Token {
  user: string;
  deviceIds: unknown;
  lifetimeS?: number;
  fault?: string;
  claims?: object;
}

export interface ClientSpec {
  instance: number;
  address: number;
  copies: number;
  via?: 'header' | 'subprotocol' | 'query' | 'message';
  token?: Token;
  opening?: 'silent' | 'half' | 'after-http' | 'many-headers';
  path?: string;
  query?: Record<string, string>;
  reads: boolean;
  lingers: boolean;
  steps: ClientStep[];
}

export type Payload =
  | { kind: 'json'; value: unknown }
  | { kind: 'text'; text: string }
  | { kind: 'hex'; hex: string }
  | { kind: 'deep'; levels: number; opener: string }
  | { kind: 'new-keys'; keys: number; keyBytes: number }
  | { kind: 'large'; bytes: number }
  | { kind: 'wide' | 'readings'; count: number }
  | { kind: 'cbor'; value: unknown; cut?: number }
  | { kind: 'sparkplug'; seq?: number; metrics: Metric[]; names?: number; nameBytes?: number; cut?: number };

/** Of a Sparkplug payload; a value that does not go with its type is written all the same. */
export interface Metric {
  name?: string;
  alias?: number;
  type?: number;
  value?: unknown;
  isNull?: boolean;
  isHistorical?: boolean;
}

/** What an edge node says next; its number in the sequence is one more than the last, and `jump`. */
export interface EdgeMessage {
  verb: 'NBIRTH' | 'DBIRTH' | 'NDATA' | 'DDATA' | 'NDEATH' | 'DDEATH' | 'NCMD';
  device: string;
  jump: number;
  payload: Payload & { kind: 'sparkplug' };
}

export type DeviceStep =
  | {
      do: 'publish';
      topic: string;
      payload: Payload;
      qos: 0 | 1;
      retain: boolean;
      times: number;
      everyMs: number;
    }
  | {
      do: 'fleet';
      prefix: string;
      from: number;
      count: number;
      kind: string;
      payload: Payload;
      qos: 0 | 1;
      retain: boolean;
    }
  | { do: 'edge'; node: string; says: EdgeMessage[]; qos: 0 | 1; times: number; everyMs: number }
  | { do: 'wait'; ms: number }
  | { do: 'crash' | 'leave' };

export interface DeviceSpec {
  version: 4 | 5;
  will?: { topic: string; payload: Payload; retain: boolean };
  steps: DeviceStep[];
}

export interface Round {
  /** Who is not through by then is cut off. */
  durationMs: number;
  clients: ClientSpec[];
  devices: DeviceSpec[];
}

/** `fc.oneof` with weights, since most of what is written here is a list of things with how often. */
export const pick = <T>(...options: [weight: number, arbitrary: fc.Arbitrary<T>][]): fc.Arbitrary<T> =>
  fc.oneof(...options.map(([weight, arbitrary]) => ({ weight, arbitrary })));
export const one = <T>(...values: T[]): fc.Arbitrary<T> => fc.constantFrom(...values);
/** Mostly small, now and then far beyond every limit. */
export const times = (most: number): fc.Arbitrary<number> =>
  pick([3, fc.constant(1)], [2, fc.integer({ min: 2, max: Math.min(20, most) })], [2, fc.nat(most)]);

/** The same few devices in most places, so that what is published is also watched. */
const attackersDevice = pick(
  [3, one('h-0', 'h-0', 'h-0', 'h-1', 'h-x7', 'h-f12')],
  // As the layouts of layout-fleets.ts make them.
  [1, one('h-0.o', 'h-0.f', 'h-0.m', 'h-0.b', 'h-0.s', 'h-0.a.s')],
);
const secretDevice = one('s-0', 's-1', 's-2', 's-0.o', 's-0.f', 's-0.s');
/** Ids at the edges of what is legal, and past them. */
export const oddId = pick(
  [3, one('h-\uffff', 'h-\ufdd0', 'h-\u{1fffe}', 'h-\u{10ffff}', 'h-\u0001', 'h-\u0085', 'h-\ud800')],
  [2, one('', '$SYS', 'h-/x', 'h-+', 'h-#', 'h-*', '__proto__', 'constructor', 'h-e\u0301', 'h-\u00e9')],
  [1, fc.string({ unit: 'binary', maxLength: 140 }).map((text) => `h-${text}`)],
  [1, fc.integer({ min: 100, max: 130 }).map((length) => `h-${'y'.repeat(length)}`)],
);
const deviceId = pick([6, attackersDevice], [2, secretDevice], [1, one('w-0', 'w-1')], [2, oddId]);
const pattern = pick(
  [6, one('h-*', 'h-*', 'h-x*', 'h-f*', '*')],
  [2, one('s-*', 'w-*', '*-0', 's-*-*')],
  [1, oddId],
  [1, fc.integer({ min: 2, max: 60 }).map((stars) => `h-${'*a'.repeat(stars)}*`)],
);

const user = one('eve-0', 'eve-1', 'eve-2');
const wide = one<string[]>(['h-*'], ['h-*', 'h-0'], ['h-0', 'h-1', 'h-x7', 'h-f12']);
const goodToken: fc.Arbitrary<Token> = fc.record(
  {
    user,
    deviceIds: wide,
    claims: fc.record(
      {
        permissions: one<unknown[]>(['read'], ['command'], ['read', 'command'], []),
        maxRateHz: one(0.01, 1, 1_000),
        maxRooms: one(0, 1, 100),
      },
      { requiredKeys: [] },
    ),
  },
  { requiredKeys: ['user', 'deviceIds'] },
);
const oddToken = pick<Token>(
  [2, fc.record({ user, deviceIds: wide, fault: one('signature', 'none', 'garbage') })],
  [1, fc.record({ user, deviceIds: wide, lifetimeS: one(-10, 0, 1, 2) })],
  [
    2,
    fc.record({
      user,
      deviceIds: one<unknown>('h-*', [1], null, ['h-\uffff', '**', '$x'], { length: 1 }),
      claims: one({}, { maxRateHz: -1 }, { maxRooms: 1.5 }, { permissions: 'read' }, { nbf: 4e9 }),
    }),
  ],
);
/** May hear secret devices: what comes after it in the same session is a narrower one. */
const secretToken: fc.Arbitrary<Token> = fc.record({
  user,
  deviceIds: fc.constant(['h-*', 's-*']),
  claims: fc.constant({ permissions: ['read'] }),
});
const token = pick([8, goodToken], [2, oddToken], [2, secretToken]);
const inText = (value: Token): string => `$token:${Buffer.from(JSON.stringify(value)).toString('base64url')}`;

const field = pick(
  [4, one('t', 'a', 'a.b', 'list', 'n', 'nobody')],
  [1, one('__proto__', 'constructor.prototype', 'a.a.a.a.a.a.a.a.a', '.', '..', 'a.', '.a')],
  [1, fc.nat(200).map((dots) => '.'.repeat(dots + 1))],
);
const delivery = pick<unknown>(
  [
    3,
    fc.record(
      {
        mode: one('every', 'latest'),
        maxRateHz: one(0.01, 0.5, 1, 20, 100),
        fields: pick(
          [5, fc.array(field, { minLength: 1, maxLength: 4 })],
          [1, one(['$dots:100:250'], ['$dots:100:100'], ['$dots:20:250'])],
        ),
        aggregate: fc.boolean(),
        meta: one('inline', 'once'),
      },
      { requiredKeys: [] },
    ),
  ],
  // Combinations that are good: the free ones above mostly contradict themselves.
  [4, fc.record({ maxRateHz: one(0.01, 0.5, 2, 20), aggregate: fc.constant(true) })],
  [
    2,
    fc.record({
      maxRateHz: one(0.5, 20),
      aggregate: fc.constant(true),
      fields: fc.array(field, { minLength: 1, maxLength: 3 }),
    }),
  ],
  [3, fc.record({ fields: fc.array(field, { minLength: 1, maxLength: 4 }) })],
  [1, one<unknown>(null, 7, [], { mode: 'none' }, { maxRateHz: 1e9 }, { fields: [] }, { fields: [''] })],
);
const messageId = pick<unknown>(
  [6, fc.nat(9)],
  [1, fc.string({ maxLength: 130 })],
  [1, one<unknown>(null, [1], 1e308)],
);

const deviceIds = pick<string[]>(
  [6, fc.array(deviceId, { minLength: 1, maxLength: 5 })],
  [2, fc.record({ from: fc.nat(3_000), count: fc.integer({ min: 1, max: 1_000 }) }).map(idsOf)],
  [1, fc.array(deviceId, { maxLength: 60 })],
);
function idsOf({ from, count }: { from: number; count: number }): string[] {
  return [`$ids:h-x:${from}:${count}`];
}
const since = pick<unknown>(
  [
    5,
    fc
      .array(fc.tuple(attackersDevice, fc.integer({ min: -300, max: 5 })), { maxLength: 3 })
      .map((all) => Object.fromEntries(all.map(([id, shift]) => [id, `$since:${id}:${shift}`]))),
  ],
  [1, one<unknown>({ 'h-0': { epoch: 'x', offset: 1e15 } }, { 'h-0': { offset: -1 } }, [], 'h-0', null)],
);
const rewind = one<unknown>({ count: 1_000 }, { ms: 60_000 }, { count: 5, ms: 1 }, { count: 0 }, {}, -1, {
  ms: 1e300,
});

const subscribe = fc.record(
  { type: fc.constant('subscribe'), id: messageId, deviceIds, delivery, since, rewind },
  { requiredKeys: ['type', 'deviceIds'] },
);
const subscribePattern = fc.record(
  { type: fc.constant('subscribe'), id: messageId, pattern, delivery, rewind },
  { requiredKeys: ['type', 'pattern'] },
);
const unsubscribe = pick<object>(
  [2, fc.record({ type: fc.constant('unsubscribe'), id: messageId, deviceIds })],
  [1, fc.record({ type: fc.constant('unsubscribe'), pattern })],
);
const commandValue = pick<unknown>(
  [3, fc.jsonValue({ maxDepth: 3 })],
  [1, fc.integer({ min: 1, max: 20_000 }).map((levels) => `$deep:${levels}:[`)],
  [1, fc.integer({ min: 1, max: 60_000 }).map((bytes) => `$long:${bytes}`)],
);
const command = fc.record(
  {
    type: fc.constant('command'),
    id: messageId,
    deviceId: pick([4, attackersDevice], [4, oddId], [1, one('w-0', 's-0')]),
    command: commandValue,
    key: fc.string({ maxLength: 130 }),
    waitMs: one<unknown>(1, 60_000, 0, -1, 'x'),
  },
  { requiredKeys: ['type', 'deviceId'] },
);
const auth = fc.record({ type: fc.constant('auth'), token: token.map(inText) });
export const anyValue = fc.jsonValue({ maxDepth: 2 });
const nonsense = fc.record(
  {
    type: pick<unknown>(
      [3, one('subscribe', 'unsubscribe', 'command', 'auth', 'ping', '__proto__', 'telemetry')],
      [1, anyValue],
    ),
    id: anyValue,
    deviceIds: anyValue,
    pattern: anyValue,
    delivery: anyValue,
    since: anyValue,
    token: anyValue,
    command: anyValue,
    deviceId: anyValue,
  },
  { requiredKeys: ['type'] },
);

const asText = (message: unknown): Frame => ({ op: 1, text: JSON.stringify(message) });
const goodFrame: fc.Arbitrary<Frame> = pick<unknown>(
  [8, subscribe],
  [4, subscribePattern],
  [2, unsubscribe],
  [3, command],
  [2, auth],
  [2, fc.record({ type: fc.constant('ping'), id: messageId })],
  [2, nonsense],
).map(asText);
/** Costs the sender an error, at most. */
const faultyText = pick(
  [3, one('', '{', '[', '{"type":"ping"', 'null', '"ping"', '\ufeff{}')],
  [2, fc.integer({ min: 1, max: 30_000 }).map((levels) => `{"type":"ping","x":"$deep:${levels}:["}`)],
  [1, fc.integer({ min: 1, max: 10_000 }).map((levels) => `"$deep:${levels}:{"`)],
  [1, fc.string({ unit: 'binary', maxLength: 60 })],
).map((text): Frame => ({ op: 1, text }));
const smallControl: fc.Arbitrary<Frame> = fc.record({ op: one(9, 10), fill: fc.nat(125) });
/** One message in several frames, with a ping between them. */
const fragments = fc
  .nat(5)
  .map((empty): Frame[] => [
    { op: 1, text: '{"type":"ping",', fin: false },
    ...Array.from({ length: empty }, (): Frame => ({ op: 0, fill: 0, fin: false })),
    { op: 9, fill: 3 },
    { op: 0, text: '"id":7}' },
  ]);
/** Ends the connection, or begins something that never ends. */
const fatalFrame: fc.Arbitrary<Frame> = pick<Frame>(
  [2, fc.record({ op: one(0, 1, 2), fill: one(0, 0, 1, 9), fin: fc.constant(false) })],
  [1, fc.record({ op: fc.constant(0), fill: one(0, 1), fin: fc.boolean() })],
  [1, fc.record({ op: one(9, 10), fill: one(126, 70_000) })],
  [1, fc.record({ op: one(2, 3, 7, 11, 15), fill: fc.nat(300) })],
  [1, fc.record({ op: fc.constant(1), hex: one('ff', 'c328', 'eda080', '00'), rsv: one(0, 0, 1, 4) })],
  [1, fc.constant({ op: 1, text: '{"type":"ping","id":"$long:70000"}' })],
  [1, goodFrame.map((frame): Frame => ({ ...frame, masked: false }))],
  [1, fc.record({ op: fc.constant(8), hex: one('', '03', '03e8', '0fa1', '03ed') })],
);
const politeFrames = pick<Frame[]>(
  [
    6,
    fc.array(pick<Frame>([12, goodFrame], [1, faultyText], [1, smallControl]), {
      minLength: 1,
      maxLength: 6,
    }),
  ],
  [1, fragments],
);
const rudeFrames = fc.array(
  pick<Frame>([4, goodFrame], [1, faultyText], [1, smallControl], [2, fatalFrame]),
  {
    minLength: 1,
    maxLength: 6,
  },
);

/** What is taken away in the same write in which it is asked for. */
const narrowed: fc.Arbitrary<ClientStep> = fc
  .record({
    ask: pick<unknown>(
      [2, fc.record({ type: fc.constant('subscribe'), pattern: one('s-*', 's-*', 'h-*', '*') })],
      [1, fc.record({ type: fc.constant('subscribe'), deviceIds: fc.array(secretDevice, { minLength: 1 }) })],
    ),
    user,
    before: fc.array(goodFrame, { maxLength: 2 }),
  })
  .map(({ ask, user: name, before }): ClientStep => {
    const narrow = { type: 'auth', token: inText({ user: name, deviceIds: ['h-0'] }) };
    return { do: 'send', frames: [...before, asText(ask), asText(narrow)] };
  });

const politeSteps: [number, fc.Arbitrary<ClientStep>][] = [
  [
    10,
    fc.record({
      do: fc.constant('send' as const),
      frames: politeFrames,
      times: times(300),
      everyMs: one(0, 1, 10, 11),
    }),
  ],
  [1, one<ClientStep>({ do: 'pause' }, { do: 'pause' }, { do: 'resume' })],
  [3, fc.record({ do: fc.constant('wait' as const), ms: one(1, 30, 300) })],
  [2, narrowed],
];
const politeStep = pick(...politeSteps);
const rudeStep = pick<ClientStep>(
  ...politeSteps,
  [
    3,
    fc.record({
      do: fc.constant('flood' as const),
      frame: pick([3, smallControl], [1, fatalFrame]),
      bytes: fc.nat(16_000_000),
    }),
  ],
  [3, rudeFrames.map((frames): ClientStep => ({ do: 'send', frames }))],
  [1, fc.record({ do: fc.constant('half' as const), frame: goodFrame, part: one(0.1, 0.5, 0.99) })],
  [1, fc.record({ do: fc.constant('bytes' as const), hex: fc.uint8Array({ maxLength: 40 }).map(toHex) })],
  [
    2,
    fc.record({
      do: fc.constant('end' as const),
      how: one<'close' | 'bad-close' | 'fin' | 'reset'>('close', 'bad-close', 'fin', 'reset'),
    }),
  ],
);
export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

const client: fc.Arbitrary<ClientSpec> = fc.record(
  {
    instance: fc.nat(1),
    address: fc.nat(2),
    copies: pick(
      [8, fc.constant(1)],
      [2, fc.integer({ min: 2, max: 8 })],
      [1, fc.integer({ min: 9, max: 40 })],
    ),
    via: one('header', 'subprotocol', 'query', 'message', 'message'),
    token: pick([6, goodToken], [2, secretToken], [1, oddToken]),
    opening: one('silent', 'half', 'after-http', 'many-headers'),
    path: one('/ws', '/', '/nowhere'),
    query: fc.record(
      { subscribe: one('none', 'all'), batchMs: one('0', '50', '1000', '-1', 'x') },
      { requiredKeys: [] },
    ),
    reads: pick([5, fc.constant(true)], [1, fc.constant(false)]),
    lingers: one(true, true, false),
    steps: pick(
      [2, fc.array(politeStep, { minLength: 1, maxLength: 6 })],
      [1, fc.array(rudeStep, { maxLength: 6 })],
    ),
  },
  { requiredKeys: ['instance', 'address', 'copies', 'via', 'reads', 'lingers', 'steps', 'token'] },
);
/** `fc.record` leaves out what is not required half of the time: too often for a way to open, so that is thinned here. */
const usualClient = fc
  .tuple(client, fc.nat(9), fc.nat(9))
  .map(([{ opening, path, token: itsToken, ...spec }, odd, blind]): ClientSpec => ({
    ...spec,
    ...(odd === 0 && { opening }),
    ...(odd === 1 && { path }),
    ...(blind > 0 && { token: itsToken }),
  }));

export const telemetryValue = pick<Payload>(
  [
    3,
    fc
      .record({
        t: fc.double(),
        a: fc.jsonValue({ maxDepth: 3 }),
        list: fc.array(fc.integer(), { maxLength: 5 }),
      })
      .map((value): Payload => ({ kind: 'json', value })),
  ],
  [1, anyValue.map((value): Payload => ({ kind: 'json', value }))],
  [
    2,
    fc.record({
      kind: fc.constant('deep' as const),
      levels: pick(
        [1, fc.integer({ min: 1, max: 70 })],
        [3, fc.integer({ min: 1_000, max: 6_000 })],
        [1, fc.integer({ min: 6_000, max: 100_000 })],
      ),
      opener: one('[', '[', '{'),
    }),
  ],
  [
    2,
    fc.record({
      kind: fc.constant('new-keys' as const),
      keys: pick([2, fc.integer({ min: 1, max: 50 })], [1, fc.integer({ min: 1_000, max: 9_000 })]),
      keyBytes: one(0, 10, 10, 100),
    }),
  ],
  [
    1,
    fc.record({ kind: fc.constant('large' as const), bytes: one(1_000, 60_000, 250_000, 262_145, 400_000) }),
  ],
  [1, fc.record({ kind: fc.constant('wide' as const), count: one(10, 1_000, 30_000) })],
);
export const garbage = pick<Payload>(
  [
    2,
    one('', '{', 'NaN', '1e400', '-', '{"a":1}}', '"\\ud800"', '\ufeff1', '{"__proto__":{"x":1}}', ' 1 ').map(
      (text): Payload => ({ kind: 'text', text }),
    ),
  ],
  [1, fc.uint8Array({ maxLength: 60 }).map((bytes): Payload => ({ kind: 'hex', hex: toHex(bytes) }))],
);
export const statusPayload = pick<Payload>(
  [
    3,
    fc
      .record(
        {
          online: pick<unknown>([4, fc.boolean()], [1, anyValue]),
          ts: one<unknown>(0, -1, 1e15, 1e300, 'x'),
        },
        { requiredKeys: ['online'] },
      )
      .map((value): Payload => ({ kind: 'json', value })),
  ],
  [1, garbage],
);
const metaPayload = pick<Payload>(
  [
    2,
    fc.dictionary(fc.string({ maxLength: 5 }), anyValue).map((value): Payload => ({ kind: 'json', value })),
  ],
  [3, fc.record({ kind: fc.constant('large' as const), bytes: one(500, 250_000) })],
  [1, fc.record({ kind: fc.constant('new-keys' as const), keys: one(5, 5_000), keyBytes: fc.constant(10) })],
  [
    1,
    fc.record({
      kind: fc.constant('deep' as const),
      levels: one(60, 70, 3_000, 30_000),
      opener: one('{', '['),
    }),
  ],
  [1, one<Payload>({ kind: 'text', text: '' }, { kind: 'text', text: '[]' })],
);
const topicId = pick([6, attackersDevice], [1, oddId]);

const publication = (
  suffix: string,
  payload: fc.Arbitrary<Payload>,
  most: number,
): fc.Arbitrary<DeviceStep> =>
  fc.record({
    do: fc.constant('publish' as const),
    topic: topicId.map((id) => `devices/${id}/${suffix}`),
    payload,
    qos: one<0 | 1>(0, 1),
    retain: pick([5, fc.constant(false)], [1, fc.constant(true)]),
    times: times(most),
    everyMs: one(0, 0, 1, 20),
  });
const deviceStep: fc.Arbitrary<DeviceStep> = pick<DeviceStep>(
  [8, publication('telemetry', telemetryValue, 600)],
  [2, publication('telemetry', garbage, 600)],
  [2, publication('status', statusPayload, 600)],
  [3, publication('meta', metaPayload, 1_500)],
  [1, publication(`replies`, telemetryValue, 50)],
  [
    1,
    fc.record({
      do: fc.constant('publish' as const),
      topic: one(
        'devices',
        'devices//telemetry',
        'devices/h-0',
        'devices/a/b/telemetry',
        'sluice/replies',
        'other',
        '/',
      ),
      payload: garbage,
      qos: one<0 | 1>(0, 1),
      retain: fc.boolean(),
      times: times(50),
      everyMs: fc.constant(0),
    }),
  ],
  [
    2,
    fc.record({
      do: fc.constant('fleet' as const),
      prefix: one('h-f', 'h-x'),
      from: fc.nat(3_000),
      count: pick([1, fc.nat(200)], [1, fc.integer({ min: 3_000, max: 10_000 })]),
      kind: one('telemetry', 'telemetry', 'status', 'meta'),
      payload: one<Payload>(
        { kind: 'json', value: { t: 1, online: true } },
        { kind: 'json', value: { t: 2, online: false } },
        { kind: 'large', bytes: 800 },
      ),
      qos: one<0 | 1>(0, 1),
      retain: fc.constant(false),
    }),
  ],
  [1, fc.record({ do: fc.constant('wait' as const), ms: one(10, 300) })],
  [1, one<DeviceStep>({ do: 'crash' }, { do: 'leave' })],
);
const device: fc.Arbitrary<DeviceSpec> = fc.record(
  {
    version: one<4 | 5>(4, 5),
    will: fc.record({
      topic: one('devices/h-0/status', 'devices/h-1/telemetry', 'devices/h-2/meta'),
      payload: pick([1, statusPayload], [1, telemetryValue]),
      retain: fc.boolean(),
    }),
    steps: fc.array(deviceStep, { minLength: 1, maxLength: 6 }),
  },
  { requiredKeys: ['version', 'steps'] },
);

/** One round: some clients and some devices, all at once. */
export const roundOf = (devices: fc.Arbitrary<DeviceSpec[]>): fc.Arbitrary<Round> =>
  fc.record({
    durationMs: pick([3, fc.constant(1_500)], [1, fc.constant(4_000)]),
    clients: fc.array(usualClient, { minLength: 1, maxLength: 16 }),
    devices,
  });
export const round = roundOf(fc.array(device, { minLength: 0, maxLength: 5 }));
/** The same with devices of layouts. */
export const roundWith = (layoutDevice: fc.Arbitrary<DeviceSpec>): fc.Arbitrary<Round> =>
  roundOf(fc.array(pick([2, layoutDevice], [1, device]), { minLength: 1, maxLength: 6 }));
