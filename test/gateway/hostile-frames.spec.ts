import type { Socket } from 'node:net';
import { type DashboardClient, connect } from '../support/dashboard-client.js';
import { signToken } from '../support/tokens.js';
import { GatewayApp } from './gateway-app.js';
import { clientFrame } from './raw-upgrade.js';
import { until } from './until.js';

/** A ping in so many fragments: most of them empty, as the cheapest are. */
const inFragments = (fragments: number): Buffer =>
  Buffer.concat([
    clientFrame(1, '{"type":"ping",', { fin: false }),
    ...Array.from({ length: fragments - 2 }, () => clientFrame(0, '', { fin: false })),
    clientFrame(0, '"id":"whole"}'),
  ]);
const deep = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels);
const invalid = (id?: unknown) => ({ code: 'invalid_message', ...(id === undefined ? {} : { id }) });
const invalidJson = { code: 'invalid_json', error: 'Invalid JSON' };
const denied = (...ids: string[]) => ({ type: 'subscribed', rooms: [], denied: ids });

/** Text of a frame, and the answer it must get; the connection stays open. */
const TEXTS: [name: string, text: string, answer: object][] = [
  ['nothing', '', invalidJson],
  ['white space', ' \n\t ', invalidJson],
  ['half a message', '{"type":"ping"', invalidJson],
  ['two messages', '{"type":"ping"}{"type":"ping"}', invalidJson],
  ['a trailing comma', '{"type":"ping",}', invalidJson],
  ['a comment', '{"type":"ping"/* */}', invalidJson],
  ['a byte order mark', '\ufeff{"type":"ping"}', invalidJson],
  ['a bare control character', '{"type":"ping","id":"\u0000"}', invalidJson],
  ['HTML', '<script>alert(1)</script>', invalidJson],
  ['an HTTP request', 'GET / HTTP/1.1\r\n\r\n', invalidJson],
  ['60 000 open brackets', '['.repeat(60_000), invalidJson],
  ['30 000 nested lists', deep(30_000), invalid()],
  ['a ping of 65 levels', `{"type":"ping","id":1,"x":${deep(64)}}`, invalid(1)],
  ['device ids of 30 000 levels', `{"type":"subscribe","id":1,"deviceIds":${deep(30_000)}}`, invalid(1)],
  [
    'fields of 30 000 levels',
    `{"type":"subscribe","id":1,"deviceIds":["mine"],"delivery":{"fields":${deep(30_000)}}}`,
    invalid(1),
  ],
  [
    'a since of 10 000 levels',
    `{"type":"subscribe","id":1,"deviceIds":["mine"],"since":${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}}`,
    invalid(1),
  ],
  [
    'a command of 64 levels, which is 65 with the message around it',
    `{"type":"command","id":1,"deviceId":"mine","command":${deep(64)}}`,
    invalid(1),
  ],
  [
    'a command with a deep member that a later one of the same name hides',
    `{"type":"command","id":1,"deviceId":"mine","command":{"a":${deep(10_000)},"a":1}}`,
    invalid(1),
  ],
  ['null', 'null', invalid()],
  ['a number', '42', invalid()],
  ['a string', '"ping"', invalid()],
  ['a list', '[{"type":"ping"}]', invalid()],
  ['an empty object', '{}', invalid()],
  ['a type that is a number', '{"type":1,"id":7}', invalid(7)],
  ['a type that is null', '{"type":null,"id":7}', invalid(7)],
  ['a type that is an object', '{"type":{"toString":"ping"},"id":7}', invalid(7)],
  ['a type from a prototype', '{"__proto__":{"type":"ping"},"id":7}', invalid(7)],
  ['a type that is a method of objects', '{"type":"toString","id":7}', { code: 'unknown_type', id: 7 }],
  ['a type that is __proto__', '{"type":"__proto__"}', { code: 'unknown_type' }],
  ['a type in capitals', '{"type":"PING"}', { code: 'unknown_type' }],
  ['a type of the server', '{"type":"telemetry","deviceId":"pump"}', { code: 'unknown_type' }],
  ['a type of 60 000 characters', `{"type":"${'x'.repeat(60_000)}"}`, { code: 'unknown_type' }],
  ['a Socket.IO packet', '42["subscribe"]', invalidJson],
  ['a Nest event', '{"event":"subscribe","data":{"deviceIds":["pump"]}}', invalid()],
  ['an id that is a list', '{"type":"ping","id":[1]}', invalid()],
  ['an id that is infinite', '{"type":"ping","id":1e999}', invalid()],
  ['an id of 129 characters', `{"type":"ping","id":"${'i'.repeat(129)}"}`, invalid()],
  ['no device ids', '{"type":"subscribe","id":1}', invalid(1)],
  ['device ids that are a string', '{"type":"subscribe","id":1,"deviceIds":"pump"}', invalid(1)],
  [
    'device ids that look like a list',
    '{"type":"subscribe","id":1,"deviceIds":{"length":1,"0":"pump"}}',
    invalid(1),
  ],
  ['device ids that are numbers', '{"type":"subscribe","id":1,"deviceIds":[1]}', invalid(1)],
  ['a topic as device id', '{"type":"subscribe","deviceIds":["pump/telemetry"]}', denied('pump/telemetry')],
  ['a wildcard as device id', '{"type":"subscribe","deviceIds":["+","#"]}', denied('+', '#')],
  ['a system topic as device id', '{"type":"subscribe","deviceIds":["$SYS"]}', denied('$SYS')],
  ['an escape from the topic', '{"type":"subscribe","deviceIds":["../pump"]}', denied('../pump')],
  ['a NUL in a device id', '{"type":"subscribe","deviceIds":["pu\\u0000mp"]}', denied('pu\u0000mp')],
  ['half a surrogate pair', '{"type":"subscribe","deviceIds":["\\ud83d"]}', denied('\ud83d')],
  [
    'a device id of 129 characters',
    `{"type":"subscribe","deviceIds":["${'d'.repeat(129)}"]}`,
    denied('d'.repeat(129)),
  ],
  ['a device of another user', '{"type":"subscribe","deviceIds":["secret"]}', denied('secret')],
  [
    'names of the prototype as devices',
    '{"type":"subscribe","deviceIds":["constructor","__proto__"]}',
    denied('constructor', '__proto__'),
  ],
  ['a since that is a list', '{"type":"subscribe","deviceIds":["mine"],"since":[]}', invalid()],
  [
    'a since with a negative offset',
    '{"type":"subscribe","deviceIds":["mine"],"since":{"mine":{"epoch":"e","offset":-1}}}',
    invalid(),
  ],
  [
    'a since with a prototype',
    '{"type":"subscribe","deviceIds":["mine"],"since":{"__proto__":1}}',
    invalid(),
  ],
  [
    'a rate of a million',
    '{"type":"subscribe","deviceIds":["mine"],"delivery":{"maxRateHz":1000000}}',
    invalid(),
  ],
  [
    'a mode that is unknown',
    '{"type":"subscribe","deviceIds":["mine"],"delivery":{"mode":"all"}}',
    invalid(),
  ],
  ['an unsubscribe without devices', '{"type":"unsubscribe"}', invalid()],
  [
    'an unsubscribe of what it never had',
    '{"type":"unsubscribe","id":2,"deviceIds":["pump","a/b"]}',
    { type: 'unsubscribed', id: 2 },
  ],
  ['a command without a device', '{"type":"command","id":3,"command":1}', invalid(3)],
  [
    'a command without a command',
    '{"type":"command","id":3,"deviceId":"mine"}',
    { ...invalid(3), deviceId: 'mine' },
  ],
  [
    'a command whose command is in the prototype',
    '{"type":"command","deviceId":"mine","__proto__":{"command":1}}',
    invalid(),
  ],
  [
    'a command to a topic',
    '{"type":"command","deviceId":"mine/commands","command":1}',
    { code: 'forbidden', error: 'Forbidden', deviceId: 'mine/commands' },
  ],
  [
    'a command to all',
    '{"type":"command","deviceId":"#","command":1}',
    { code: 'forbidden', error: 'Forbidden', deviceId: '#' },
  ],
  [
    'a command to a foreign device',
    '{"type":"command","id":4,"deviceId":"pump","command":1}',
    { error: 'Forbidden', code: 'forbidden', id: 4, deviceId: 'pump' },
  ],
  [
    'a command of 40 000 bytes',
    `{"type":"command","id":5,"deviceId":"mine","command":"${'c'.repeat(40_000)}"}`,
    { code: 'payload_too_large', id: 5, deviceId: 'mine' },
  ],
];

/** Bytes on the socket, and the code the connection is closed with. */
const BYTES: [name: string, bytes: Buffer, code: number][] = [
  ['an unmasked frame', clientFrame(1, '{}', { masked: false }), 1002],
  ['a reserved bit', clientFrame(1, '{}', { rsv: 4 }), 1002],
  ['an opcode that does not exist', clientFrame(3, '{}'), 1002],
  ['a control opcode that does not exist', clientFrame(11, ''), 1002],
  ['a continuation of nothing', clientFrame(0, '{}'), 1002],
  [
    'a new message amid another',
    Buffer.concat([clientFrame(1, '{', { fin: false }), clientFrame(1, '}')]),
    1002,
  ],
  ['a ping in parts', clientFrame(9, '', { fin: false }), 1002],
  ['a ping of 126 bytes', clientFrame(9, 'p'.repeat(126)), 1002],
  ['a close frame of one byte', clientFrame(8, Buffer.from([3])), 1002],
  ['a close code that must not be sent', clientFrame(8, Buffer.from([0x03, 0xee])), 1002],
  ['text that is no UTF-8', clientFrame(1, Buffer.from([0xc3, 0x28])), 1007],
  ['a close reason that is no UTF-8', clientFrame(8, Buffer.from([0x03, 0xe8, 0xff])), 1007],
  [
    'a frame that says it has 4 exabytes',
    Buffer.concat([Buffer.from([0x81, 0xff, 0x40]), Buffer.alloc(11)]),
    1009,
  ],
  ['a frame of 65 537 bytes', clientFrame(1, 'x'.repeat(65_537)), 1009],
  [
    'a message of 65 537 bytes in parts',
    Buffer.concat([clientFrame(1, 'x'.repeat(60_000), { fin: false }), clientFrame(0, 'x'.repeat(5_537))]),
    1009,
  ],
  ['a message in 65 fragments', inFragments(65), 1008],
  [
    'a message in 2 000 parts',
    Buffer.concat([
      clientFrame(1, '', { fin: false }),
      ...Array.from({ length: 2_000 }, () => clientFrame(0, '', { fin: false })),
    ]),
    1008,
  ],
  ['5 000 pings', Buffer.concat(Array.from({ length: 5_000 }, () => clientFrame(9, 'p'))), 1008],
  [
    '5 000 messages',
    Buffer.concat(Array.from({ length: 5_000 }, () => clientFrame(1, '{"type":"ping"}'))),
    1008,
  ],
];

/** Texts in the place of a token. */
const b64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const TOKENS: [name: string, token: string][] = [
  ['a word', 'token'],
  ['three empty parts', '..'],
  ['an unsigned token', `${b64({ alg: 'none' })}.${b64({ userId: 'eve', deviceIds: ['*'], exp: 9e9 })}.`],
  ['a token of four parts', 'a.b.c.d'],
  ['a token of 10 000 characters', 'x'.repeat(10_000)],
  ['a quote and a NUL', '%22%00'],
  ['a template', '${jndi:ldap://evil}'],
];

describe('hostile input', () => {
  let app: GatewayApp;
  let bystander: DashboardClient;
  let published = 0;

  beforeAll(async () => {
    app = await GatewayApp.start({ 'ws.closeTimeoutMs': '200' });
    bystander = await connect(app.url, { claims: { userId: 'bystander', deviceIds: ['pump'] } });
    await bystander.next('subscribed');
  });

  afterAll(async () => {
    const types = new Set(bystander.received.map(({ type }) => type));
    expect([...types].sort()).toEqual(['connected', 'subscribed', 'telemetry']);
    await app.stop();
  });

  // The bystander gets the next publication, and nothing but publications.
  afterEach(async () => {
    published += 1;
    app.publish('pump', { published });
    expect(await bystander.next('telemetry')).toMatchObject({ offset: published, payload: { published } });
  });

  const attacker = async (): Promise<DashboardClient> => {
    const client = await connect(app.url, {
      claims: { userId: 'eve', deviceIds: ['mine'] },
      query: { subscribe: 'none' },
    });
    await client.next('connected');
    return client;
  };

  it.each(TEXTS)('%s', async (_, text, answer) => {
    const client = await attacker();
    client.sendRaw(text);
    await until(() => client.received.length > 1);
    await client.roundTrip();
    // Exactly one answer, besides `connected` and the pong.
    expect(client.received).toHaveLength(3);
    expect(client.received[1]).toMatchObject('type' in answer ? answer : { type: 'error', ...answer });
    await client.close();
    expect(app.commands.sent).toEqual([]);
  });

  it('a binary frame', async () => {
    const client = await attacker();
    client.sendRaw(Buffer.from('{"type":"ping"}'));
    expect(await client.next('error')).toMatchObject({ code: 'invalid_message' });
    await client.roundTrip();
    await client.close();
  });

  const streamOf = (client: DashboardClient): Socket =>
    (client.socket as unknown as { _socket: Socket })._socket;

  it('takes a message in 64 fragments', async () => {
    const client = await attacker();
    streamOf(client).write(inFragments(64));
    expect(await client.next('pong')).toMatchObject({ id: 'whole' });
    await client.close();
  });

  it('takes a message of which every byte comes alone', async () => {
    const client = await attacker();
    const stream = streamOf(client);
    for (const byte of clientFrame(1, `{"type":"ping","id":"slow","pad":"${'x'.repeat(2_000)}"}`)) {
      await new Promise((resolve) => stream.write(Buffer.from([byte]), resolve));
    }
    expect(await client.next('pong')).toMatchObject({ id: 'slow' });
    await client.close();
  });

  it.each(BYTES)('%s', async (_, bytes, code) => {
    const client = await attacker();
    streamOf(client).write(bytes);
    expect((await client.closed).code).toBe(code);
  });

  it.each(TOKENS)('%s as a token', async (_, token) => {
    for (const via of ['header', 'query', 'message'] as const) {
      const client = await connect(app.url, { token, via });
      expect([via, (await client.closed).code]).toEqual([via, 4001]);
    }
  });

  it('a user who is __proto__, with devices of that name', async () => {
    const claims = { userId: '__proto__', deviceIds: ['__proto__', 'constructor'] };
    const client = await connect(app.url, { token: await signToken(claims) });
    expect(await client.next('connected')).toMatchObject({ userId: '__proto__' });
    expect((await client.next('subscribed')).rooms.map(({ deviceId }) => deviceId)).toEqual(claims.deviceIds);
    app.publish('__proto__', 1);
    expect(await client.next('telemetry')).toMatchObject({ deviceId: '__proto__', payload: 1 });
    client.sendRaw(
      '{"type":"subscribe","deviceIds":["__proto__"],"since":{"__proto__":{"epoch":"x","offset":0}}}',
    );
    expect(await client.next('subscribed')).toMatchObject({
      rooms: [{ deviceId: '__proto__', recovered: false }],
    });
    await client.close();
  });

  it('leaves nothing behind', async () => {
    await until(async () => (await app.leftovers())['kept'] === 1);
    expect(await app.leftovers()).toMatchObject({
      connectionsOpen: 1,
      connectionsPending: 0,
      roomsOpen: 1,
      users: 1,
      places: 1,
    });
  });
});
