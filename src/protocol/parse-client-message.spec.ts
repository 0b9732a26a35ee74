import { ProtocolError } from './errors.js';
import { parseClientMessage } from './parse-client-message.js';

function refusal(text: string): ProtocolError {
  try {
    parseClientMessage(text);
  } catch (error) {
    if (error instanceof ProtocolError) {
      return error;
    }
    throw error;
  }
  throw new Error(`accepted: ${text}`);
}

const subscribe = (rest: string): string => `{"type":"subscribe","deviceIds":["a"],${rest}}`;

describe(parseClientMessage.name, () => {
  it.each([
    ['{"type":"subscribe","deviceIds":["a","b","a"]}', { type: 'subscribe', deviceIds: ['a', 'b'] }],
    ['{"type":"subscribe","deviceIds":[],"id":0}', { type: 'subscribe', deviceIds: [], id: 0 }],
    [
      '{"type":"unsubscribe","deviceIds":["a/b"],"id":"x"}',
      { type: 'unsubscribe', deviceIds: ['a/b'], id: 'x' },
    ],
    ['{"type":"ping"}', { type: 'ping' }],
    ['{"type":"ping","id":-1.5e3,"more":[1]}', { type: 'ping', id: -1500 }],
    ['{"type":"auth","token":"t"}', { type: 'auth', token: 't' }],
    [`{"type":"ping","id":"${'x'.repeat(128)}"}`, { type: 'ping', id: 'x'.repeat(128) }],
  ])('takes %s', (text, message) => {
    expect(parseClientMessage(text)).toEqual(message);
  });

  it.each([
    ['null', 'null'],
    ['{"b":[1.0, 12345678901234567890]}', '{"b":[1.0, 12345678901234567890]}'],
    ['  "a\\u0062\\"}"  ', '"a\\u0062\\"}"'],
    ['{"__proto__":{"x":1}}', '{"__proto__":{"x":1}}'],
    ['-0', '-0'],
  ])('keeps a command as it was written: %s', (written, json) => {
    const text = `{"id":7,"command":${written},"deviceId":"pump","type":"command"}`;
    expect(parseClientMessage(text)).toEqual({ type: 'command', deviceId: 'pump', id: 7, json });
  });

  it('takes a message that is nested up to 64 levels deep, and says of a deeper one which it was', () => {
    const deep = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels);
    const command = (levels: number): string =>
      `{"type":"command","deviceId":"a","id":1,"command":${deep(levels)}}`;
    expect(parseClientMessage(command(63))).toMatchObject({ deviceId: 'a', json: deep(63) });
    for (const levels of [64, 20_000]) {
      expect(refusal(command(levels))).toMatchObject({ code: 'invalid_message', details: { id: 1 } });
      expect(refusal(command(levels)).message).toMatch('64 levels');
    }
  });

  it('knows ids that are names of the prototype', () => {
    const message = parseClientMessage(
      '{"type":"subscribe","deviceIds":["__proto__","constructor"],"since":{"__proto__":{"epoch":"e","offset":3}}}',
    );
    expect(message).toEqual({
      type: 'subscribe',
      deviceIds: ['__proto__', 'constructor'],
      since: new Map([['__proto__', { epoch: 'e', offset: 3 }]]),
    });
    expect(({} as Record<string, unknown>)['epoch']).toBeUndefined();
  });

  it('does not read a type, id or command from a prototype', () => {
    expect(refusal('{"__proto__":{"type":"ping"}}')).toMatchObject({ code: 'invalid_message' });
    expect(refusal('{"type":"command","deviceId":"a","__proto__":{"command":1}}').code).toBe(
      'invalid_message',
    );
  });

  it.each(['', '{', '{"type":"ping"', "{'type':'ping'}", '{"type":"ping"}}', 'undefined', '\ufeff{}', 'NaN'])(
    'answers invalid_json to %j',
    (text) => {
      expect(refusal(text)).toMatchObject({ code: 'invalid_json', message: 'Invalid JSON' });
    },
  );

  it.each([
    'null',
    '1',
    '"ping"',
    '[]',
    '[{"type":"ping"}]',
    '{}',
    '{"type":1}',
    '{"type":null}',
    '{"type":["ping"]}',
  ])('answers invalid_message to %s', (text) => {
    expect(refusal(text).code).toBe('invalid_message');
  });

  it.each(['toString', '__proto__', 'constructor', 'Ping', 'ping ', '', 'telemetry', 'x'.repeat(60_000)])(
    'answers unknown_type to %.20s, and repeats no more than 32 characters of it',
    (type) => {
      const error = refusal(JSON.stringify({ type, id: 'a' }));
      expect(error).toMatchObject({ code: 'unknown_type', details: { id: 'a' } });
      expect(error.message.length).toBeLessThan(150);
    },
  );

  it.each([
    '{"type":"ping","id":null}',
    '{"type":"ping","id":true}',
    '{"type":"ping","id":{}}',
    '{"type":"ping","id":1e999}',
    `{"type":"ping","id":"${'x'.repeat(129)}"}`,
    '{"type":"auth"}',
    '{"type":"auth","token":5}',
    '{"type":"subscribe"}',
    '{"type":"subscribe","deviceIds":"a"}',
    '{"type":"subscribe","deviceIds":{"0":"a"}}',
    '{"type":"subscribe","deviceIds":[1]}',
    '{"type":"subscribe","deviceIds":[["a"]]}',
    '{"type":"unsubscribe"}',
    '{"type":"unsubscribe","deviceIds":[null]}',
    '{"type":"command","deviceId":"a"}',
    '{"type":"command","command":1}',
    '{"type":"command","deviceId":7,"command":1}',
    '{"type":"command","deviceId":"a/b"}',
    '{"type":"command","deviceId":"a/b","command":1,"waitMs":0}',
    '{"type":"subscribe","pattern":7}',
    '{"type":"subscribe","pattern":"a*","deviceIds":["a"]}',
    '{"type":"subscribe","pattern":"a*","since":{}}',
    '{"type":"unsubscribe","pattern":["a*"]}',
    subscribe('"since":[]'),
    subscribe('"since":null'),
    subscribe('"since":{"a":5}'),
    subscribe('"since":{"a":{"epoch":1,"offset":1}}'),
    subscribe('"since":{"a":{"epoch":"e"}}'),
    subscribe('"since":{"a":{"epoch":"e","offset":-1}}'),
    subscribe('"since":{"a":{"epoch":"e","offset":1.5}}'),
    subscribe('"since":{"a":{"epoch":"e","offset":9007199254740993}}'),
    subscribe('"delivery":null'),
    subscribe('"delivery":"latest"'),
    subscribe('"delivery":{"mode":"newest"}'),
    subscribe('"delivery":{"maxRateHz":0}'),
    subscribe('"delivery":{"maxRateHz":100.1}'),
    subscribe('"delivery":{"maxRateHz":"1"}'),
    subscribe('"delivery":{"fields":[]}'),
    subscribe('"delivery":{"fields":"a"}'),
    subscribe('"delivery":{"fields":[""]}'),
    subscribe('"delivery":{"fields":[1]}'),
    subscribe('"delivery":{"fields":["a.b.c.d.e.f.g.h.i"]}'),
    subscribe(`"delivery":{"fields":["${'.'.repeat(255)}"]}`),
    subscribe('"delivery":{"aggregate":1}'),
    subscribe('"delivery":{"aggregate":true}'),
    subscribe('"delivery":{"mode":"latest","aggregate":true}'),
    subscribe('"delivery":{"mode":"every","maxRateHz":1}'),
    subscribe('"delivery":{"meta":true}'),
    subscribe('"rewind":null'),
    subscribe('"rewind":10'),
    subscribe('"rewind":{}'),
    subscribe('"rewind":{"count":0}'),
    subscribe('"rewind":{"count":1001}'),
    subscribe('"rewind":{"count":1.5}'),
    subscribe('"rewind":{"count":5,"ms":0}'),
    subscribe('"rewind":{"ms":"60000"}'),
  ])('answers invalid_message with a sentence to %.90s', (text) => {
    const error = refusal(text);
    expect(error.code).toBe('invalid_message');
    expect(error.message).toMatch(/ /);
  });

  it.each([
    ['{}', { mode: 'every' }],
    ['{"mode":"latest"}', { mode: 'latest' }],
    ['{"maxRateHz":1}', { mode: 'latest', maxRateHz: 1 }],
    ['{"maxRateHz":0.01,"aggregate":true}', { mode: 'latest', maxRateHz: 0.01, aggregate: true }],
    ['{"fields":["a.b.c.d.e.f.g.h"]}', { mode: 'every', fields: ['a.b.c.d.e.f.g.h'] }],
    ['{"meta":"once"}', { mode: 'every', meta: 'once' }],
    ['{"meta":"inline"}', { mode: 'every' }],
    ['{"mode":"every","fields":["a.b","a.b"],"aggregate":false}', { mode: 'every', fields: ['a.b'] }],
  ])('reads the delivery options %s', (delivery, options) => {
    expect(parseClientMessage(subscribe(`"delivery":${delivery}`))).toMatchObject({ delivery: options });
  });

  it.each(['{"count":1}', '{"ms":1}', '{"count":1000,"ms":86400000}'])(
    'reads the rewind %s, of ids and of a pattern',
    (rewind) => {
      const expected = { rewind: JSON.parse(rewind) as object };
      expect(parseClientMessage(subscribe(`"rewind":${rewind}`))).toMatchObject(expected);
      expect(parseClientMessage(`{"type":"subscribe","pattern":"a*","rewind":${rewind}}`)).toMatchObject(
        expected,
      );
    },
  );

  // Illegal ids and patterns were answered `invalid_message` in a command and a subscribe by pattern, which programs take for a defect of
  // their own, while the same id is `denied` in a list. They are what no token grants, so the code is that of ids that are not granted.
  it.each(['', 'a/b', '+', '#', '$SYS', 'a\u0000', 'a\ufdd0', 'a\u{1ffff}', '\ud800', 'x'.repeat(129)])(
    'answers Forbidden to a command for the illegal id %j, and names it',
    (deviceId) => {
      expect(refusal(JSON.stringify({ type: 'command', deviceId, id: 1, command: 0 }))).toMatchObject({
        code: 'forbidden',
        message: 'Forbidden',
        details: { id: 1, deviceId },
      });
    },
  );

  it.each(['', 'a/*', '+*', '$a*', 'a\ufdd0*', '*\u{1ffff}', '\ud800*', `${'x'.repeat(129)}*`])(
    'answers Forbidden to a subscription of the illegal pattern %j, and takes its end for one that is not there',
    (pattern) => {
      expect(refusal(JSON.stringify({ type: 'subscribe', pattern, id: 1 }))).toMatchObject({
        code: 'forbidden',
        message: 'Forbidden',
        details: { id: 1 },
      });
      const end = { type: 'unsubscribe', pattern, id: 1 };
      expect(parseClientMessage(JSON.stringify(end))).toEqual({ ...end, deviceIds: [] });
    },
  );

  it('names the message it refuses by its id and device', () => {
    expect(refusal('{"type":"command","deviceId":"a","id":"c-1"}').details).toEqual({
      id: 'c-1',
      deviceId: 'a',
    });
    expect(refusal('{"type":"subscribe","id":3}').details).toEqual({ id: 3 });
    expect(refusal('{"type":"command","deviceId":["a"],"id":3,"command":0}').details).toEqual({ id: 3 });
  });
});
