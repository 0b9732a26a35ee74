import { jest } from '@jest/globals';
import { Backlog } from './backlog.js';

describe(Backlog.name, () => {
  let now: number;
  let sent: string[];
  let session: { up: boolean; unacknowledged: number };
  let notes: { connectionNumber: number; sendMarker(marker: string): void };
  let backlog: Backlog;
  const second = (): void => {
    now += 1_000;
    backlog.look();
  };

  beforeEach(() => {
    jest.useFakeTimers();
    [now, sent] = [0, []];
    session = { up: true, unacknowledged: 1 };
    notes = { connectionNumber: 1, sendMarker: (marker) => sent.push(marker) };
    backlog = new Backlog(
      notes,
      'r',
      () => session,
      () => now,
    );
    backlog.look();
  });
  afterEach(() => {
    backlog.stop();
    jest.useRealTimers();
  });

  it('is what the last marker has waited', () => {
    now = 3;
    expect(backlog.passed(sent[0]!)).toBe(true);
    now = 900;
    expect(backlog.behindMs).toBe(3);
  });

  // 450 000 messages waited at the broker and dashboards were 79 s behind, while the age of what had been read was 0.4 s.
  it('grows while nothing comes through, and falls as the queue gets shorter', () => {
    for (let passed = 0; passed < 10; passed += 1) {
      second();
    }
    expect(backlog.behindMs).toBe(10_000);
    backlog.passed(sent[0]!);
    expect(backlog.behindMs).toBe(10_000);
    backlog.passed(sent[9]!);
    expect(backlog.behindMs).toBe(1_000);
    backlog.passed(sent[10]!);
    expect(backlog.behindMs).toBe(0);
  });

  it('does not wait for markers that a full queue has dropped', () => {
    second();
    second();
    backlog.passed(sent[2]!);
    now += 500;
    expect([backlog.behindMs, backlog.passed(sent[0]!)]).toEqual([0, false]);
  });

  it('has sixteen markers under way at most, the oldest among them', () => {
    for (let passed = 0; passed < 100; passed += 1) {
      second();
      expect((backlog as unknown as { underWay: unknown[] }).underWay.length).toBeLessThanOrEqual(16);
    }
    expect(backlog.behindMs).toBe(100_000);
  });

  it('says nothing of a broker that passes no markers on', () => {
    session.unacknowledged = 0;
    for (let passed = 0; passed < 6; passed += 1) {
      second();
    }
    expect(backlog.behindMs).toBe(0);
  });

  it('begins anew where markers may be lost with a connection', () => {
    second();
    second();
    notes.connectionNumber = 2;
    second();
    expect([backlog.behindMs, backlog.passed(sent[0]!)]).toEqual([0, false]);
    session.up = false;
    second();
    expect(sent).toHaveLength(4);
  });
});
