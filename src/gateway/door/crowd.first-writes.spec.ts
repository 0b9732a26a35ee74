import { Writable } from 'node:stream';
import { turn } from '../../../test/support/event-loop.js';
import { FirstWrites } from './crowd.js';

/** Counts the system calls that a socket would take. */
class Recorder extends Writable {
  readonly writes: string[] = [];

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.writes.push(chunk.toString());
    done();
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.writes.push(chunks.map(({ chunk }) => chunk.toString()).join(''));
    done();
  }
}

describe(FirstWrites.name, () => {
  let first: FirstWrites;
  let now: number;

  beforeEach(() => {
    now = 1_000;
    first = new FirstWrites(() => now);
  });

  function open(): Recorder {
    const socket = new Recorder();
    first.hold(socket);
    socket.write('answer,');
    socket.write('first');
    return socket;
  }

  it('writes what one connection opens with at once, after a turn that brings no other', async () => {
    const socket = open();
    await turn();
    socket.write(',second');
    expect(socket.writes).toEqual([]);
    await turn();
    expect(socket.writes).toEqual(['answer,first,second']);
    socket.write('third');
    expect(socket.writes).toEqual(['answer,first,second', 'third']);
  });

  it('goes on holding while every turn brings another, up to sixteen', async () => {
    const sockets = [];
    for (let count = 1; count < 16; count += 1) {
      sockets.push(open());
      await turn();
      expect(sockets.flatMap(({ writes }) => writes)).toEqual([]);
    }
    sockets.push(open());
    await turn();
    expect(sockets.map(({ writes }) => writes)).toEqual(sockets.map(() => ['answer,first']));
    expect(sockets).toHaveLength(16);
  });

  it('holds nothing longer than four milliseconds, however many come', async () => {
    const sockets = [open()];
    await turn();
    now += 3.9;
    sockets.push(open());
    await turn();
    expect(sockets.flatMap(({ writes }) => writes)).toEqual([]);
    now += 0.1;
    sockets.push(open());
    await turn();
    expect(sockets.map(({ writes }) => writes.length)).toEqual([1, 1, 1]);
  });

  it('lets many of one turn go with that turn', async () => {
    const sockets = Array.from({ length: 100 }, open);
    await turn();
    expect(sockets.every(({ writes }) => writes.length === 1)).toBe(true);
    const later = open();
    await turn();
    await turn();
    expect(later.writes).toEqual(['answer,first']);
  });

  it('leaves a socket alone that was destroyed meanwhile', async () => {
    const gone = open();
    const other = open();
    gone.destroy();
    await turn();
    await turn();
    expect(gone.writes).toEqual([]);
    expect(other.writes).toEqual(['answer,first']);
  });
});
