import { replyText } from './reply-text.js';
import type { ReplyMessage, SubscribedRoom } from './server-messages.js';

const TEXTS = [
  'pump-1',
  '',
  'a"b',
  'back\\slash',
  'tab\there',
  'Ä€😀',
  '\u2028',
  '\ud800',
  '[]{}^_`~!',
  '\u007f',
];
const pick = (): string => TEXTS[Math.floor(Math.random() * TEXTS.length)] ?? '';

function randomRoom(): SubscribedRoom {
  const room = { deviceId: pick(), epoch: pick(), offset: Math.floor(Math.random() * 2 ** 40) };
  return Math.random() < 0.5 ? room : { ...room, recovered: Math.random() < 0.5 };
}

function randomMessage(): ReplyMessage {
  if (Math.random() < 0.3) {
    const times = { heartbeatMs: 30_000, serverTs: Date.now() };
    return { type: 'connected', userId: pick(), connectionId: pick(), protocol: 'sluice.v1', ...times };
  }
  const rooms = Array.from({ length: Math.floor(Math.random() * 4) }, randomRoom);
  const denied = Array.from({ length: Math.floor(Math.random() * 3) }, pick);
  const ids = [undefined, pick(), 7, 1.5];
  return { type: 'subscribed', id: ids[Math.floor(Math.random() * ids.length)], rooms, denied };
}

describe(replyText.name, () => {
  it('writes every message as JSON.stringify does', () => {
    for (let round = 0; round < 2_000; round += 1) {
      const message = randomMessage();
      expect(replyText(message)).toBe(JSON.stringify(message));
    }
    const error: ReplyMessage = { type: 'error', error: 'a "sentence"', code: 'not_found' as never };
    expect(replyText(error)).toBe(JSON.stringify(error));
  });

  it('writes of a room what the protocol has, whatever else the object holds', () => {
    const room = { deviceId: 'pump-1', epoch: 'e', offset: 3, audience: [1, 2] };
    expect(replyText({ type: 'subscribed', rooms: [room], denied: [] })).toBe(
      '{"type":"subscribed","rooms":[{"deviceId":"pump-1","epoch":"e","offset":3}],"denied":[]}',
    );
  });
});
