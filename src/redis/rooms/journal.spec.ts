import { jest } from '@jest/globals';
import { type EntryPart, Journal } from './journal.js';

const RECORD_BYTES = 28;

describe(Journal.name, () => {
  let now: number;
  let journal: Journal;

  beforeEach(() => {
    now = 1_000_000;
    jest.spyOn(performance, 'now').mockImplementation(() => now);
    journal = new Journal();
    journal.takes(true);
  });

  afterEach(() => {
    jest.restoreAllMocks();
  });

  const part = (deviceId: string, publications: number, recordBytes = RECORD_BYTES): EntryPart => ({
    deviceId,
    operations: Array.from({ length: publications }, () => ({
      payload: Buffer.alloc(10),
      receivedAt: 1,
    })),
    recordBytes,
    end: 100,
  });
  const take = (parts: EntryPart[], bytes = 100): boolean =>
    journal.took(Buffer.alloc(bytes), parts, journal.entries.length + 1);

  it('begins with a full batch, and goes on with smaller ones', () => {
    const fresh = new Journal();
    expect([fresh.takes(false), fresh.takes(true), fresh.takes(false)]).toEqual([false, true, true]);
  });

  it.each([
    ['16 384 publications', () => Array.from({ length: 16_384 }, (_, n) => take([part(`d${n}`, 1)]))],
    ['4 MiB', () => take([part('d', 1)], 4 * 1024 * 1024)],
    ['128 publications of one room', () => Array.from({ length: 128 }, () => take([part('d', 1)]))],
    ['64 KiB of one room', () => take([part('d', 1, 64 * 1024)])],
  ])('takes no more once it has %s', (_, fill) => {
    take([part('other', 1)]);
    expect(journal.takes(true)).toBe(true);
    fill();
    expect(journal.takes(true)).toBe(false);
  });

  it('is old a second after its first entry', () => {
    expect(take([part('d', 1)])).toBe(true);
    now += 999;
    expect(take([part('d', 1)])).toBe(false);
    expect([journal.isOld, journal.takes(true)]).toEqual([false, true]);
    now += 1;
    expect([journal.isOld, journal.takes(true)]).toEqual([true, false]);
  });

  it('rests for five seconds where two rooms had less than three publications', () => {
    take([part('a', 1), part('b', 1)]);
    journal.settled();
    now += 4_999;
    expect(journal.takes(true)).toBe(false);
    now += 1;
    expect(journal.takes(true)).toBe(true);
    take([part('a', 1), part('b', 2)]);
    journal.settled();
    expect(journal.takes(false)).toBe(true);
  });

  it('forgets what somebody else has settled', () => {
    take([part('a', 1)]);
    take([part('b', 1)]);
    expect(journal.took(Buffer.alloc(9), [part('c', 1)], 1)).toBe(true);
    expect([journal.publications, [...journal.rooms.keys()]]).toEqual([1, ['c']]);
    journal.took(Buffer.alloc(9), [part('d', 1)], 0);
    expect([journal.publications, journal.rooms.size, journal.entries.length]).toEqual([0, 0, 0]);
  });
});
