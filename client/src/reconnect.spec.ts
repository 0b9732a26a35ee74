import { afterClose, fullJitter } from './reconnect.js';

const half = (): number => 0.5;

describe('afterClose', () => {
  it('waits a random part of a time that doubles, up to half a minute', () => {
    expect([0, 1, 2, 10, 1_000].map((attempt) => fullJitter(attempt, half))).toEqual([
      500, 1_000, 2_000, 15_000, 15_000,
    ]);
    expect(afterClose(1006, '', 3, half)).toBe(4_000);
  });

  it.each([1012, 1013])('waits as long as %i says, and a little longer at random', (code) => {
    expect(afterClose(code, '{"retryAfterMs":4210}', 9, half)).toBe(4_710);
  });

  it.each(['', '{}', '{"retryAfterMs":-1}', '{"retryAfterMs":"soon"}', 'null'])(
    'takes a 1012 with the reason %j as any other close',
    (reason) => {
      expect(afterClose(1012, reason, 0, half)).toBe(500);
    },
  );

  it('asks for another token, keeps away, or gives others time to close', () => {
    expect([4001, 4002].map((code) => afterClose(code, '', 0, half))).toEqual(['new-token', 'new-token']);
    expect([1008, 1009].map((code) => afterClose(code, '', 0, half))).toEqual([null, null]);
    expect(afterClose(4009, '', 0, half)).toBe(45_000);
  });
});
