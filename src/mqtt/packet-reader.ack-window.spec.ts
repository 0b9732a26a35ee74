import { puback } from '../../test/devices/packets.js';
import { AckWindow } from './packet-reader.js';

describe(AckWindow.name, () => {
  it('acknowledges in the order of receipt, whatever the order of settling', () => {
    const window = new AckWindow();
    const [a, b, c] = [window.receive(10, 0), window.receive(300, 0), window.receive(7, 0)];
    window.settle(c);
    expect(window.take()).toBeNull();
    window.settle(a);
    expect(window.take()).toEqual(puback(10));
    window.settle(b);
    expect(window.ready).toBe(true);
    expect(window.take()).toEqual(puback(300, 7));
    expect(window.size).toBe(0);
  });

  it('keeps order and ids while it grows and wraps around', () => {
    const window = new AckWindow();
    const acknowledged: number[] = [];
    const sequences: number[] = [];
    for (let i = 0; i < 5_000; i++) {
      sequences.push(window.receive(1 + (i % 60_000), i));
      if (i % 3 === 0) {
        window.settle(sequences.shift()!);
        window.take()?.forEach((byte, at) => at % 4 > 1 && acknowledged.push(byte));
      }
    }
    sequences.reverse().forEach((sequence) => window.settle(sequence));
    window.take()?.forEach((byte, at) => at % 4 > 1 && acknowledged.push(byte));
    expect(acknowledged).toEqual(
      Array.from({ length: 5_000 }, (_, i) => [(1 + i) >> 8, (1 + i) & 0xff]).flat(),
    );
  });

  it('knows since when its oldest message waits', () => {
    const window = new AckWindow();
    expect(window.oldestMono).toBeUndefined();
    const first = window.receive(1, 100);
    window.receive(2, 200);
    expect(window.oldestMono).toBe(100);
    window.settle(first);
    window.take();
    expect(window.oldestMono).toBe(200);
  });

  it('refuses more messages than there are packet ids', () => {
    const window = new AckWindow();
    const ids = Array.from({ length: 65_535 }, (_, index) => index + 1);
    expect(ids.filter((id) => window.receive(id, 0) < 0)).toEqual([]);
    expect(window.receive(1, 0)).toBe(-1);
  });
});
