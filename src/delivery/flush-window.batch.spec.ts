import { Batch, FlushWindow } from './flush-window.js';

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

  it('begins anew with each window, also one that begins while the last one is flushed', async () => {
    const written: string[] = [];
    const again = { left: 2 };
    const window = new FlushWindow();
    const connection = (name: string, frames: readonly Buffer[]) => {
      let pending: Batch | null = null;
      const receive = (): void => {
        for (const frame of frames) {
          if (pending === null) {
            window.schedule({ flush, fail: () => {} });
          }
          pending = pending === null ? window.first(frame, true) : pending.then(frame, true);
        }
      };
      const flush = (): void => {
        written.push(`${name}:${pending?.chunk().toString()}`);
        pending = null;
        if (again.left > 0) {
          again.left -= 1;
          receive();
        }
      };
      return receive;
    };
    const receivers = [connection('1', [a, b]), connection('2', [a]), connection('3', [c, a])];
    receivers.forEach((receive) => receive());
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    expect(written).toEqual(['1:abb', '2:a', '3:ccca', '1:abb', '2:a']);
  });

  it('keeps a path that begins while a window is flushed in which none had begun', async () => {
    const window = new FlushWindow();
    const written: string[] = [];
    window.schedule({
      flush: () => {
        const path = window.first(a, true);
        window.schedule({ flush: () => written.push(path.chunk().toString()), fail: () => {} });
      },
      fail: () => {},
    });
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    expect(written).toEqual(['a']);
  });
});
