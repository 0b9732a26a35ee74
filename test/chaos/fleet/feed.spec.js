import { beforeEach, describe, expect, it } from '@jest/globals';
import { Feed } from './feed.js';
import { FieldFeed } from './field-feed.js';
import { Ledger } from './ledger.js';

/** The judge itself: each kind of breach is seen, and what the contract allows is not called one. */
describe(Feed.name, () => {
  let ledger;
  let feed;
  const publish = (count) => {
    const entry = ledger.devices.get('d');
    for (let index = 0; index < count; index += 1) {
      entry.acknowledged.add((entry.sent += 1));
    }
  };
  const live = (n, offset, epoch = 'A', more = {}) =>
    feed.telemetry({ payload: { n }, epoch, offset, ...more }, n);
  const snapshot = (n, offset, epoch, answer = false) =>
    feed.snapshot({ telemetry: { payload: { n }, epoch, offset } }, answer);

  beforeEach(() => {
    ledger = new Ledger(['d']);
    feed = new Feed('d', ledger);
    feed.subscribed({ epoch: 'A', offset: 0 });
    publish(5);
  });

  it('counts nothing when everything comes once and in order', () => {
    [1, 2, 3, 4, 5].forEach((n) => live(n, n));
    expect(feed).toMatchObject({ delivered: 5, duplicated: 0, outOfOrder: 0, offsetGaps: 0, resets: 0 });
    expect(feed.missing()).toEqual({ lost: 0, superseded: 0 });
  });

  it('sees a loss, in the middle and at the end', () => {
    live(1, 1);
    live(3, 2);
    expect(feed.missing().lost).toBe(3);
  });

  it('sees a jump of the offset, unless it says what was skipped', () => {
    live(1, 1);
    live(3, 3);
    live(5, 5, 'A', { skipped: 1 });
    expect(feed.offsetGaps).toBe(1);
  });

  it('sees a duplicate and one that comes late', () => {
    live(1, 1);
    live(3, 2);
    live(2, 3);
    live(2, 4);
    expect(feed).toMatchObject({ outOfOrder: 1, duplicated: 1, delivered: 3 });
  });

  it('sees a new epoch that no snapshot announced', () => {
    live(1, 1);
    live(2, 1, 'B');
    expect(feed.unannouncedEpochs).toBe(1);
  });

  it('takes what a new epoch leaves out as said, and what is missing after it as lost', () => {
    live(1, 1);
    snapshot(1, 0, 'B');
    live(3, 1, 'B');
    live(5, 2, 'B');
    expect(feed).toMatchObject({ resets: 1, unannouncedEpochs: 0 });
    expect(feed.missing()).toEqual({ lost: 1, superseded: 1 });
  });

  it('sees an old value in a snapshot', () => {
    live(1, 1);
    live(2, 2);
    snapshot(1, 0, 'B');
    expect(feed.staleSnapshots).toBe(1);
  });

  it('goes on without a loss after a resume, and calls one that failed a reset', () => {
    live(1, 1);
    feed.subscribed({ epoch: 'A', offset: 3, recovered: true });
    expect([live(2, 2), live(3, 3), live(4, 4)]).toEqual([false, false, true]);
    expect(feed.missing().lost).toBe(1);
    feed.subscribed({ epoch: 'B', offset: 9, recovered: false });
    snapshot(5, 9, 'B', true);
    expect(feed.missing()).toEqual({ lost: 0, superseded: 1 });
    expect(feed.resets).toBe(1);
  });

  it('sees a position with two meanings', () => {
    live(1, 1);
    new Feed('d', ledger).telemetry({ payload: { n: 2 }, epoch: 'A', offset: 1 }, 0);
    expect(ledger.conflicts).toBe(1);
  });
});

describe(FieldFeed.name, () => {
  let ledger;
  let feed;
  const live = (payload, offset, epoch = 'A') => feed.telemetry({ payload, epoch, offset }, offset);

  beforeEach(() => {
    ledger = new Ledger(['d']);
    feed = new FieldFeed('d', ledger);
    feed.subscribed({ epoch: 'A', offset: 0 });
    ledger.acknowledge('d', 1, ['a']);
    ledger.acknowledge('d', 2, ['a', 'b']);
  });

  it('counts nothing when every state goes on from the one before', () => {
    live({ a: 1 }, 1);
    live({ a: 2, b: 2 }, 2);
    expect(feed).toMatchObject({ delivered: 2, duplicated: 0, outOfOrder: 0, offsetGaps: 0 });
    expect(feed.missing().lost).toBe(0);
  });

  it('sees a field that never came, one that goes back, and one that is gone', () => {
    live({ a: 1 }, 1);
    expect(feed.missing().lost).toBe(2);
    live({ a: 2, b: 2 }, 2);
    live({ a: 1 }, 3);
    expect(feed.outOfOrder).toBe(2);
  });

  it('sees a state that comes twice, unless the numbering began anew or the device is one that is born', () => {
    live({ a: 2, b: 2 }, 1);
    live({ a: 2, b: 2 }, 2);
    expect(feed.duplicated).toBe(1);
    feed.snapshot({ telemetry: { payload: { a: 2, b: 2 }, epoch: 'B', offset: 0 } }, false);
    live({ a: 2, b: 2 }, 1, 'B');
    ledger.devices.get('d').isBorn = true;
    live({ a: 2, b: 2 }, 2, 'B');
    expect(feed).toMatchObject({ duplicated: 1, staleSnapshots: 0 });
  });

  it('sees an old value in a snapshot', () => {
    live({ a: 2, b: 2 }, 1);
    feed.snapshot({ telemetry: { payload: { a: 1, b: 2 }, epoch: 'B', offset: 0 } }, false);
    expect(feed.staleSnapshots).toBe(1);
  });
});
