import { sliceOf, viewOf } from './view-of.js';

describe(viewOf.name, () => {
  it('makes a Buffer over a part of a memory, as subarray does', () => {
    const whole = Buffer.from('before-middle-after');
    const { buffer, byteOffset } = whole;
    const view = viewOf(buffer, byteOffset + 7, 6);
    const expected = whole.subarray(7, 13);
    expect(view).toEqual(expected);
    expect(Buffer.isBuffer(view)).toBe(true);
    expect(view.toString()).toBe('middle');
    expect([view.buffer === buffer, view.byteOffset]).toEqual([true, expected.byteOffset]);
    whole.write('MIDDLE', 7);
    expect(view.toString('latin1')).toBe('MIDDLE');
  });

  it('slices one buffer after the other', () => {
    const one = Buffer.from('one-1');
    const two = Buffer.from('two-22').subarray(1);
    const slices = [sliceOf(one, 0, 3), sliceOf(two, 0, 2), sliceOf(two, 3, 5), sliceOf(one, 4, 5)];
    expect(slices.map(String)).toEqual(['one', 'wo', '22', '1']);
  });

  it('refuses what is outside of the memory', () => {
    expect(() => viewOf(new ArrayBuffer(4), 2, 3)).toThrow('Invalid typed array length');
  });
});
