import { describe, expect, it } from '@jest/globals';
import { Devices } from '../../src/dashboard/public/js/devices.js';
import {
  fieldsOf,
  formatAge,
  formatValue,
  suggestedCommands,
  textOf,
  unitOf,
} from '../../src/dashboard/public/js/fields.js';
import { afterClose, fullJitter } from '../../src/dashboard/public/js/reconnect.js';
import { cleanToken, exactIdsOf } from '../../src/dashboard/public/js/token.js';

const half = () => 0.5;

describe('what the page does after a close', () => {
  it.each([
    [1012, '{"retryAfterMs":4000}', 4_500],
    [1013, '{"retryAfterMs":2000}', 2_500],
    [1012, 'not json', 500],
    [1013, '{"retryAfterMs":-1}', 500],
    [1006, '', 500],
    [1001, '', 500],
    [4008, '', 500],
    [4009, '', 45_000],
  ])('%i %s: comes back after %i ms', (code, reason, delayMs) => {
    expect(afterClose({ code, reason }, 0, half)).toMatchObject({ action: 'retry', delayMs });
  });

  it.each([4001, 4002])('%i: asks for a token', (code) => {
    expect(afterClose({ code, reason: '' }, 0)).toMatchObject({ action: 'sign-in', why: expect.any(String) });
  });

  it.each([1008, 1009])('%i: does not come back by itself', (code) => {
    expect(afterClose({ code, reason: '' }, 0)).toMatchObject({ action: 'stop', why: expect.any(String) });
  });

  it('cuts no wait short that the server asked for', () => {
    const patient = (code) => afterClose({ code, reason: '' }, 0, half).patient;
    expect([1012, 1013, 4009].map(patient)).toEqual([true, true, true]);
    expect([1006, 4008].map(patient)).toEqual([false, false]);
  });

  it('waits anywhere between nothing and a doubling bound of at most 30 s', () => {
    expect([0, 1, 2, 10, 1_000].map((attempt) => fullJitter(attempt, () => 1))).toEqual([
      1_000, 2_000, 4_000, 30_000, 30_000,
    ]);
    expect(fullJitter(5, () => 0)).toBe(0);
  });
});

describe('the devices of the page', () => {
  const telemetry = (offset, payload = offset, epoch = 'e') => ({
    type: 'telemetry',
    deviceId: 'a',
    payload,
    meta: null,
    serverTs: offset,
    epoch,
    offset,
  });
  const watched = () => {
    const devices = new Devices();
    devices.apply({ type: 'subscribed', rooms: [{ deviceId: 'a', epoch: 'e', offset: 0 }], denied: [] });
    return devices;
  };

  it('take publications once and in order, and remember where they stand', () => {
    const devices = watched();
    expect(devices.apply(telemetry(1))).toEqual(['a']);
    expect(devices.apply(telemetry(1, 'again'))).toEqual([]);
    devices.apply(telemetry(2));
    expect(devices.byId.get('a').payload).toBe(2);
    expect(devices.since(['a', 'unknown'])).toEqual({ a: { epoch: 'e', offset: 2 } });
  });

  it('start anew with a new epoch', () => {
    const devices = watched();
    devices.apply(telemetry(9));
    expect(devices.apply(telemetry(1, 'new', 'f'))).toEqual(['a']);
    expect(devices.since(['a'])).toEqual({ a: { epoch: 'f', offset: 1 } });
  });

  it('keep their position when a resume brings what was missed, and take the room’s when it does not', () => {
    const devices = watched();
    devices.apply(telemetry(3));
    const rooms = (recovered) => [{ deviceId: 'a', epoch: 'e', offset: 7, recovered }];
    devices.apply({ type: 'subscribed', rooms: rooms(true), denied: [] });
    expect(devices.since(['a'])).toEqual({ a: { epoch: 'e', offset: 3 } });
    expect(devices.apply(telemetry(4))).toEqual(['a']);
    devices.apply({ type: 'subscribed', rooms: rooms(false), denied: [] });
    devices.apply({ type: 'snapshot', devices: [{ deviceId: 'a', telemetry: telemetry(7, 'last') }] });
    expect(devices.byId.get('a').payload).toBe('last');
  });

  it('show a retained value that was never a publication', () => {
    const devices = watched();
    devices.apply({ type: 'snapshot', devices: [{ deviceId: 'a', telemetry: telemetry(0, 'retained') }] });
    expect(devices.byId.get('a').payload).toBe('retained');
  });

  it('take no old snapshot for new', () => {
    const devices = watched();
    devices.apply(telemetry(5));
    devices.apply({ type: 'snapshot', devices: [{ deviceId: 'a', telemetry: telemetry(4) }] });
    expect(devices.byId.get('a').payload).toBe(5);
  });

  it('take status and metadata, also when they are forgotten', () => {
    const devices = watched();
    devices.apply({ type: 'device_status', deviceId: 'a', isOnline: false, lastSeen: 5, serverTs: 6 });
    devices.apply({ type: 'device_meta', deviceId: 'a', meta: { name: 'A' }, serverTs: 6 });
    expect(devices.byId.get('a')).toMatchObject({
      status: { isOnline: false, lastSeen: 5 },
      meta: { name: 'A' },
    });
    devices.apply({ type: 'device_meta', deviceId: 'a', meta: null, serverTs: 7 });
    expect(devices.byId.get('a').meta).toBeNull();
  });

  it('ignore types, devices and fields that they do not know', () => {
    const devices = watched();
    expect(devices.apply({ type: 'brand_new' })).toEqual([]);
    expect(devices.apply({ ...telemetry(1), deviceId: 'stranger' })).toEqual([]);
  });

  it('know a device called __proto__', () => {
    const devices = new Devices();
    devices.apply({
      type: 'subscribed',
      rooms: [{ deviceId: '__proto__', epoch: 'e', offset: 4 }],
      denied: [],
    });
    expect(JSON.stringify(devices.since(['__proto__']))).toBe('{"__proto__":{"epoch":"e","offset":4}}');
  });

  it('keep a bounded number of samples, of fields that are still there', () => {
    const devices = watched();
    for (let offset = 1; offset <= 200; offset++) {
      devices.apply(telemetry(offset, { value: offset / 10, [`gone-${offset}`]: 1 }));
    }
    const { samples, decimals } = devices.byId.get('a');
    expect(samples.get('value')).toHaveLength(60);
    expect(samples.size).toBe(2);
    expect(decimals.get('value')).toBe(1);
  });
});

describe('fields', () => {
  it.each([
    [12, [['', 12]]],
    [null, [['', null]]],
    [[1, 2], [['', [1, 2]]]],
    [
      { a: 1, b: { c: true } },
      [
        ['a', 1],
        ['b.c', true],
      ],
    ],
    [
      JSON.parse('{"__proto__":{"x":1},"y":2}'),
      [
        ['__proto__.x', 1],
        ['y', 2],
      ],
    ],
  ])('of %j', (payload, fields) => {
    expect(fieldsOf(payload)).toEqual(fields);
  });

  it('are bounded, whatever a device sends', () => {
    const wide = Object.fromEntries(Array.from({ length: 5_000 }, (_, index) => [`f${index}`, index]));
    expect(fieldsOf(wide)).toHaveLength(24);
    let deep = 1;
    for (let level = 0; level < 1_000; level++) {
      deep = { deep };
    }
    expect(fieldsOf(deep)).toHaveLength(1);
    expect(formatValue('x'.repeat(10_000))).toHaveLength(120);
  });

  it.each([
    [21.456, 0, '21.46'],
    [21, 1, '21.0'],
    [0.00321, 0, '0.00321'],
    [15_631.4, 1, '15,631'],
    [1.5e12, 0, '1.5E12'],
    [true, 0, 'yes'],
    [null, 0, '–'],
    [{ a: 1 }, 0, '{"a":1}'],
  ])('show %j (%i decimals) as %s', (value, decimals, text) => {
    expect(formatValue(value, decimals)).toBe(text);
  });

  it.each([
    [500, 'now'],
    [12_000, '12 s ago'],
    [180_000, '3 min ago'],
    [7_200_000, '2 h ago'],
    [200_000_000, '2 d ago'],
  ])('an age of %i ms is "%s"', (ms, text) => {
    expect(formatAge(ms)).toBe(text);
  });

  it('trust no metadata', () => {
    for (const meta of [null, undefined, 5, 'text', [], { name: 7, units: 'x', commands: 'x' }]) {
      expect([textOf(meta, 'name'), unitOf(meta, 'a'), suggestedCommands(meta)]).toEqual([undefined, '', []]);
    }
    expect(unitOf({ units: { flow: 'l/min' } }, 'flow')).toBe('l/min');
    expect(unitOf({ units: {} }, 'constructor')).toBe('');
    expect(suggestedCommands({ commands: Array(50).fill({ a: 1 }) })).toHaveLength(6);
  });
});

describe('the token', () => {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

  it('names the devices to ask for, patterns aside', () => {
    const token = `h.${encode({ deviceIds: ['a', 'plant-*', '*', 'größe', 7] })}.s`;
    expect(exactIdsOf(token)).toEqual(['a', 'größe']);
  });

  it.each(['', 'x', 'a.b.c', `h.${encode({})}.s`, `h.${encode(null)}.s`])('%j names none', (token) => {
    expect(exactIdsOf(token)).toEqual([]);
  });

  it('is taken as people paste it', () => {
    expect(['  a.b.c\n', 'Bearer a.b.c', '"a.b.c"'].map(cleanToken)).toEqual(['a.b.c', 'a.b.c', 'a.b.c']);
  });
});
