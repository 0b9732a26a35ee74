import fc from 'fast-check';
import { replyText } from './reply-text.js';
import type { ReplyMessage } from './server-messages.js';

const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'grapheme-ascii' }),
  fc.array(fc.nat(0xffff)).map((units) => String.fromCharCode(...units)),
);
const whole = fc.maxSafeNat();
const room = fc.record(
  { deviceId: text, epoch: text, offset: whole, recovered: fc.boolean(), rewoundFrom: whole },
  { requiredKeys: ['deviceId', 'epoch', 'offset'] },
);
const message: fc.Arbitrary<ReplyMessage> = fc.oneof(
  fc.record({
    type: fc.constant('connected' as const),
    userId: text,
    connectionId: text,
    protocol: fc.constant('sluice.v1' as const),
    heartbeatMs: whole,
    serverTs: whole,
  }),
  fc.record({
    type: fc.constant('subscribed' as const),
    id: fc.oneof(fc.constant(undefined), text, fc.double()),
    rooms: fc.array(room),
    denied: fc.array(text),
  }),
  fc.record({
    type: fc.constant('error' as const),
    error: text,
    code: fc.constant('forbidden' as const),
  }),
);

describe(replyText.name, () => {
  it('writes every message as JSON.stringify does', () => {
    fc.assert(
      fc.property(message, (reply) => {
        expect(replyText(reply)).toBe(JSON.stringify(reply));
      }),
      { numRuns: 500 },
    );
  });

  it('writes of a room what the protocol has, whatever else the object holds', () => {
    const watched = { deviceId: 'pump-1', epoch: 'e', offset: 3, audience: [1, 2] };
    expect(replyText({ type: 'subscribed', rooms: [watched], denied: [] })).toBe(
      '{"type":"subscribed","rooms":[{"deviceId":"pump-1","epoch":"e","offset":3}],"denied":[]}',
    );
  });
});
