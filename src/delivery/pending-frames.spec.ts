import fc from 'fast-check';
import { FlushWindow } from './flush-window.js';
import {
  FrameTable,
  isReused,
  keepMemory,
  OwnFrames,
  type PendingFrames,
  SharedFrames,
} from './pending-frames.js';
import { textFrame } from './text-frame.js';

describe(SharedFrames.name, () => {
  const a = Buffer.from('a');
  const b = Buffer.from('bb');
  const c = Buffer.from('ccc');

  it('joins the frames of a path in order', () => {
    const path = new SharedFrames(null, a, true, new FrameTable()).join().then(b, false).then(c, true);
    expect([path.bytes, path.count, path.telemetry]).toEqual([6, 3, 2]);
    expect(path.chunk().toString()).toBe('abbccc');
  });

  it('is one node, joined once, for connections that receive the same frames in the same order', () => {
    const window = new FlushWindow();
    const nodes = [window.first(a, true), window.first(a, true)];
    const [first, second] = nodes.map((node) => node.then(b, true)) as [PendingFrames, PendingFrames];
    expect(second).toBe(first);
    expect(second.chunk()).toBe(first.chunk());
  });

  it('parts where the sequences part', () => {
    const window = new FlushWindow();
    const nodes = [window.first(a, true), window.first(a, true)];
    const [first, second] = nodes.map((node, index) => node.then(index === 0 ? b : c, true)) as [
      PendingFrames,
      PendingFrames,
    ];
    expect(first.chunk().toString()).toBe('abb');
    expect(second.chunk().toString()).toBe('accc');
  });

  it('hands a single frame through without a copy', () => {
    expect(new SharedFrames(null, a, true, new FrameTable()).chunk()).toBe(a);
  });

  it('begins anew with each window, also one that begins while the last one is flushed', async () => {
    const written: string[] = [];
    const again = { left: 2 };
    const window = new FlushWindow();
    const connection = (name: string, frames: readonly Buffer[]) => {
      let pending: PendingFrames | null = null;
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

describe(OwnFrames.name, () => {
  /** Sends each message to its receivers, in order; returns what each connection would write. */
  function send(
    messages: readonly { text: string; to: readonly number[] }[],
    bytesOf: (pending: PendingFrames) => Buffer,
  ): Map<number, Buffer> {
    const window = new FlushWindow();
    const pending = new Map<number, PendingFrames>();
    for (const { text, to } of messages) {
      const frame = textFrame(text);
      for (const connection of to) {
        const before = pending.get(connection);
        pending.set(connection, before === undefined ? window.first(frame, true) : before.then(frame, true));
      }
    }
    return new Map([...pending].map(([connection, one]) => [connection, Buffer.from(bytesOf(one))]));
  }

  /** Bodies on both sides of each length of a frame's header. */
  const text = fc
    .oneof(fc.nat(300), fc.constantFrom(123, 124, 125, 126, 127, 65_533, 65_534, 65_535, 65_536))
    .map((length) => `"${'x'.repeat(length)}"`);
  const messages = fc.array(
    fc.record({ text, to: fc.uniqueArray(fc.nat(5), { minLength: 1 }).map((to) => [...to].sort()) }),
    { minLength: 1, maxLength: 25 },
  );

  it('is what each connection was sent, in order, whatever the others were sent', () => {
    fc.assert(
      fc.property(messages, (sent) => {
        for (const [connection, bytes] of send(sent, (pending) => pending.chunk())) {
          const due = sent.filter(({ to }) => to.includes(connection));
          expect(bytes.equals(Buffer.concat(due.map((one) => textFrame(one.text))))).toBe(true);
        }
      }),
      { numRuns: 200 },
    );
  });

  it('is one batch message of them, with frames of every length of header', () => {
    fc.assert(
      fc.property(messages, (sent) => {
        for (const [connection, bytes] of send(sent, (pending) => pending.batchFrame())) {
          const due = sent.filter(({ to }) => to.includes(connection)).map((one) => one.text);
          expect(bytes.equals(textFrame(`{"type":"batch","messages":[${due.join(',')}]}`))).toBe(true);
        }
      }),
      { numRuns: 200 },
    );
  });

  it('is joined in memory that the next one reuses, unless the kernel still reads it', () => {
    const alone = (letter: string): PendingFrames =>
      new FlushWindow().first(textFrame(letter), true).then(textFrame(letter), true);
    const first = alone('a').chunk();
    expect(isReused(first)).toBe(true);
    const second = alone('b').chunk();
    expect(first.equals(second)).toBe(true);
    keepMemory(second);
    expect(isReused(second)).toBe(false);
    alone('c').chunk();
    expect(second.equals(Buffer.concat([textFrame('b'), textFrame('b')]))).toBe(true);
  });

  it('has memory of its own where it is too large for the reused one', () => {
    const large = textFrame('x'.repeat(20_000));
    const chunk = new FlushWindow().first(large, true).then(large, true).chunk();
    expect(isReused(chunk)).toBe(false);
    expect(chunk.equals(Buffer.concat([large, large]))).toBe(true);
  });

  it('does not let the frames of a long window grow without bound: it ends with the turn', async () => {
    const flushes: number[] = [];
    const window = new FlushWindow(600_000);
    let pending: PendingFrames | null = null;
    const frame = (): Buffer => Buffer.alloc(1024 * 1024, 'x');
    window.schedule({ flush: () => flushes.push(pending?.count ?? 0), fail: () => {} });
    for (let count = 0; count < 6; count += 1) {
      pending = pending === null ? window.first(frame(), true) : pending.then(frame(), true);
    }
    await new Promise(setImmediate);
    expect(flushes).toEqual([6]);
    expect(window.isDue).toBe(false);
  });
});
