import { jest } from '@jest/globals';
import { HandshakeLine } from './handshake-line.js';

describe(HandshakeLine.name, () => {
  let now: number;
  let line: HandshakeLine;
  let gone: number[];

  beforeEach(() => {
    jest.useFakeTimers();
    now = 0;
    line = new HandshakeLine(() => now);
    gone = [];
  });

  afterEach(() => jest.useRealTimers());

  const join = (dueAt: number): void => line.join(dueAt, () => gone.push(dueAt));

  function pass(ms: number): void {
    now += ms;
    jest.advanceTimersByTime(ms);
  }

  it('lets each go on when its time has come, in order', () => {
    [1, 2, 3, 10].forEach(join);
    pass(2);
    expect(gone).toEqual([1, 2]);
    pass(2);
    expect([gone, line.length]).toEqual([[1, 2, 3], 1]);
    pass(6);
    expect([gone, line.length]).toEqual([[1, 2, 3, 10], 0]);
    join(11);
    pass(1);
    expect(gone).toEqual([1, 2, 3, 10, 11]);
  });

  it('takes few of them a turn when many are due at once', () => {
    Array.from({ length: 10 }, () => join(5));
    now = 5;
    jest.advanceTimersToNextTimer();
    expect(gone).toHaveLength(4);
    jest.advanceTimersToNextTimer();
    expect(gone).toHaveLength(8);
    jest.advanceTimersToNextTimer();
    expect(gone).toHaveLength(10);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('keeps its order and its count when it never empties', () => {
    for (let at = 1; at <= 5_000; at += 1) {
      join(at);
      join(at);
      pass(1);
    }
    pass(10);
    expect(gone).toHaveLength(10_000);
    expect(gone).toEqual([...gone].sort((a, b) => a - b));
    expect(line.length).toBe(0);
  });

  it('says by how much it is late', () => {
    [100, 200].forEach(join);
    expect(line.lateMs).toBe(0);
    now = 1_500;
    expect(line.lateMs).toBe(1_400);
  });

  it('lets everybody go on when it closes', () => {
    [100, 200].forEach(join);
    line.close();
    expect(gone).toEqual([100, 200]);
    expect([line.length, jest.getTimerCount()]).toEqual([0, 0]);
  });
});
