import { jest } from '@jest/globals';
import { turn } from '../../../test/support/event-loop.js';
import { TurnQueue } from './crowd.js';

const PER_TURN = 16;
/** More than are let go at once, and no multiple of a turn's. */
const ENTRIES = 2_500;

describe(TurnQueue.name, () => {
  const numbers = (from: number, to: number): number[] =>
    Array.from({ length: to - from }, (_, index) => from + index);

  it('sees to all that is pushed, in order, a few a turn, and then rests', async () => {
    const seen: number[] = [];
    const queue = new TurnQueue<number>(PER_TURN, (entry) => seen.push(entry));
    numbers(0, ENTRIES).forEach((entry) => queue.push(entry));
    expect(seen).toEqual([]);
    for (let turns = 1; turns <= Math.ceil(ENTRIES / PER_TURN); turns += 1) {
      await turn();
      expect(seen).toHaveLength(Math.min(ENTRIES, turns * PER_TURN));
    }
    expect(seen).toEqual(numbers(0, ENTRIES));
    const scheduled = jest.spyOn(globalThis, 'setImmediate');
    await turn();
    await turn();
    expect(scheduled).toHaveBeenCalledTimes(2); // the turns of this test
    scheduled.mockRestore();
  });

  it('takes more while it is at work', async () => {
    const seen: number[] = [];
    const queue = new TurnQueue<number>(1, (entry) => {
      seen.push(entry);
      if (entry < 3) {
        queue.push(entry + 1);
      }
    });
    queue.push(0);
    for (let turns = 0; turns < 4; turns += 1) {
      await turn();
    }
    queue.push(9);
    await turn();
    expect(seen).toEqual([0, 1, 2, 3, 9]);
  });
});
