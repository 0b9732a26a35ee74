import fc from 'fast-check';
import { decimalOf, digitsOf, writeDigits } from './telemetry-frame.js';

function written(value: number): string {
  const digits = digitsOf(value);
  const bytes = Buffer.alloc(digits + 2, '-');
  writeDigits(bytes, 1, value, digits);
  return bytes.toString();
}

describe('numbers as decimal text', () => {
  it.each([0, 1, 9, 10, 99, 100, 999_999_999, 1_000_000_000, 2 ** 31, 2 ** 53 - 1])('writes %d', (value) => {
    expect(written(value)).toBe(`-${value}-`);
  });

  it('writes any whole number as String does', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        expect(written(value)).toBe(`-${value}-`);
      }),
    );
    fc.assert(
      fc.property(fc.nat(), (value) => {
        expect(written(value)).toBe(`-${value}-`);
      }),
    );
  });

  it('gives the text of one number after the other, and of the same again', () => {
    const values = [1_700_000_000_000, 1_700_000_000_000, 0, 1.5, 0, -3, 1e21];
    expect(values.map((value) => Buffer.from(decimalOf(value)).toString())).toEqual(values.map(String));
  });
});
