import { Fifo } from './fifo.js';

describe(Fifo.name, () => {
  it('gives entries back in the order they came, also where it is never empty', () => {
    const fifo = new Fifo<{ n: number }>();
    const taken: (number | undefined)[] = [];
    fifo.push({ n: 0 });
    for (let n = 1; n < 5_000; n += 1) {
      fifo.push({ n });
      taken.push(fifo.shift()?.n);
      expect(fifo.length).toBe(1);
    }
    expect(taken).toEqual(Array.from({ length: 4_999 }, (_, n) => n));
  });

  it('gives undefined when it is empty, and takes entries again', () => {
    const fifo = new Fifo<{ n: number }>();
    expect(fifo.shift()).toBeUndefined();
    fifo.push({ n: 1 });
    expect(fifo.shift()).toEqual({ n: 1 });
    expect(fifo.shift()).toBeUndefined();
    expect(fifo.length).toBe(0);
    fifo.push({ n: 2 });
    expect(fifo.shift()).toEqual({ n: 2 });
  });

  it('does not keep what has been taken', () => {
    const fifo = new Fifo<{ n: number }>();
    fifo.push({ n: 0 });
    for (let n = 1; n < 100_000; n += 1) {
      fifo.push({ n });
      fifo.shift();
    }
    expect((fifo as unknown as { entries: unknown[] }).entries.length).toBeLessThan(2_048);
  });
});
