import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { MAX_ID_CHARACTERS, MAX_KEYS, TopLists } from './top-lists.js';

describe(TopLists.name, () => {
  const lines: unknown[][] = [];

  beforeEach(() => {
    lines.length = 0;
    jest.spyOn(Logger.prototype, 'warn').mockImplementation((...line: unknown[]) => void lines.push(line));
  });
  afterEach(() => void jest.restoreAllMocks());

  const refuse = (top: TopLists, id: string, reason: string, hash?: string) => {
    const { tokens } = top.refused;
    if (tokens.due()) {
      tokens.refused(id, reason, hash === undefined ? {} : { hash });
    }
  };

  it('have who is refused, how often, and why the last time', () => {
    const top = new TopLists();
    refuse(top, 'ann', 'expired');
    refuse(top, 'bob', 'invalid');
    refuse(top, 'ann', 'revoked', 'ab12');
    expect(top.refused.tokens.read(10).entries).toEqual([
      { key: 'ann', weight: 2, note: { reason: 'revoked', hash: 'ab12', at: expect.any(Number) as number } },
      { key: 'bob', weight: 1, note: { reason: 'invalid', at: expect.any(Number) as number } },
    ]);
  });

  it('write one line a reason and minute, which names somebody', () => {
    const top = new TopLists();
    for (let at = 0; at < 1_000; at++) {
      refuse(top, `user-${at}`, at % 2 === 0 ? 'expired' : 'invalid');
    }
    expect(lines).toEqual([
      [
        'A token was refused: expired, "user-0"',
        { kind: 'tokens', id: 'user-0', reason: 'expired', silent: 0 },
      ],
      [
        'A token was refused: invalid, "user-1"',
        { kind: 'tokens', id: 'user-1', reason: 'invalid', silent: 0 },
      ],
    ]);
  });

  it('cut ids that others made long, and keep as many as they may', () => {
    const top = new TopLists();
    refuse(top, 'x'.repeat(10_000), 'invalid');
    expect(top.refused.tokens.read(1).entries[0]?.key).toHaveLength(MAX_ID_CHARACTERS + 1);
    for (let at = 0; at < 3 * MAX_KEYS; at++) {
      refuse(top, `user-${at}`, 'invalid');
    }
    expect(top.size).toBe(MAX_KEYS);
  });
});
