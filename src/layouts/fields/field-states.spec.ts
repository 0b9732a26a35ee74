import { jest } from '@jest/globals';
import { StoreLostError } from '../../ingest/ports.js';
import { base, LIMITS, PLAIN, StatesOfTest } from './field-states.fixture.js';
import type { TelemetryTransform } from './known-states.js';

/** `t` in tenths becomes `temp`. */
const SCALED: TelemetryTransform = {
  concerns: () => true,
  payload: (_deviceId, payload) => {
    const { t, ...rest } = JSON.parse(payload.toString()) as { t?: number };
    return t === undefined
      ? payload
      : Buffer.from(JSON.stringify({ ...rest, temp: typeof t === 'number' ? t / 10 : t }));
  },
};

describe('FieldStates', () => {
  let t: StatesOfTest;
  beforeEach(() => {
    t = new StatesOfTest();
  });
  afterEach(() => t.stop());

  it('publishes the whole state with every value, in the bytes that came', () => {
    t.say({ t: '21.50' });
    t.say({ rpm: '1e3' });
    t.say({ t: '21.60', ok: 'true' });

    expect(t.published).toEqual(['{"t":21.50}', '{"t":21.50,"rpm":1e3}', '{"t":21.60,"rpm":1e3,"ok":true}']);
    expect(t.outcomes).toEqual(['accepted', 'accepted', 'accepted']);
  });

  it('removes a field without value, and publishes nothing when there is none to remove', () => {
    t.say({ t: '1', u: 'null' });
    t.say({ t: null });
    t.say({ t: null });
    t.say({ x: null }, { deviceId: 'unknown' });

    expect(t.published).toEqual(['{"t":1,"u":null}', '{"u":null}']);
    expect(t.outcomes).toEqual(['accepted', 'accepted', 'accepted', 'accepted']);
    expect(t.states.totals.devices).toBe(1);
  });

  it('begins anew with a reading that is the whole state', () => {
    t.say({ t: '1', u: '2' });
    t.say({ v: '3' }, { replaces: true });
    t.say({}, { replaces: true });

    expect(t.published).toEqual(['{"t":1,"u":2}', '{"v":3}', '{}']);
  });

  it('takes the last of two equal names', () => {
    t.states.apply({
      deviceId: 'd',
      fields: ['1', '2'].map((value) => [Buffer.from('"t"'), Buffer.from(value)] as const),
      windowMs: 0,
      receivedAt: 1,
      receivedMono: 1,
      packetId: 0,
      dup: false,
      retained: false,
      settle: () => undefined,
    });
    expect(t.published).toEqual(['{"t":2}']);
  });

  describe('windows', () => {
    it('join what comes within them into one publication, which settles all of it', () => {
      t.answer = null;
      t.say({ a: '1' }, { windowMs: 50 });
      jest.advanceTimersByTime(40);
      t.say({ b: '2' }, { windowMs: 50, packetId: 9 });
      t.say({ a: '3' }, { windowMs: 50, packetId: 0 });
      expect(t.published).toEqual([]);
      jest.advanceTimersByTime(10);

      expect(t.published).toEqual(['{"a":3,"b":2}']);
      expect(t.messages[0]?.packetId).toBe(9);
      expect(t.outcomes).toEqual([]);
      t.messages[0]?.settle('accepted');
      expect(t.outcomes).toEqual(['accepted', 'accepted', 'accepted']);
      jest.advanceTimersByTime(1_000);
      expect(t.published).toHaveLength(1);
    });

    it('end each for itself, with one timer for all', () => {
      t.say({ a: '1' }, { deviceId: 'x', windowMs: 50 });
      jest.advanceTimersByTime(20);
      t.say({ a: '2' }, { deviceId: 'y', windowMs: 50 });
      t.say({ a: '3' }, { deviceId: 'z', windowMs: 10 });
      expect(jest.getTimerCount()).toBe(1 + 1); // and the one for states that are silent
      jest.advanceTimersByTime(10);
      expect(t.published).toEqual(['{"a":3}']);
      jest.advanceTimersByTime(20);
      expect(t.published).toEqual(['{"a":3}', '{"a":1}']);
      jest.advanceTimersByTime(20);
      expect(t.published).toEqual(['{"a":3}', '{"a":1}', '{"a":2}']);
    });

    it('end with a value that does not wait', () => {
      t.say({ a: '1' }, { windowMs: 50 });
      t.say({ b: '2' });
      jest.advanceTimersByTime(100);
      expect(t.published).toEqual(['{"a":1,"b":2}']);
    });

    it('end early when as many values wait in them as are allowed', () => {
      for (let value = 1; value <= LIMITS.maxOpen; value += 1) {
        expect(t.published).toEqual([]);
        t.say({ a: String(value) }, { windowMs: 60_000, deviceId: value % 2 === 0 ? 'x' : 'y' });
      }
      expect(t.published).toEqual(['{"a":5}', '{"a":6}']);
    });

    it('end early when the broker may be waiting for acknowledgements', () => {
      t.states = t.make(PLAIN, { maxOpen: 100 });
      for (let value = 1; value < 20; value += 1) {
        t.say({ a: String(value) }, { windowMs: 60_000 });
      }
      jest.advanceTimersByTime(1_000);
      expect(t.published).toEqual([]);
      t.say({ a: '20' }, { windowMs: 60_000 });
      jest.advanceTimersByTime(10);
      expect(t.published).toEqual(['{"a":20}']);
    });

    it('are published by a flush, and left unsettled by a stop', () => {
      t.say({ a: '1' }, { windowMs: 50 });
      t.states.flush();
      t.say({ a: '2' }, { windowMs: 50 });
      t.states.stop();
      jest.advanceTimersByTime(100);
      t.say({ a: '3' });

      expect(t.published).toEqual(['{"a":1}']);
      expect(t.outcomes).toEqual(['accepted']);
    });
  });

  describe('what the store shows', () => {
    it('is what a state begins with', () => {
      t.bases.set('d', base('{"t": 1.0, "u":[2]}'));
      t.say({ v: '3' });
      expect(t.published).toEqual(['{"t":1.0,"u":[2],"v":3}']);
    });

    it('counts for nothing when it is no object', () => {
      t.bases.set('d', base('[1,2]'));
      t.say({ v: '3' });
      expect(t.published).toEqual(['{"v":3}']);
    });

    it('is waited for, with all that comes meanwhile, in order', async () => {
      t.slow = true;
      t.say({ a: '1' });
      t.say({ b: '2' });
      t.say({ a: '3' });
      expect([t.published, t.asked.length, t.states.totals.waiting]).toEqual([[], 1, 3]);
      t.asked[0]?.resolve(base('{"z":0}'));
      await new Promise(setImmediate);

      expect(t.published).toEqual(['{"z":0,"a":1}', '{"z":0,"a":1,"b":2}', '{"z":0,"a":3,"b":2}']);
      expect(t.states.totals.waiting).toBe(0);
    });

    it('is asked for anew after the store was lost, whose messages stay unsettled', async () => {
      t.slow = true;
      t.say({ a: '1' });
      t.asked[0]?.reject(new StoreLostError('test'));
      await new Promise(setImmediate);
      expect([t.outcomes, t.states.totals]).toEqual([[], { devices: 0, bytes: 0, waiting: 0 }]);
      t.say({ b: '2' });
      t.asked[1]?.resolve(null);
      await new Promise(setImmediate);
      expect(t.published).toEqual(['{"b":2}']);
    });

    it('costs the messages that wait for it when it cannot be read', async () => {
      t.slow = true;
      t.say({ a: '1' });
      t.asked[0]?.reject(new Error('unforeseen'));
      await new Promise(setImmediate);
      expect([t.outcomes, t.states.totals]).toEqual([['failed'], { devices: 0, bytes: 0, waiting: 0 }]);
    });

    it('is waited for by so many messages and bytes at most', async () => {
      t.slow = true;
      for (const value of ['1', '2', '3', '4', '5']) {
        t.say({ a: value });
      }
      expect(t.outcomes).toEqual(['refused']);
      t.asked[0]?.resolve(null);
      await new Promise(setImmediate);
      t.say({ a: `"${'x'.repeat(400)}"` }, { deviceId: 'e' });
      expect(t.outcomes).toEqual(['refused', 'accepted', 'accepted', 'accepted', 'accepted', 'refused']);
    });

    // Only characters were counted: fields of one digit took fourteen times the memory that there may be.
    it('is waited for by so many fields at most, short ones too', () => {
      t.slow = true;
      t.say({ a: '1', b: '2', c: '3', d: '4', e: '5' });
      expect(t.outcomes).toEqual(['refused']);
    });
  });

  describe('with TRANSFORM_FILE', () => {
    beforeEach(() => {
      t.states = t.make(SCALED);
    });

    it('publishes the transformed state, beside what it was', () => {
      t.say({ t: '215', u: '1.0' });
      t.say({ u: '2.0' });
      expect(t.published).toEqual(['{"u":1,"temp":21.5}', '{"u":2,"temp":21.5}']);
      expect(t.before).toEqual(['{"t":215,"u":1.0}', '{"t":215,"u":2.0}']);
    });

    it('goes on from the state before it', () => {
      t.bases.set('d', base('{"u":1,"temp":21.5}', '{"t":215,"u":1.0}'));
      t.say({ u: '2.0' });
      expect([t.published, t.before]).toEqual([['{"u":2,"temp":21.5}'], ['{"t":215,"u":2.0}']]);
    });

    it('shows what is known only transformed as it is, until the device says the field again', () => {
      t.bases.set('d', base('{"temp":21.5,"u":1}'));
      t.say({ v: '3' });
      t.say({ t: '220' });
      t.say({ u: null });
      expect(t.published).toEqual([
        '{"v":3,"temp":21.5,"u":1}',
        '{"v":3,"temp":22,"u":1}',
        '{"v":3,"temp":22}',
      ]);
      expect(t.before).toEqual([undefined, undefined, '{"v":3,"t":220}']);
    });

    it('takes what another release has published since as newer than the state that was kept', () => {
      t.bases.set('d', base('{"temp":30}', '{"t":215,"u":1.0}', false));
      t.say({ v: '3' });
      t.say({ t: '310' });
      expect(t.published).toEqual(['{"u":1,"v":3,"temp":30}', '{"u":1,"v":3,"temp":31}']);
    });

    it('takes no retained value for a field that is known only transformed', () => {
      t.bases.set('d', base('{"temp":21.5}'));
      t.say({ t: '999' }, { retained: true });
      t.say({ u: '1' }, { retained: true });
      jest.advanceTimersByTime(1_000);
      expect(t.published).toEqual(['{"u":1,"temp":21.5}']);
    });
  });

  it('takes a state that was kept for one of before a transformation that has ended', () => {
    t.bases.set('d', base('{"a":1}', '{"t":215}', false));
    t.say({ b: '2' });
    t.bases.set('e', base('{"temp":21.5}', '{"t":215}'));
    t.say({ b: '2' }, { deviceId: 'e' });
    expect(t.published).toEqual(['{"a":1,"b":2}', '{"t":215,"b":2}']);
  });

  describe('retained values', () => {
    it('become one value of a device of which nothing was known, and no publication', () => {
      t.say({ a: '1' }, { retained: true });
      t.say({ b: '2' }, { retained: true });
      expect(t.outcomes).toEqual(['retained', 'retained']);
      jest.advanceTimersByTime(100);
      expect([t.filled, t.published]).toEqual([['{"a":1,"b":2}'], []]);
      t.say({ c: '3' }, { retained: true });
      jest.advanceTimersByTime(100);
      expect(t.published).toEqual(['{"a":1,"b":2,"c":3}']);
    });

    it('fill what is not known, and change nothing else', () => {
      t.bases.set('d', base('{"a":1}'));
      t.say({ a: '9' }, { retained: true });
      jest.advanceTimersByTime(100);
      expect(t.published).toEqual([]);
      t.say({ b: '2' }, { retained: true });
      jest.advanceTimersByTime(100);
      expect(t.published).toEqual(['{"a":1,"b":2}']);
    });

    it('are newer than what the store shows when messages may have been missed, but never than what came live', () => {
      Object.assign(t.retained, { onlyIfUnknown: false });
      t.bases.set('d', base('{"a":1,"b":1}'));
      t.say({ b: '5' });
      t.say({ a: '9', b: '9' }, { retained: true });
      jest.advanceTimersByTime(100);
      expect(t.published).toEqual(['{"a":1,"b":5}', '{"a":9,"b":5}']);

      Object.assign(t.retained, { connections: 2 });
      t.say({ b: '8' }, { retained: true });
      jest.advanceTimersByTime(100);
      expect(t.published.at(-1)).toBe('{"a":9,"b":8}');
    });
  });

  it('takes no retained value for what came live on the same connection, also when they are read again', () => {
    t.bases.set('e', base('{"a":1}'));
    t.say({ a: '5', b: '5' });
    Object.assign(t.retained, { onlyIfUnknown: false });
    t.say({ a: '9', c: '9' }, { retained: true });
    t.say({ b: '6' });
    t.say({ a: '9', b: '9' }, { retained: true });
    t.say({ a: '9' }, { retained: true, deviceId: 'e' });
    jest.advanceTimersByTime(100);
    expect(t.published).toEqual(['{"a":5,"b":5}', '{"a":5,"b":6,"c":9}', '{"a":9}']);
  });

  describe('a redelivered value', () => {
    it('that is the state already is a duplicate', () => {
      t.say({ a: '1', b: '2' });
      t.say({ a: '1' }, { dup: true });
      t.say({ a: '1' });
      t.say({ b: '3' }, { dup: true });
      jest.advanceTimersByTime(100);
      expect(t.published).toEqual(['{"a":1,"b":2}', '{"a":1,"b":2}', '{"a":1,"b":3}']);
      expect(t.outcomes).toEqual(['accepted', 'duplicate', 'accepted', 'accepted']);
    });

    it('is not settled before the store has it', () => {
      t.answer = null;
      t.say({ a: '1' });
      t.say({ a: '1' }, { dup: true });
      jest.advanceTimersByTime(100);
      expect(t.outcomes).toEqual([]);
      t.messages.forEach((message) => message.settle('accepted'));
      expect(t.outcomes).toEqual(['accepted', 'accepted']);
    });

    it('is a duplicate after a takeover, when the store has it', () => {
      t.bases.set('d', base('{"a":1}'));
      t.say({ a: '1' }, { dup: true });
      expect([t.published, t.outcomes]).toEqual([[], ['duplicate']]);
    });

    // Values that led to the state that the store had already were published once more after a takeover, as the same state.
    it('is no publication where all that is delivered again leads to what the store has', () => {
      t.bases.set('d', base('{"a":2,"b":2}'));
      t.say({ a: '1' }, { dup: true });
      t.say({ a: '2' }, { dup: true });
      jest.advanceTimersByTime(100);
      expect([t.published, t.outcomes]).toEqual([[], ['duplicate', 'duplicate']]);
      t.say({ a: '2' });
      t.say({ b: '3' }, { dup: true });
      jest.advanceTimersByTime(100);
      expect(t.published).toEqual(['{"a":2,"b":2}', '{"a":2,"b":3}']);
    });

    // A broker begins a connection with what was not acknowledged, oldest first. Published one by one, an older value was shown after a
    // newer one that the store had; now a redelivery is published when it has ended.
    it('is published with all that is delivered again, when a new message ends it', () => {
      t.states = t.make(PLAIN, { maxOpen: 100 });
      t.bases.set('d', base('{"a":9}'));
      t.bases.set('e', base('{"a":9}'));
      for (const a of ['7', '8', '9', '10']) {
        t.say({ a }, { dup: true });
        t.say({ a }, { dup: true, deviceId: 'e' });
      }
      expect(t.published).toEqual([]);
      t.say({ a: '11' }, { deviceId: 'e' });
      expect(t.published).toEqual(['{"a":10}', '{"a":11}']);
      expect(t.outcomes).toHaveLength(9);
    });

    it('is published when nothing more is delivered again, and after two seconds in any case', () => {
      t.states = t.make(PLAIN, { maxOpen: 100 });
      t.bases.set('d', base('{"a":9}'));
      t.say({ a: '7' }, { dup: true });
      jest.advanceTimersByTime(90);
      t.say({ a: '8' }, { dup: true });
      jest.advanceTimersByTime(90);
      expect(t.published).toEqual([]);
      jest.advanceTimersByTime(10);
      expect(t.published).toEqual(['{"a":8}']);
      for (let a = 10; a < 35; a += 1) {
        t.say({ a: String(a) }, { dup: true });
        jest.advanceTimersByTime(90);
      }
      expect(t.published).toEqual(['{"a":8}', '{"a":32}']);
    });

    it('is published early when as many values wait as are allowed', () => {
      t.states = t.make(PLAIN, { maxOpen: 3 });
      for (const a of ['1', '2', '3', '4']) {
        t.say({ a }, { dup: true });
      }
      expect(t.published).toEqual(['{"a":3}']);
    });

    // Mosquitto that was killed goes on from an older state of its file: it delivers again what was acknowledged, and lacks what came after.
    it('that this session has applied changes nothing, although its field has a newer value', () => {
      t.say({ a: '1' }, { packetId: 1, sequence: 0 });
      t.say({ a: '2' }, { packetId: 2, sequence: 1 });
      t.retained.connections = 2;
      t.say({ a: '1' }, { packetId: 1, sequence: 0, dup: true });
      jest.advanceTimersByTime(100);
      expect([t.published, t.outcomes.at(-1)]).toEqual([['{"a":1}', '{"a":2}'], 'duplicate']);
    });

    it('that this session has applied waits until the store has what it became', () => {
      t.answer = null;
      t.say({ a: '1' }, { packetId: 1, sequence: 0 });
      t.say({ a: '2' }, { packetId: 2, sequence: 1 });
      t.say({ a: '1' }, { packetId: 1, sequence: 0, dup: true });
      jest.advanceTimersByTime(100);
      expect(t.published).toEqual(['{"a":1}', '{"a":2}', '{"a":2}']);
      expect(t.outcomes).toEqual([]);
    });

    it('counts where another message with its id was the last one', () => {
      t.say({ a: '1' }, { packetId: 1, sequence: 0 });
      t.say({ a: '22' }, { packetId: 2, sequence: 1 });
      t.retained.connections = 2;
      t.say({ a: '1' }, { packetId: 3, sequence: 0, dup: true });
      jest.advanceTimersByTime(100);
      expect(t.published.at(-1)).toBe('{"a":1}');
    });

    it('counts with a broker that gives an id to the next message at once', () => {
      t.say({ a: '1' }, { packetId: 1, sequence: 0 });
      t.say({ a: '2' }, { packetId: 2, sequence: 1 });
      t.say({ a: '3' }, { packetId: 1, sequence: 2 });
      t.retained.connections = 2;
      t.say({ a: '2' }, { packetId: 2, sequence: 0, dup: true });
      jest.advanceTimersByTime(100);
      expect(t.published.at(-1)).toBe('{"a":2}');
    });

    it('counts when the broker had lost the session, or counts its ids anew', () => {
      t.say({ a: '1' }, { packetId: 1, sequence: 0 });
      t.say({ a: '2' }, { packetId: 2, sequence: 1 });
      t.states.connected(true);
      t.say({ a: '1' }, { packetId: 1, sequence: 0, dup: true });
      jest.advanceTimersByTime(100);
      expect(t.published.at(-1)).toBe('{"a":1}');

      t.say({ a: '2' }, { packetId: 2, sequence: 1 });
      t.retained.connections = 2;
      t.say({ a: '4' }, { packetId: 2, sequence: 0 }); // no redelivery: another message
      t.say({ a: '1' }, { packetId: 1, sequence: 1, dup: true });
      jest.advanceTimersByTime(100);
      expect(t.published.at(-1)).toBe('{"a":1}');
    });
  });

  it('ends the messages of a publication that fails as failed, and no others', () => {
    t.states = t.make({
      ...PLAIN,
      payload: (deviceId, payload) => {
        if (deviceId === 'bad') {
          throw new Error('unforeseen');
        }
        return payload;
      },
    });
    t.say({ a: '1' }, { deviceId: 'bad', windowMs: 10 });
    t.say({ a: '1' }, { windowMs: 10 });
    jest.advanceTimersByTime(10);
    expect([t.published, t.outcomes]).toEqual([['{"a":1}'], ['failed', 'accepted']]);
  });
});
