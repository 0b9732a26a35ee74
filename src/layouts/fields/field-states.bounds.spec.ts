import { getHeapStatistics } from 'node:v8';
import { jest } from '@jest/globals';
import { base, LIMITS, PLAIN, StatesOfTest } from './field-states.fixture.js';
import { MAX_TURN_BYTES } from './field-windows.js';
import { fieldLimits, KnownStates, MAX_SHARED_NAME_BYTES } from './known-states.js';

describe('the bounds of FieldStates', () => {
  let t: StatesOfTest;
  beforeEach(() => {
    t = new StatesOfTest();
  });
  afterEach(() => t.stop());

  const forgotten = async (): Promise<number> =>
    (await t.metrics.fieldStatesForgotten.get()).values.reduce((sum, { value }) => sum + value, 0);

  // A reading of some bytes publishes the whole state: a chunk of the network with thousands of readings was gigabytes on their way to Redis,
  // and seconds without a turn for anybody else.
  it('publishes large states some times in a turn of the event loop, and what else comes in it as one', async () => {
    t.states = t.make(PLAIN, {
      maxPayloadBytes: MAX_TURN_BYTES,
      maxBytes: 4 * MAX_TURN_BYTES,
      maxOpen: 1_000,
    });
    t.say({ large: `"${'x'.repeat(MAX_TURN_BYTES / 2)}"` });
    for (let n = 1; n <= 100; n += 1) {
      t.say({ n: String(n) });
    }
    expect([t.published.length, t.outcomes.length]).toEqual([2, 2]);
    await new Promise(setImmediate);
    expect(t.published.length).toBe(3);
    expect(t.published.at(-1)).toMatch(/,"n":100}$/);
    expect(t.outcomes).toEqual(Array.from({ length: 101 }, () => 'accepted'));
    await new Promise(setImmediate);
    t.say({ n: '101' });
    expect(t.published.length).toBe(4);
  });

  it('refuses a field beyond so many, and takes new values of those it has', () => {
    t.say({ a: '1', b: '1', c: '1', d: '1', e: '1' });
    t.say({ f: '1' });
    t.say({ a: '2' });
    t.say({ a: null, f: '1' });
    expect(t.outcomes).toEqual(['accepted', 'too_many_fields', 'accepted', 'accepted']);
    expect(t.published.at(-1)).toBe('{"b":1,"c":1,"d":1,"e":1,"f":1}');
  });

  it('takes the bound of the layout where it has one (metrics of a Sparkplug device)', () => {
    t.say({ a: '1', b: '1', c: '1', d: '1', e: '1', f: '1' }, { maxFields: 6 });
    t.say({ g: '1' }, { maxFields: 6 });
    expect(t.outcomes).toEqual(['accepted', 'too_many_fields']);
  });

  it('refuses what makes the whole longer than a message may be', () => {
    const room = LIMITS.maxPayloadBytes - '{"a":,"b":""}'.length;
    t.say({ a: '1', b: `"${'x'.repeat(room)}"` });
    t.say({ a: '2', b: `"${'x'.repeat(room - 1)}"` });
    t.say({ a: '22' });
    t.say({ a: '3' });
    expect(t.outcomes).toEqual(['too_large', 'accepted', 'too_large', 'accepted']);
    expect(t.published.at(-1)).toHaveLength(LIMITS.maxPayloadBytes);
  });

  it('forgets the oldest idle state for a new device, and finds it again in the store', async () => {
    for (const deviceId of ['a', 'b', 'c', 'd']) {
      t.say({ x: '1' }, { deviceId });
    }
    expect([t.states.totals.devices, await forgotten()]).toEqual([3, 1]);
    t.bases.set('a', base('{"x":1}'));
    t.say({ y: '2' }, { deviceId: 'a' });
    expect(t.published.at(-1)).toBe('{"x":1,"y":2}');
  });

  it('refuses a new device while all states are needed', () => {
    t.answer = null;
    for (const deviceId of ['a', 'b', 'c', 'd']) {
      t.say({ x: '1' }, { deviceId });
    }
    expect([t.states.totals.devices, t.outcomes]).toEqual([3, ['refused']]);
  });

  it('keeps no state of a device that the store refuses', () => {
    t.say({ x: '1' }, { deviceId: 'a' });
    t.answer = 'refused';
    for (let number = 0; number < 50; number += 1) {
      t.say({ x: '1' }, { deviceId: `new-${number}` });
    }
    expect(t.states.totals.devices).toBe(1);
  });

  it('keeps no state of a device whose only message is refused', () => {
    t.say({ a: `"${'x'.repeat(LIMITS.maxPayloadBytes)}"` });
    t.say({ a: `"${'x'.repeat(LIMITS.maxPayloadBytes)}"` }, { retained: true, deviceId: 'e' });
    expect([t.outcomes, t.states.totals]).toEqual([
      ['too_large', 'too_large'],
      { devices: 0, bytes: 0, waiting: 0 },
    ]);
  });

  it('bounds the bytes of all states: idle ones are forgotten, then values are refused', async () => {
    t.states = t.make(PLAIN, { maxBytes: 1_600 });
    t.say({ x: '1' }, { deviceId: 'a' });
    t.say({ x: '1' }, { deviceId: 'b' });
    t.answer = null;
    t.say({ x: '1', y: '1' }, { deviceId: 'c' });
    expect([t.states.totals.devices, await forgotten()]).toEqual([2, 1]);
    t.say({ z: `"${'x'.repeat(150)}"` }, { deviceId: 'c' });
    t.say({ x: '1', y: `"${'x'.repeat(150)}"` }, { deviceId: 'd' });
    expect(t.outcomes.filter((outcome) => outcome === 'refused')).toHaveLength(1);
    expect([t.states.totals.devices, await forgotten()]).toEqual([1, 2]);
    expect(t.states.totals.bytes).toBeLessThanOrEqual(1_600);
  });

  it('counts to nothing when everything is gone', () => {
    for (let round = 0; round < 200; round += 1) {
      const deviceId = `d${round % 7}`;
      t.say({ [`f${round % 4}`]: round % 5 === 0 ? null : `"${'x'.repeat(round % 9)}"` }, { deviceId });
      t.say({ a: '1' }, { deviceId, replaces: true });
    }
    for (const deviceId of ['d0', 'd1', 'd2', 'd3', 'd4', 'd5', 'd6']) {
      t.say({}, { deviceId, replaces: true });
    }
    expect(t.states.totals.bytes).toBe(3 * 600);
  });

  // States of a fleet that was gone stayed until others needed their place: 512 MiB of a heap of 614.
  it('forgets the states of silent devices by itself, and its timer with the last one', () => {
    t.say({ a: '1' }, { deviceId: 'x', receivedAt: Date.now() });
    jest.advanceTimersByTime(LIMITS.expiryMs / 2);
    t.say({ a: '1' }, { deviceId: 'y', receivedAt: Date.now() });
    jest.advanceTimersByTime(LIMITS.expiryMs / 2 + 1);
    expect(t.states.totals.devices).toBe(2);
    jest.advanceTimersByTime(LIMITS.expiryMs / 2);
    expect(t.states.totals.devices).toBe(1);
    jest.advanceTimersByTime(LIMITS.expiryMs);
    expect([t.states.totals.devices, t.states.totals.bytes, jest.getTimerCount()]).toEqual([0, 0, 0]);
  });

  // Names of fields were kept by their count alone, and each may be as long as a message: 16 384 of 256 KiB.
  it('shares no long names between devices', () => {
    const known = new KnownStates(LIMITS, PLAIN, t.metrics);
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
    t.say({ a: '1' }, { receivedAt: 1 });
    t.say({ b: '2' }, { receivedAt: 2 + LIMITS.expiryMs });
    expect(t.published.at(-1)).toBe('{"b":2}');
  });
});
