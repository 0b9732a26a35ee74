import { afterEach, describe, expect, it } from '@jest/globals';
import { formatAge, formatValue, formatWhole, jsonText } from './format.js';
import { speak, t } from './texts.js';

describe('values', () => {
  afterEach(() => speak('en'));

  it.each([
    [21.456, 0, '21.46'],
    [21, 1, '21.0'],
    [0.00321, 0, '0.00321'],
    [15_631.4, 1, '15,631'],
    [1.5e11, 0, '1.5E11'],
    [true, 0, 'yes'],
    [null, 0, '–'],
    ['', 0, '(empty text)'],
    [{ a: 1 }, 0, '{"a":1}'],
  ])('%j (%i decimals) are shown as %s', (value, decimals, text) => {
    expect(formatValue(value, decimals)).toBe(text);
  });

  it('that are a time in ms are shown as one, and a place with its digits', () => {
    expect(formatValue(1_795_504_465_544)).toMatch(/2026/);
    expect(formatValue(52.520008, 2, 'position.lat')).toBe('52.52001');
  });

  it('are cut on a tile and whole on their own page', () => {
    const long = 'x'.repeat(10_000);
    expect(formatValue(long)).toHaveLength(120);
    expect(formatWhole(long)).toBe(long);
    expect(formatWhole(1_795.504_465_54)).toBe('1,795.50446554');
  });

  it('that are nested too deep to be written are a mark', () => {
    const deep: unknown = JSON.parse('['.repeat(20_000) + ']'.repeat(20_000));
    expect(jsonText(deep)).toBe('…');
  });

  it('follow the language', () => {
    speak('de');
    expect(formatValue(1_234.5)).toBe('1.234,5');
    expect(formatValue(true)).toBe('ja');
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

  it('a text has its singular', () => {
    expect([t('tile.more', { n: 1 }), t('tile.more', { n: 2 })]).toEqual(['+1 field', '+2 fields']);
  });
});
