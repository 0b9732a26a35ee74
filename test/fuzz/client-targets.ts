import fc from 'fast-check';
import { AuthError } from '../../src/auth/auth-error.js';
import { readClaims } from '../../src/auth/claims.js';
import { Grants } from '../../src/auth/grants.js';
import { tokenFromUpgrade } from '../../src/auth/token-source.js';
import { parseFrame } from '../../src/gateway/messages/inbound-dispatcher.js';
import { isDeviceId } from '../../src/protocol/device-id.js';
import { ProtocolError } from '../../src/protocol/errors.js';
import { IdPattern, IdPatternSet, normalPattern } from '../../src/protocol/id-pattern.js';
import { MAX_JSON_LEVELS } from '../../src/protocol/json.js';
import { jsonText } from './json-targets.js';
import { mutated, mutations, type Target, target, timed } from './target.js';

const NOW_MS = 1_800_000_000_000;
const TYPES = ['subscribe', 'unsubscribe', 'command', 'auth', 'ping'];
const odd = fc.jsonValue({ maxDepth: 2, stringUnit: 'binary' });
const id = fc.oneof(
  fc.constantFrom('a', 'h-0', '__proto__', 'a*', '*', 'a/b', '$x', '\uffff', ''),
  fc.string({ unit: 'binary', maxLength: 140 }),
);
const message = fc.record(
  {
    type: fc.oneof(
      { weight: 5, arbitrary: fc.constantFrom<unknown>(...TYPES) },
      { weight: 1, arbitrary: odd },
    ),
    id: fc.oneof(fc.nat(), fc.string(), odd),
    deviceIds: fc.oneof(fc.array(id, { maxLength: 4 }), odd),
    pattern: fc.oneof(id, odd),
    deviceId: fc.oneof(id, odd),
    command: odd,
    token: fc.oneof(fc.string(), odd),
    delivery: fc.oneof(
      fc.record(
        {
          mode: fc.constantFrom<unknown>('every', 'latest', 'x'),
          maxRateHz: fc.oneof(fc.double(), fc.constantFrom(0.01, 1, 100)),
          fields: fc.oneof(fc.array(fc.string({ maxLength: 300 }), { maxLength: 120 }), odd),
          aggregate: fc.oneof(fc.boolean(), odd),
          meta: fc.constantFrom<unknown>('once', 'inline', 1),
        },
        { requiredKeys: [] },
      ),
      odd,
    ),
    since: fc.oneof(
      fc.dictionary(
        id,
        fc.oneof(fc.record({ epoch: fc.string(), offset: fc.oneof(fc.nat(), fc.double()) }), odd),
      ),
      odd,
    ),
    rewind: odd,
    key: odd,
    waitMs: odd,
  },
  { requiredKeys: ['type'] },
);

const claims = fc.record(
  {
    userId: fc.oneof(fc.constantFrom('u', ''), odd),
    sub: fc.oneof(fc.string(), odd),
    deviceIds: fc.oneof(fc.array(id, { maxLength: 5 }), odd),
    permissions: fc.oneof(fc.array(fc.constantFrom('read', 'command', 'x')), odd),
    maxRateHz: fc.oneof(fc.double(), odd),
    maxRooms: fc.oneof(fc.integer(), odd),
    exp: fc.oneof(fc.constant(NOW_MS / 1000 + 60), fc.double(), odd),
    nbf: fc.oneof(fc.constant(NOW_MS / 1000 - 60), fc.double(), odd),
    iss: odd,
    aud: odd,
  },
  { requiredKeys: ['userId', 'deviceIds', 'exp'] },
);

const idText = fc.string({ unit: fc.constantFrom('a', 'b', 'ä', '.'), maxLength: 8 });
const patternText = fc.string({ unit: fc.constantFrom('a', 'b', '*', '.'), minLength: 1, maxLength: 8 });

/** A pattern as a regular expression: slow, and told anew. */
const expression = (pattern: string): RegExp =>
  new RegExp(
    `^${pattern
      .split('*')
      .map((piece) => piece.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'))
      .join('.*')}$`,
    'su',
  );

function grants(list: readonly string[], deviceId: string): boolean {
  return list.some((each) =>
    each.includes('*')
      ? normalPattern(each) !== undefined && expression(each).test(deviceId)
      : each === deviceId,
  );
}

function parseOf(
  data: Buffer,
  isBinary = false,
): { message?: Record<string, unknown>; error?: ProtocolError } {
  try {
    return { message: parseFrame({ data, isBinary }) as unknown as Record<string, unknown> };
  } catch (error) {
    expect(error).toBeInstanceOf(ProtocolError);
    return { error: error as ProtocolError };
  }
}

export const clientTargets: Target[] = [
  target(
    'a message of a client is what the contract says, or a refusal',
    fc.tuple(message, fc.boolean()),
    ([value, isBinary]) => {
      const text = JSON.stringify(value);
      const data = Buffer.from(text);
      const { message: read, error } = timed(data.length * 10, () => parseOf(data, isBinary));
      if (isBinary) {
        expect(error?.code).toBe('invalid_message');
        return;
      }
      if (error !== undefined) {
        expect(['invalid_message', 'unknown_type', 'forbidden']).toContain(error.code);
        expect(error.code === 'forbidden').toBe(error.message === 'Forbidden');
        expect(error.message.length).toBeLessThan(400);
        expect(() => JSON.stringify(error.details)).not.toThrow();
        return;
      }
      const { type } = value;
      expect(read!['type']).toBe(type);
      if (type === 'command') {
        expect(isDeviceId(read!['deviceId'])).toBe(true);
        expect(JSON.parse(read!['json'] as string)).toEqual(JSON.parse(JSON.stringify(value.command)));
      }
      if (type === 'subscribe' || type === 'unsubscribe') {
        const ids = read!['deviceIds'] as string[];
        expect(new Set(ids).size).toBe(ids.length);
        expect(read!['pattern'] === undefined || ids.length === 0).toBe(true);
      }
    },
  ),
  target(
    'any text of a client is read or refused, in time',
    fc.tuple(jsonText, mutations),
    ([text, damage]) => {
      const data = mutated(Buffer.from(text), damage);
      const { message: read, error } = timed(data.length * 10, () => parseOf(data));
      if (read !== undefined) {
        expect(TYPES).toContain(read['type']);
      } else {
        let isJson = true;
        try {
          JSON.parse(data.toString());
        } catch {
          isJson = false;
        }
        expect(error!.code === 'invalid_json').toBe(!isJson);
      }
    },
  ),
  target(
    'a message nested deeper than the bound is refused wherever it is deep',
    fc.tuple(fc.constantFrom('command', 'since', 'x', 'id'), fc.integer({ min: 1, max: 4_000 })),
    ([name, levels]) => {
      const text = `{"type":"command","deviceId":"a","command":1,"${name}":${'['.repeat(levels)}${']'.repeat(levels)}}`;
      const { error } = timed(text.length * 10, () => parseOf(Buffer.from(text)));
      const isGood = levels < MAX_JSON_LEVELS && name !== 'id';
      expect(error?.code).toBe(isGood ? undefined : 'invalid_message');
    },
  ),
  target(
    'claims give a token that grants what they list, or a refusal',
    fc.tuple(claims, fc.array(id)),
    ([value, ids]) => {
      const parsed = JSON.parse(JSON.stringify(value)) as Record<string, unknown>;
      let token;
      try {
        token = readClaims(parsed, { toleranceMs: 0 }, NOW_MS);
      } catch (error) {
        expect(error).toBeInstanceOf(AuthError);
        expect((error as AuthError).message.length).toBeLessThan(200);
        return;
      }
      expect(token.expiresAt).toBeGreaterThan(NOW_MS);
      expect(token.userId.length).toBeGreaterThan(0);
      const list = parsed['deviceIds'] as string[];
      const mayRead =
        parsed['permissions'] === undefined || (parsed['permissions'] as unknown[]).includes('read');
      for (const each of [...ids, ...list]) {
        expect(token.grants.canRead(each)).toBe(mayRead && isDeviceId(each) && grants(list, each));
      }
    },
  ),
  target(
    'patterns match as a regular expression does',
    fc.tuple(patternText, fc.array(idText, { minLength: 1 })),
    ([text, ids]) => {
      const normal = normalPattern(text);
      if (normal !== undefined) {
        const pattern = new IdPattern(normal);
        for (const each of ids) {
          expect(timed(each.length, () => pattern.matches(each))).toBe(expression(normal).test(each));
        }
      }
    },
  ),
  target(
    'a pattern that is covered matches nothing that is not granted',
    fc.tuple(fc.array(patternText, { maxLength: 4 }), patternText, fc.array(idText, { minLength: 1 })),
    ([list, asked, ids]) => {
      const all = new Grants(list);
      const sets = new IdPatternSet(list.flatMap((each) => normalPattern(each) ?? []));
      if (all.coversPattern(asked)) {
        for (const each of ids.filter((one) => isDeviceId(one) && expression(asked).test(one))) {
          expect(all.canRead(each)).toBe(true);
          expect(sets.matchesId(each) || list.includes(each)).toBe(true);
        }
      }
    },
  ),
  target(
    'a token is found in one of its places, whatever the headers are',
    fc.record(
      { authorization: fc.string({ maxLength: 60 }), 'sec-websocket-protocol': fc.string({ maxLength: 60 }) },
      { requiredKeys: [] },
    ),
    (headers) => {
      const bearer = { ...headers, authorization: 'Bearer abc' };
      expect(tokenFromUpgrade(bearer, null)).toBe('abc');
      const found = timed(100, () => tokenFromUpgrade(headers, new URLSearchParams('token=q')));
      expect(typeof found).toBe('string');
      expect(found).not.toBe('');
    },
  ),
];
