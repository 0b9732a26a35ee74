import { describe, expect, it } from '@jest/globals';

import { Contender } from './contender.js';
import { takeTurns } from './take-turns.js';

function contender(key, said, assertAlive = () => {}) {
  const stop = async () => said.push(`${key} stops`);
  return new Contender({ key, load: { say: key } }, { said, assertAlive, stop }, 2);
}

const turns = {
  count: 2,
  begin: async ({ said }, { say }) => said.push(`${say} begins`),
  take: async ({ said }, { say, seconds }) => {
    said.push(say);
    return { seconds };
  },
};

describe(takeTurns.name, () => {
  it('lets each begin, then measures them in turns, there and back', async () => {
    const said = [];
    const both = [contender('a', said), contender('b', said)];
    await takeTurns(turns, both);
    expect(said).toEqual(['a begins', 'b begins', 'a', 'b', 'b', 'a']);
    expect(both.map(({ turns: measured }) => measured)).toEqual([
      [{ seconds: 2 }, { seconds: 2 }],
      [{ seconds: 2 }, { seconds: 2 }],
    ]);
  });

  it('goes on without one that fails, and says what its server said last', async () => {
    const said = [];
    const assertAlive = () => {
      throw new Error('the server has ended: out of memory');
    };
    const both = [contender('a', said, assertAlive), contender('b', said)];
    const begin = async (trial, load) => {
      if (load.say === 'a') {
        throw new Error('no answer');
      }
      await turns.begin(trial, load);
    };
    await takeTurns({ ...turns, begin }, both);
    expect(said).toEqual(['a stops', 'b begins', 'b', 'b']);
    expect(both[0].failure.message).toBe('the server has ended: out of memory');
    expect(both[0].turns).toEqual([]);
    expect(both[1].failure).toBeNull();
  });
});
