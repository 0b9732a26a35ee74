import { jest } from '@jest/globals';
import { HandshakeLine, type LineOutcome, type Place } from './admission.js';

describe(HandshakeLine.name, () => {
  let now: number;
  let line: HandshakeLine;
  /** Who had a turn. */
  let gone: string[];
  let refused: string[];

  beforeEach(() => {
    jest.useFakeTimers();
    now = 0;
    line = new HandshakeLine({ intervalMs: 10, burstMs: 0, maxLength: 20 }, () => now);
    gone = [];
    refused = [];
  });

  afterEach(() => jest.useRealTimers());

  const join = (name: string, address = name): Place =>
    line.join(address, (outcome: LineOutcome) => (outcome === 'turn' ? gone : refused).push(name));
  const joinAll = (...names: string[]): Place[] => names.map((name) => join(name, name[0]));

  function pass(ms: number): void {
    now += ms;
    jest.advanceTimersByTime(ms);
  }

  it('lets each go on at the rate, in order', () => {
    expect(line.pass()).toBe(true);
    joinAll('a', 'b', 'c');
    pass(10);
    expect(gone).toEqual(['a']);
    pass(20);
    expect([gone, line.length]).toEqual([['a', 'b', 'c'], 0]);
    expect(line.pass()).toBe(false);
    pass(10);
    expect(line.pass()).toBe(true);
    expect(jest.getTimerCount()).toBe(0);
  });

  // Defect: the line was one for all, so an address that sent ten times the rate had everybody wait as long as itself.
  it('lets addresses take turns, however many attempts each has', () => {
    line.pass();
    joinAll('a1', 'a2', 'a3', 'a4', 'b1', 'b2', 'c1');
    pass(40);
    joinAll('d1');
    pass(40);
    expect(gone).toEqual(['a1', 'b1', 'c1', 'a2', 'b2', 'a3', 'd1', 'a4']);
  });

  // Defect: an attempt whose client was gone kept its place, and used up a turn of the rate.
  it('spends no turn on who quits', () => {
    line.pass();
    const places = joinAll('a1', 'a2', 'a3', 'b1', 'b2');
    [0, 1, 3].forEach((at) => line.quit(places[at] as Place));
    expect(line.length).toBe(2);
    pass(20);
    expect(gone).toEqual(['a3', 'b2']);
    line.quit(join('c'));
    expect([line.length, jest.getTimerCount()]).toEqual([0, 0]);
  });

  it('when full, takes one of an address with fewer in place of the last of the address with most', () => {
    line.pass();
    for (let at = 1; at <= 20; at += 1) {
      join(`a${at}`, 'a');
    }
    expect([line.hasRoomFor('a'), line.hasRoomFor('b')]).toEqual([false, true]);
    joinAll('b1', 'c1', 'b2');
    expect([refused, line.length]).toEqual([['a20', 'a19', 'a18'], 20]);
    pass(40);
    expect(gone).toEqual(['a1', 'b1', 'c1', 'a2']);
  });

  it('when full of addresses that have one each, has no room', () => {
    line.pass();
    for (let at = 1; at <= 20; at += 1) {
      join(`address-${at}`);
    }
    expect([line.hasRoomFor('address-1'), line.hasRoomFor('other')]).toEqual([false, false]);
  });

  it('knows the longest queue through any order of joins, turns and ends', () => {
    line.pass();
    const places = joinAll('a1', 'a2', 'a3', 'a4', 'a5', 'b1', 'b2', 'c1');
    places.slice(0, 5).forEach((place) => line.quit(place));
    joinAll(...Array.from({ length: 17 }, (_, at) => `${'defghijkl'[at % 9]}${at}`));
    expect([line.length, line.hasRoomFor('z')]).toEqual([20, true]);
    join('z');
    expect([line.length, refused.length]).toEqual([20, 1]);
    pass(1_000);
    expect([gone.length, line.length]).toEqual([20, 0]);
  });

  it('takes few of them a turn of the event loop when many are due at once', () => {
    line.pass();
    joinAll(...Array.from({ length: 10 }, (_, at) => `a${at}`));
    now = 1_000;
    jest.advanceTimersToNextTimer();
    expect(gone).toHaveLength(4);
    jest.advanceTimersToNextTimer();
    expect(gone).toHaveLength(8);
    jest.advanceTimersToNextTimer();
    expect(gone).toHaveLength(10);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('keeps its order and its count when it never empties', () => {
    line.pass();
    joinAll('a0');
    for (let at = 1; at <= 5_000; at += 1) {
      joinAll(`a${at}`);
      pass(10);
    }
    pass(10);
    expect(gone).toEqual(Array.from({ length: 5_001 }, (_, at) => `a${at}`));
    expect(line.length).toBe(0);
  });

  // Defect: a process that was halted for a second with some attempts in the line refused everybody who had come meanwhile with 503, though
  // all had their turn within milliseconds. What counts is for how long the line is late although it has its turns.
  it('says for how long it is late although it has turns, which after a single halt it is not', () => {
    line.pass();
    joinAll('a1', 'a2', 'a3', 'a4', 'a5', 'a6');
    now = 1_500;
    expect(line.lateForMs).toBe(0);
    jest.advanceTimersToNextTimer();
    expect([gone.length, line.lateForMs]).toEqual([4, 0]);
    now = 1_510;
    expect(line.lateForMs).toBe(10);
    jest.advanceTimersToNextTimer();
    expect([gone.length, line.lateForMs]).toEqual([6, 0]);
    joinAll(...Array.from({ length: 12 }, (_, at) => `b${at}`));
    for (now = 4_000; now <= 5_000; now += 1_000) {
      jest.advanceTimersToNextTimer();
    }
    expect([gone.length, line.lateForMs]).toEqual([14, 2_000]);
    jest.advanceTimersToNextTimer();
    expect([gone.length, line.lateForMs]).toEqual([18, 0]);
  });

  it('lets nobody wait when it closes', () => {
    line.pass();
    joinAll('a1', 'b1', 'a2');
    line.close();
    expect(refused).toEqual(['a1', 'a2', 'b1']);
    expect([line.length, jest.getTimerCount()]).toEqual([0, 0]);
  });
});
