import { getHeapStatistics } from 'node:v8';
import { jest } from '@jest/globals';
import { StoreLostError } from '../../ingest/ports.js';
import { Metrics } from '../../metrics/metrics.js';
import type { MessageOutcome } from '../../mqtt/ingest-counters.js';
import type { DeviceMessage, IngestOutcome, TelemetryBase } from '../../rooms/broadcast-adapter.js';
import { FieldStates, type Reading } from './field-states.js';
import {
  type FieldLimits,
  fieldLimits,
  KnownStates,
  MAX_SHARED_NAME_BYTES,
  type TelemetryTransform,
} from './known-states.js';

const LIMITS: FieldLimits = {
  maxFields: 5,
  maxPayloadBytes: 200,
  maxDevices: 3,
  maxBytes: 100_000,
  maxWaiting: 4,
  maxWaitingBytes: 60,
  maxOpen: 6,
  expiryMs: 1_000_000,
};

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
const PLAIN: TelemetryTransform = { concerns: () => false, payload: (_deviceId, payload) => payload };

describe('FieldStates', () => {
  const published: string[] = [];
  const before: (string | undefined)[] = [];
  const filled: string[] = [];
  const messages: DeviceMessage[] = [];
  const outcomes: string[] = [];
  let retained: { onlyIfUnknown: boolean; connections: number };
  let bases: Map<string, TelemetryBase | null>;
  let asked: { deviceId: string; resolve(base: TelemetryBase | null): void; reject(error: Error): void }[];
  let slow: boolean;
  let answer: IngestOutcome | null;
  let states: FieldStates;
  let metrics: Metrics;

  beforeEach(() => {
    jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
    [published, before, filled, messages, outcomes].forEach((list) => (list.length = 0));
    retained = { onlyIfUnknown: true, connections: 1 };
    bases = new Map();
    asked = [];
    slow = false;
    answer = 'accepted';
    metrics = new Metrics();
    states = make();
  });

  afterEach(() => {
    states.stop();
    jest.useRealTimers();
  });

  function make(transform = PLAIN, limits: Partial<FieldLimits> = {}): FieldStates {
    const sink = {
      publish: (message: DeviceMessage) => {
        messages.push(message);
        published.push(message.payload.toString());
        before.push(message.untransformed?.toString());
        if (answer !== null) {
          message.settle(answer);
        }
      },
      fillTelemetry: (_deviceId: string, payload: Buffer) => void filled.push(payload.toString()),
      base: (deviceId: string) =>
        slow
          ? new Promise<TelemetryBase | null>((resolve, reject) => asked.push({ deviceId, resolve, reject }))
          : (bases.get(deviceId) ?? null),
    };
    return new FieldStates(sink, retained, transform, { ...LIMITS, ...limits }, metrics);
  }

  function say(fields: Record<string, string | null>, more: Partial<Reading> = {}): void {
    states.apply({
      deviceId: 'd',
      fields: Object.entries(fields).map(([name, value]) => [
        Buffer.from(JSON.stringify(name)),
        value === null ? null : Buffer.from(value),
      ]),
      windowMs: 0,
      receivedAt: Date.now(),
      receivedMono: performance.now(),
      packetId: 7,
      dup: false,
      retained: false,
      settle: (outcome: MessageOutcome) => void outcomes.push(outcome),
      ...more,
    });
  }

  const base = (shown: string, untransformed: string | null = null, current = untransformed !== null) => ({
    shown: Buffer.from(shown),
    untransformed: untransformed === null ? null : Buffer.from(untransformed),
    current,
  });

  const forgotten = async (): Promise<number> =>
    (await metrics.fieldStatesForgotten.get()).values.reduce((sum, { value }) => sum + value, 0);

  it('publishes the whole state with every value, in the bytes that came', () => {
    say({ t: '21.50' });
    say({ rpm: '1e3' });
    say({ t: '21.60', ok: 'true' });

    expect(published).toEqual(['{"t":21.50}', '{"t":21.50,"rpm":1e3}', '{"t":21.60,"rpm":1e3,"ok":true}']);
    expect(outcomes).toEqual(['accepted', 'accepted', 'accepted']);
  });

  it('removes a field without value, and publishes nothing when there is none to remove', () => {
    say({ t: '1', u: 'null' });
    say({ t: null });
    say({ t: null });
    say({ x: null }, { deviceId: 'unknown' });

    expect(published).toEqual(['{"t":1,"u":null}', '{"u":null}']);
    expect(outcomes).toEqual(['accepted', 'accepted', 'accepted', 'accepted']);
    expect(states.totals.devices).toBe(1);
  });

  it('begins anew with a reading that is the whole state', () => {
    say({ t: '1', u: '2' });
    say({ v: '3' }, { replaces: true });
    say({}, { replaces: true });

    expect(published).toEqual(['{"t":1,"u":2}', '{"v":3}', '{}']);
  });

  it('takes the last of two equal names', () => {
    states.apply({
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
    expect(published).toEqual(['{"t":2}']);
  });

  describe('windows', () => {
    it('join what comes within them into one publication, which settles all of it', () => {
      answer = null;
      say({ a: '1' }, { windowMs: 50 });
      jest.advanceTimersByTime(40);
      say({ b: '2' }, { windowMs: 50, packetId: 9 });
      say({ a: '3' }, { windowMs: 50, packetId: 0 });
      expect(published).toEqual([]);
      jest.advanceTimersByTime(10);

      expect(published).toEqual(['{"a":3,"b":2}']);
      expect(messages[0]?.packetId).toBe(9);
      expect(outcomes).toEqual([]);
      messages[0]?.settle('accepted');
      expect(outcomes).toEqual(['accepted', 'accepted', 'accepted']);
      jest.advanceTimersByTime(1_000);
      expect(published).toHaveLength(1);
    });

    it('end each for itself, with one timer for all', () => {
      say({ a: '1' }, { deviceId: 'x', windowMs: 50 });
      jest.advanceTimersByTime(20);
      say({ a: '2' }, { deviceId: 'y', windowMs: 50 });
      say({ a: '3' }, { deviceId: 'z', windowMs: 10 });
      expect(jest.getTimerCount()).toBe(1 + 1); // and the one for states that are silent
      jest.advanceTimersByTime(10);
      expect(published).toEqual(['{"a":3}']);
      jest.advanceTimersByTime(20);
      expect(published).toEqual(['{"a":3}', '{"a":1}']);
      jest.advanceTimersByTime(20);
      expect(published).toEqual(['{"a":3}', '{"a":1}', '{"a":2}']);
    });

    it('end with a value that does not wait', () => {
      say({ a: '1' }, { windowMs: 50 });
      say({ b: '2' });
      jest.advanceTimersByTime(100);
      expect(published).toEqual(['{"a":1,"b":2}']);
    });

    it('end early when as many values wait in them as are allowed', () => {
      for (let value = 1; value <= LIMITS.maxOpen; value += 1) {
        expect(published).toEqual([]);
        say({ a: String(value) }, { windowMs: 60_000, deviceId: value % 2 === 0 ? 'x' : 'y' });
      }
      expect(published).toEqual(['{"a":5}', '{"a":6}']);
    });

    it('end early when the broker may be waiting for acknowledgements', () => {
      states = make(PLAIN, { maxOpen: 100 });
      for (let value = 1; value < 20; value += 1) {
        say({ a: String(value) }, { windowMs: 60_000 });
      }
      jest.advanceTimersByTime(1_000);
      expect(published).toEqual([]);
      say({ a: '20' }, { windowMs: 60_000 });
      jest.advanceTimersByTime(10);
      expect(published).toEqual(['{"a":20}']);
    });

    it('are published by a flush, and left unsettled by a stop', () => {
      say({ a: '1' }, { windowMs: 50 });
      states.flush();
      say({ a: '2' }, { windowMs: 50 });
      states.stop();
      jest.advanceTimersByTime(100);
      say({ a: '3' });

      expect(published).toEqual(['{"a":1}']);
      expect(outcomes).toEqual(['accepted']);
    });
  });

  describe('what the store shows', () => {
    it('is what a state begins with', () => {
      bases.set('d', base('{"t": 1.0, "u":[2]}'));
      say({ v: '3' });
      expect(published).toEqual(['{"t":1.0,"u":[2],"v":3}']);
    });

    it('counts for nothing when it is no object', () => {
      bases.set('d', base('[1,2]'));
      say({ v: '3' });
      expect(published).toEqual(['{"v":3}']);
    });

    it('is waited for, with all that comes meanwhile, in order', async () => {
      slow = true;
      say({ a: '1' });
      say({ b: '2' });
      say({ a: '3' });
      expect([published, asked.length, states.totals.waiting]).toEqual([[], 1, 3]);
      asked[0]?.resolve(base('{"z":0}'));
      await new Promise(setImmediate);

      expect(published).toEqual(['{"z":0,"a":1}', '{"z":0,"a":1,"b":2}', '{"z":0,"a":3,"b":2}']);
      expect(states.totals.waiting).toBe(0);
    });

    it('is asked for anew after the store was lost, whose messages stay unsettled', async () => {
      slow = true;
      say({ a: '1' });
      asked[0]?.reject(new StoreLostError('test'));
      await new Promise(setImmediate);
      expect([outcomes, states.totals]).toEqual([[], { devices: 0, bytes: 0, waiting: 0 }]);
      say({ b: '2' });
      asked[1]?.resolve(null);
      await new Promise(setImmediate);
      expect(published).toEqual(['{"b":2}']);
    });

    it('costs the messages that wait for it when it cannot be read', async () => {
      slow = true;
      say({ a: '1' });
      asked[0]?.reject(new Error('unforeseen'));
      await new Promise(setImmediate);
      expect([outcomes, states.totals]).toEqual([['failed'], { devices: 0, bytes: 0, waiting: 0 }]);
    });

    it('is waited for by so many messages and bytes at most', async () => {
      slow = true;
      for (const value of ['1', '2', '3', '4', '5']) {
        say({ a: value });
      }
      expect(outcomes).toEqual(['refused']);
      asked[0]?.resolve(null);
      await new Promise(setImmediate);
      say({ a: `"${'x'.repeat(60)}"` }, { deviceId: 'e' });
      expect(outcomes).toEqual(['refused', 'accepted', 'accepted', 'accepted', 'accepted', 'refused']);
    });
  });

  describe('with TRANSFORM_FILE', () => {
    beforeEach(() => {
      states = make(SCALED);
    });

    it('publishes the transformed state, beside what it was', () => {
      say({ t: '215', u: '1.0' });
      say({ u: '2.0' });
      expect(published).toEqual(['{"u":1,"temp":21.5}', '{"u":2,"temp":21.5}']);
      expect(before).toEqual(['{"t":215,"u":1.0}', '{"t":215,"u":2.0}']);
    });

    it('goes on from the state before it', () => {
      bases.set('d', base('{"u":1,"temp":21.5}', '{"t":215,"u":1.0}'));
      say({ u: '2.0' });
      expect([published, before]).toEqual([['{"u":2,"temp":21.5}'], ['{"t":215,"u":2.0}']]);
    });

    it('shows what is known only transformed as it is, until the device says the field again', () => {
      bases.set('d', base('{"temp":21.5,"u":1}'));
      say({ v: '3' });
      say({ t: '220' });
      say({ u: null });
      expect(published).toEqual([
        '{"v":3,"temp":21.5,"u":1}',
        '{"v":3,"temp":22,"u":1}',
        '{"v":3,"temp":22}',
      ]);
      expect(before).toEqual([undefined, undefined, '{"v":3,"t":220}']);
    });

    it('takes what another release has published since as newer than the state that was kept', () => {
      bases.set('d', base('{"temp":30}', '{"t":215,"u":1.0}', false));
      say({ v: '3' });
      say({ t: '310' });
      expect(published).toEqual(['{"u":1,"v":3,"temp":30}', '{"u":1,"v":3,"temp":31}']);
    });

    it('takes no retained value for a field that is known only transformed', () => {
      bases.set('d', base('{"temp":21.5}'));
      say({ t: '999' }, { retained: true });
      say({ u: '1' }, { retained: true });
      jest.advanceTimersByTime(1_000);
      expect(published).toEqual(['{"u":1,"temp":21.5}']);
    });
  });

  it('takes a state that was kept for one of before a transformation that has ended', () => {
    bases.set('d', base('{"a":1}', '{"t":215}', false));
    say({ b: '2' });
    bases.set('e', base('{"temp":21.5}', '{"t":215}'));
    say({ b: '2' }, { deviceId: 'e' });
    expect(published).toEqual(['{"a":1,"b":2}', '{"t":215,"b":2}']);
  });

  describe('retained values', () => {
    it('become one value of a device of which nothing was known, and no publication', () => {
      say({ a: '1' }, { retained: true });
      say({ b: '2' }, { retained: true });
      expect(outcomes).toEqual(['retained', 'retained']);
      jest.advanceTimersByTime(100);
      expect([filled, published]).toEqual([['{"a":1,"b":2}'], []]);
      say({ c: '3' }, { retained: true });
      jest.advanceTimersByTime(100);
      expect(published).toEqual(['{"a":1,"b":2,"c":3}']);
    });

    it('fill what is not known, and change nothing else', () => {
      bases.set('d', base('{"a":1}'));
      say({ a: '9' }, { retained: true });
      jest.advanceTimersByTime(100);
      expect(published).toEqual([]);
      say({ b: '2' }, { retained: true });
      jest.advanceTimersByTime(100);
      expect(published).toEqual(['{"a":1,"b":2}']);
    });

    it('are newer than what the store shows when messages may have been missed, but never than what came live', () => {
      Object.assign(retained, { onlyIfUnknown: false });
      bases.set('d', base('{"a":1,"b":1}'));
      say({ b: '5' });
      say({ a: '9', b: '9' }, { retained: true });
      jest.advanceTimersByTime(100);
      expect(published).toEqual(['{"a":1,"b":5}', '{"a":9,"b":5}']);

      Object.assign(retained, { connections: 2 });
      say({ b: '8' }, { retained: true });
      jest.advanceTimersByTime(100);
      expect(published.at(-1)).toBe('{"a":9,"b":8}');
    });
  });

  it('takes no retained value for what came live on the same connection, also when they are read again', () => {
    bases.set('e', base('{"a":1}'));
    say({ a: '5', b: '5' });
    Object.assign(retained, { onlyIfUnknown: false });
    say({ a: '9', c: '9' }, { retained: true });
    say({ b: '6' });
    say({ a: '9', b: '9' }, { retained: true });
    say({ a: '9' }, { retained: true, deviceId: 'e' });
    jest.advanceTimersByTime(100);
    expect(published).toEqual(['{"a":5,"b":5}', '{"a":5,"b":6,"c":9}', '{"a":9}']);
  });

  describe('a redelivered value', () => {
    it('that is the state already is a duplicate', () => {
      say({ a: '1', b: '2' });
      say({ a: '1' }, { dup: true });
      say({ a: '1' });
      say({ b: '3' }, { dup: true });
      jest.advanceTimersByTime(100);
      expect(published).toEqual(['{"a":1,"b":2}', '{"a":1,"b":2}', '{"a":1,"b":3}']);
      expect(outcomes).toEqual(['accepted', 'duplicate', 'accepted', 'accepted']);
    });

    it('is not settled before the store has it', () => {
      answer = null;
      say({ a: '1' });
      say({ a: '1' }, { dup: true });
      jest.advanceTimersByTime(100);
      expect(outcomes).toEqual([]);
      messages.forEach((message) => message.settle('accepted'));
      expect(outcomes).toEqual(['accepted', 'accepted']);
    });

    it('is a duplicate after a takeover, when the store has it', () => {
      bases.set('d', base('{"a":1}'));
      say({ a: '1' }, { dup: true });
      expect([published, outcomes]).toEqual([[], ['duplicate']]);
    });

    // Values that led to the state that the store had already were published once more after a takeover, as the same state.
    it('is no publication where all that is delivered again leads to what the store has', () => {
      bases.set('d', base('{"a":2,"b":2}'));
      say({ a: '1' }, { dup: true });
      say({ a: '2' }, { dup: true });
      jest.advanceTimersByTime(100);
      expect([published, outcomes]).toEqual([[], ['duplicate', 'duplicate']]);
      say({ a: '2' });
      say({ b: '3' }, { dup: true });
      jest.advanceTimersByTime(100);
      expect(published).toEqual(['{"a":2,"b":2}', '{"a":2,"b":3}']);
    });

    // A broker begins a connection with what was not acknowledged, oldest first. Published one by one, an older value was shown after a
    // newer one that the store had; now a redelivery is published when it has ended.
    it('is published with all that is delivered again, when a new message ends it', () => {
      states = make(PLAIN, { maxOpen: 100 });
      bases.set('d', base('{"a":9}'));
      bases.set('e', base('{"a":9}'));
      for (const a of ['7', '8', '9', '10']) {
        say({ a }, { dup: true });
        say({ a }, { dup: true, deviceId: 'e' });
      }
      expect(published).toEqual([]);
      say({ a: '11' }, { deviceId: 'e' });
      expect(published).toEqual(['{"a":10}', '{"a":11}']);
      expect(outcomes).toHaveLength(9);
    });

    it('is published when nothing more is delivered again, and after two seconds in any case', () => {
      states = make(PLAIN, { maxOpen: 100 });
      bases.set('d', base('{"a":9}'));
      say({ a: '7' }, { dup: true });
      jest.advanceTimersByTime(90);
      say({ a: '8' }, { dup: true });
      jest.advanceTimersByTime(90);
      expect(published).toEqual([]);
      jest.advanceTimersByTime(10);
      expect(published).toEqual(['{"a":8}']);
      for (let a = 10; a < 35; a += 1) {
        say({ a: String(a) }, { dup: true });
        jest.advanceTimersByTime(90);
      }
      expect(published).toEqual(['{"a":8}', '{"a":32}']);
    });

    it('is published early when as many values wait as are allowed', () => {
      states = make(PLAIN, { maxOpen: 3 });
      for (const a of ['1', '2', '3', '4']) {
        say({ a }, { dup: true });
      }
      expect(published).toEqual(['{"a":3}']);
    });

    // Mosquitto that was killed goes on from an older state of its file: it delivers again what was acknowledged, and lacks what came after.
    it('that this session has applied changes nothing, although its field has a newer value', () => {
      say({ a: '1' }, { packetId: 1, sequence: 0 });
      say({ a: '2' }, { packetId: 2, sequence: 1 });
      retained.connections = 2;
      say({ a: '1' }, { packetId: 1, sequence: 0, dup: true });
      jest.advanceTimersByTime(100);
      expect([published, outcomes.at(-1)]).toEqual([['{"a":1}', '{"a":2}'], 'duplicate']);
    });

    it('that this session has applied waits until the store has what it became', () => {
      answer = null;
      say({ a: '1' }, { packetId: 1, sequence: 0 });
      say({ a: '2' }, { packetId: 2, sequence: 1 });
      say({ a: '1' }, { packetId: 1, sequence: 0, dup: true });
      jest.advanceTimersByTime(100);
      expect(published).toEqual(['{"a":1}', '{"a":2}', '{"a":2}']);
      expect(outcomes).toEqual([]);
    });

    it('counts where another message with its id was the last one', () => {
      say({ a: '1' }, { packetId: 1, sequence: 0 });
      say({ a: '22' }, { packetId: 2, sequence: 1 });
      retained.connections = 2;
      say({ a: '1' }, { packetId: 3, sequence: 0, dup: true });
      jest.advanceTimersByTime(100);
      expect(published.at(-1)).toBe('{"a":1}');
    });

    it('counts with a broker that gives an id to the next message at once', () => {
      say({ a: '1' }, { packetId: 1, sequence: 0 });
      say({ a: '2' }, { packetId: 2, sequence: 1 });
      say({ a: '3' }, { packetId: 1, sequence: 2 });
      retained.connections = 2;
      say({ a: '2' }, { packetId: 2, sequence: 0, dup: true });
      jest.advanceTimersByTime(100);
      expect(published.at(-1)).toBe('{"a":2}');
    });

    it('counts when the broker had lost the session, or counts its ids anew', () => {
      say({ a: '1' }, { packetId: 1, sequence: 0 });
      say({ a: '2' }, { packetId: 2, sequence: 1 });
      states.connected(true);
      say({ a: '1' }, { packetId: 1, sequence: 0, dup: true });
      jest.advanceTimersByTime(100);
      expect(published.at(-1)).toBe('{"a":1}');

      say({ a: '2' }, { packetId: 2, sequence: 1 });
      retained.connections = 2;
      say({ a: '4' }, { packetId: 2, sequence: 0 }); // no redelivery: another message
      say({ a: '1' }, { packetId: 1, sequence: 1, dup: true });
      jest.advanceTimersByTime(100);
      expect(published.at(-1)).toBe('{"a":1}');
    });
  });

  describe('bounds', () => {
    it('refuses a field beyond so many, and takes new values of those it has', () => {
      say({ a: '1', b: '1', c: '1', d: '1', e: '1' });
      say({ f: '1' });
      say({ a: '2' });
      say({ a: null, f: '1' });
      expect(outcomes).toEqual(['accepted', 'too_many_fields', 'accepted', 'accepted']);
      expect(published.at(-1)).toBe('{"b":1,"c":1,"d":1,"e":1,"f":1}');
    });

    it('takes the bound of the layout where it has one (metrics of a Sparkplug device)', () => {
      say({ a: '1', b: '1', c: '1', d: '1', e: '1', f: '1' }, { maxFields: 6 });
      say({ g: '1' }, { maxFields: 6 });
      expect(outcomes).toEqual(['accepted', 'too_many_fields']);
    });

    it('refuses what makes the whole longer than a message may be', () => {
      const room = LIMITS.maxPayloadBytes - '{"a":,"b":""}'.length;
      say({ a: '1', b: `"${'x'.repeat(room)}"` });
      say({ a: '2', b: `"${'x'.repeat(room - 1)}"` });
      say({ a: '22' });
      say({ a: '3' });
      expect(outcomes).toEqual(['too_large', 'accepted', 'too_large', 'accepted']);
      expect(published.at(-1)).toHaveLength(LIMITS.maxPayloadBytes);
    });

    it('forgets the oldest idle state for a new device, and finds it again in the store', async () => {
      for (const deviceId of ['a', 'b', 'c', 'd']) {
        say({ x: '1' }, { deviceId });
      }
      expect([states.totals.devices, await forgotten()]).toEqual([3, 1]);
      bases.set('a', base('{"x":1}'));
      say({ y: '2' }, { deviceId: 'a' });
      expect(published.at(-1)).toBe('{"x":1,"y":2}');
    });

    it('refuses a new device while all states are needed', () => {
      answer = null;
      for (const deviceId of ['a', 'b', 'c', 'd']) {
        say({ x: '1' }, { deviceId });
      }
      expect([states.totals.devices, outcomes]).toEqual([3, ['refused']]);
    });

    it('keeps no state of a device that the store refuses', () => {
      say({ x: '1' }, { deviceId: 'a' });
      answer = 'refused';
      for (let number = 0; number < 50; number += 1) {
        say({ x: '1' }, { deviceId: `new-${number}` });
      }
      expect(states.totals.devices).toBe(1);
    });

    it('keeps no state of a device whose only message is refused', () => {
      say({ a: `"${'x'.repeat(LIMITS.maxPayloadBytes)}"` });
      say({ a: `"${'x'.repeat(LIMITS.maxPayloadBytes)}"` }, { retained: true, deviceId: 'e' });
      expect([outcomes, states.totals]).toEqual([
        ['too_large', 'too_large'],
        { devices: 0, bytes: 0, waiting: 0 },
      ]);
    });

    it('bounds the bytes of all states: idle ones are forgotten, then values are refused', async () => {
      states = make(PLAIN, { maxBytes: 1_600 });
      say({ x: '1' }, { deviceId: 'a' });
      say({ x: '1' }, { deviceId: 'b' });
      answer = null;
      say({ x: '1', y: '1' }, { deviceId: 'c' });
      expect([states.totals.devices, await forgotten()]).toEqual([2, 1]);
      say({ z: `"${'x'.repeat(150)}"` }, { deviceId: 'c' });
      say({ x: '1', y: `"${'x'.repeat(150)}"` }, { deviceId: 'd' });
      expect(outcomes.filter((outcome) => outcome === 'refused')).toHaveLength(1);
      expect([states.totals.devices, await forgotten()]).toEqual([1, 2]);
      expect(states.totals.bytes).toBeLessThanOrEqual(1_600);
    });

    it('counts to nothing when everything is gone', () => {
      for (let round = 0; round < 200; round += 1) {
        const deviceId = `d${round % 7}`;
        say({ [`f${round % 4}`]: round % 5 === 0 ? null : `"${'x'.repeat(round % 9)}"` }, { deviceId });
        say({ a: '1' }, { deviceId, replaces: true });
      }
      for (const deviceId of ['d0', 'd1', 'd2', 'd3', 'd4', 'd5', 'd6']) {
        say({}, { deviceId, replaces: true });
      }
      expect(states.totals.bytes).toBe(3 * 600);
    });

    // States of a fleet that was gone stayed until others needed their place: 512 MiB of a heap of 614.
    it('forgets the states of silent devices by itself, and its timer with the last one', () => {
      say({ a: '1' }, { deviceId: 'x', receivedAt: Date.now() });
      jest.advanceTimersByTime(LIMITS.expiryMs / 2);
      say({ a: '1' }, { deviceId: 'y', receivedAt: Date.now() });
      jest.advanceTimersByTime(LIMITS.expiryMs / 2 + 1);
      expect(states.totals.devices).toBe(2);
      jest.advanceTimersByTime(LIMITS.expiryMs / 2);
      expect(states.totals.devices).toBe(1);
      jest.advanceTimersByTime(LIMITS.expiryMs);
      expect([states.totals.devices, states.totals.bytes, jest.getTimerCount()]).toEqual([0, 0, 0]);
    });

    // Names of fields were kept by their count alone, and each may be as long as a message: 16 384 of 256 KiB.
    it('shares no long names between devices', () => {
      const known = new KnownStates(LIMITS, PLAIN, metrics);
      const nameOf = (bytes: number): string =>
        known.changesOf([[Buffer.from(`"${'n'.repeat(bytes - 2)}"`), null]])[0]![0];
      nameOf(MAX_SHARED_NAME_BYTES);
      nameOf(MAX_SHARED_NAME_BYTES + 1);
      expect(known.sharedNames).toBe(1);
    });

    it('keeps its states in a quarter of the heap', () => {
      const { maxBytes } = fieldLimits({
        rooms: { maxDevices: 1, deviceExpiryS: 1 },
        mqtt: { maxPayloadBytes: 1 },
      } as Parameters<typeof fieldLimits>[0]);
      expect(maxBytes).toBeLessThanOrEqual(getHeapStatistics().heap_size_limit / 4);
    });

    it('forgets a device that was silent for its expiry', () => {
      say({ a: '1' }, { receivedAt: 1 });
      say({ b: '2' }, { receivedAt: 2 + LIMITS.expiryMs });
      expect(published.at(-1)).toBe('{"b":2}');
    });
  });

  it('ends the messages of a publication that fails as failed, and no others', () => {
    states = make({
      ...PLAIN,
      payload: (deviceId, payload) => {
        if (deviceId === 'bad') {
          throw new Error('unforeseen');
        }
        return payload;
      },
    });
    say({ a: '1' }, { deviceId: 'bad', windowMs: 10 });
    say({ a: '1' }, { windowMs: 10 });
    jest.advanceTimersByTime(10);
    expect([published, outcomes]).toEqual([['{"a":1}'], ['failed', 'accepted']]);
  });
});
