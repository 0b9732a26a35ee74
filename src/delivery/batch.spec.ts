import { Batch } from './batch.js';
import { FlushWindow } from './flush-window.js';

describe(Batch.name, () => {
  const a = Buffer.from('a');
  const b = Buffer.from('bb');
  const c = Buffer.from('ccc');

  it('joins the frames of a path in order', () => {
    const path = new Batch(null, a, true).then(b, false).then(c, true);
    expect(path.chunk().toString()).toBe('abbccc');
    expect(path.frames()).toEqual([a, b, c]);
    expect([path.bytes, path.count, path.telemetry]).toEqual([6, 3, 2]);
  });

  it('is one node, joined once, for connections that receive the same frames in the same order', () => {
    const window = new FlushWindow();
    const first = window.first(a, true).then(b, true);
    const second = window.first(a, true).then(b, true);
    expect(second).toBe(first);
    expect(second.chunk()).toBe(first.chunk());
  });

  it('parts where the sequences part', () => {
    const window = new FlushWindow();
    const first = window.first(a, true).then(b, true);
    const second = window.first(a, true).then(c, true);
    expect(first.chunk().toString()).toBe('abb');
    expect(second.chunk().toString()).toBe('accc');
  });

  it('hands a single frame through without a copy', () => {
    expect(new Batch(null, a, true).chunk()).toBe(a);
  });
});
