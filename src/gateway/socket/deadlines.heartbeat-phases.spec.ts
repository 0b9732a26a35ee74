import { type Beating, HeartbeatPhases } from './deadlines.js';

class Entry implements Beating<Entry> {
  dueAt = 0;
  nextDue: Entry | null = null;
  previousDue: Entry | null = null;
  phase = 0;
  readonly beats: number[] = [];
}

const INTERVAL_MS = 30_000;
const TICK_MS = 500;

/** Lets time pass. @returns how many were due at each tick */
function pass(phases: HeartbeatPhases<Entry>, fromMs: number, toMs: number): number[] {
  const counts: number[] = [];
  for (let now = fromMs; now <= toMs; now += TICK_MS) {
    let count = 0;
    for (let due = phases.takeDue(now); due !== null; due = phases.takeDue(now)) {
      due.beats.push(now);
      count += 1;
    }
    counts.push(count);
  }
  return counts;
}

describe(HeartbeatPhases.name, () => {
  it('pings a connection that is alone once in an interval', () => {
    const phases = new HeartbeatPhases<Entry>(INTERVAL_MS);
    const entry = new Entry();
    phases.add(entry, 0);
    pass(phases, 0, 100_000);
    expect(entry.beats).toEqual([30_000, 60_000, 90_000]);
  });

  it('spreads connections that open together, and pings each once in an interval from its first time on', () => {
    const phases = new HeartbeatPhases<Entry>(INTERVAL_MS);
    const entries = Array.from({ length: 1_200 }, () => new Entry());
    entries.forEach((entry) => phases.add(entry, 0));
    const counts = pass(phases, 0, 4 * INTERVAL_MS);
    expect(Math.max(...counts)).toBe(40);
    for (const { beats } of entries) {
      expect(beats[0]).toBeGreaterThanOrEqual(INTERVAL_MS / 2);
      expect(beats[0]).toBeLessThanOrEqual(INTERVAL_MS);
      expect(beats.slice(1).map((beat, index) => beat - (beats[index] as number))).toEqual(
        beats.slice(1).map(() => INTERVAL_MS),
      );
    }
  });

  it('forgets who has left, before and after the first time', () => {
    const phases = new HeartbeatPhases<Entry>(INTERVAL_MS);
    const [a, b, c] = [new Entry(), new Entry(), new Entry()];
    [a, b, c].forEach((entry) => phases.add(entry, 0));
    phases.remove(b);
    pass(phases, 0, INTERVAL_MS);
    phases.remove(c);
    expect(phases.size).toBe(1);
    pass(phases, INTERVAL_MS + TICK_MS, 2 * INTERVAL_MS);
    expect([a, b, c].map(({ beats }) => beats.length)).toEqual([2, 0, 1]);
  });
});
