import { describe, expect, it } from '@jest/globals';
import type { Telemetry } from '../../../client/src/index.js';
import { filled, offersOf } from './command-form.js';
import { History } from './history.js';

const telemetry = (offset: number, payload: unknown, epoch = 'e'): Telemetry => ({
  type: 'telemetry',
  deviceId: 'a',
  payload,
  serverTs: offset * 1_000,
  epoch,
  offset,
});

describe('the history of a device', () => {
  it('has each publication once, with fields that come later', () => {
    const history = new History();
    history.take(telemetry(1, { a: 1 }));
    history.take(telemetry(1, { a: 1 }));
    history.take(telemetry(2, { a: 2, b: true }));
    expect(history.series('a', 0)).toEqual({ times: [1, 2], values: [1, 2], isStep: false });
    expect(history.series('b', 0)).toEqual({ times: [2], values: [1], isStep: true });
    expect([...history.drawable]).toEqual([
      ['a', 'number'],
      ['b', 'boolean'],
    ]);
  });

  it('takes what a rewind brings after the newest value, in its place and once', () => {
    const history = new History();
    for (const offset of [5, 1, 2, 2, 4, 6, 3]) {
      history.take(telemetry(offset, offset));
    }
    expect(history.series('', 0).values).toEqual([1, 2, 3, 4, 5, 6]);
    expect(history.messages.map(({ offset }) => offset)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('shows a gap as a gap: where publications are missing, after another epoch, and after a long pause', () => {
    const history = new History();
    history.take(telemetry(1, 1));
    history.gap();
    history.take(telemetry(2, 2));
    history.take(telemetry(1, 3, 'f'));
    history.take(telemetry(60, 4, 'f'));
    expect(history.series('', 0).values).toEqual([1, null, 2, null, 3, null, 4]);
  });

  it('is bounded: the more fields, the shorter, and the last hundred messages as text', () => {
    const wide = Object.fromEntries(Array.from({ length: 1_000 }, (_, index) => [`f${index}`, index]));
    const history = new History();
    for (let offset = 1; offset <= 1_000; offset++) {
      history.take(telemetry(offset, wide));
    }
    expect(history.size).toBeLessThanOrEqual(440);
    expect(history.messages).toHaveLength(100);
  });
});

describe('a form of a command', () => {
  it('comes from an example, or from a description', () => {
    const described = {
      label: 'Set speed',
      command: { speed: 2400, mode: 'eco', hold: true },
      fields: { speed: { label: 'Speed', min: 0, max: 3000 }, mode: { options: ['eco', 'full'] } },
      confirm: true,
    };
    const [stop, set] = offersOf({ commands: [{ action: 'stop' }, described], units: { speed: 'rpm' } });
    expect(stop).toMatchObject({ label: 'stop', text: '{"action":"stop"}', inputs: [], confirm: false });
    expect(set).toMatchObject({ label: 'Set speed', confirm: true });
    expect(set?.inputs.map(({ name, kind, label, unit }) => [name, kind, label, unit])).toEqual([
      ['speed', 'number', 'Speed', 'rpm'],
      ['mode', 'choice', 'mode', ''],
      ['hold', 'boolean', 'hold', ''],
    ]);
    const values = new Map<string, string | boolean>([
      ['speed', '1.50'],
      ['hold', false],
    ]);
    expect(filled(set!, values)).toBe('{"speed":1.50,"mode":"eco","hold":false}');
  });

  it('trusts no metadata, and leaves out what cannot be written', () => {
    const deep: unknown = JSON.parse('['.repeat(20_000) + ']'.repeat(20_000));
    expect(offersOf({ commands: [deep, { speed: 1 }] }).map(({ text }) => text)).toEqual(['{"speed":1}']);
    for (const meta of [null, 5, [], { commands: 'x' }]) {
      expect(offersOf(meta)).toEqual([]);
    }
    expect(offersOf({ commands: Array(50).fill({ a: 1 }) })).toHaveLength(20);
    expect(offersOf({ commands: [null, 5, 'go'] }).map(({ text }) => text)).toEqual(['null', '5', '"go"']);
  });
});
