import { once } from 'node:events';
import { createServer, connect, type Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { jest } from '@jest/globals';
import { FakeSocket, framesOf } from '../../test/support/fake-socket.js';
import { stopAfterEach } from '../../test/support/cleanup.js';
import { testRooms } from '../../test/support/test-rooms.js';
import { DIRECT_MAX_BYTES, directWrite, handleOf } from './direct-write.js';
import { Outbound } from './outbound.js';
import { textFrame } from './text-frame.js';

const own = stopAfterEach();

/** Both ends of a TCP connection; neither reads yet. */
async function connection(): Promise<{ socket: Socket; peer: Socket }> {
  const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const peer = connect(port, '127.0.0.1').pause();
  const [socket] = (await once(server, 'connection')) as [Socket];
  server.close();
  own({ stop: () => [socket, peer].forEach((end) => end.destroy()) });
  return { socket, peer };
}

async function outboundTo(env: Record<string, string> = {}) {
  const { socket, peer } = await connection();
  const { context } = testRooms({
    WS_CONTROL_QUEUE_MAX_BYTES: String(64 * 1024 * 1024),
    WS_CONTROL_QUEUE_MAX_MESSAGES: '100000',
    ...env,
  });
  const outbound = new Outbound(socket, context, { onSlow: () => {} });
  const throughStream = jest.spyOn(socket, 'write');
  const send = (text: string): void => {
    outbound.control(textFrame(text));
    outbound.flush();
  };
  return { socket, peer, outbound, context, throughStream, send };
}

/** The text of the next `count` frames that reach the peer. */
async function received(peer: Socket, count: number): Promise<string[]> {
  const frames: string[] = [];
  let rest: Buffer = Buffer.alloc(0);
  peer.resume();
  while (frames.length < count) {
    const [chunk] = (await once(peer, 'data')) as [Buffer];
    rest = Buffer.concat([rest, chunk]);
    const end = endOfWholeFrames(rest);
    frames.push(...framesOf(rest.subarray(0, end)));
    rest = rest.subarray(end);
  }
  return frames;
}

/** Where the last complete frame ends, of frames up to 64 KiB. */
function endOfWholeFrames(bytes: Buffer): number {
  for (let end = 0; ;) {
    const first = bytes[end + 1];
    if (first === undefined || (first === 126 && bytes.length < end + 4)) {
      return end;
    }
    const size = first === 126 ? 4 + bytes.readUInt16BE(end + 2) : 2 + first;
    if (end + size > bytes.length) {
      return end;
    }
    end += size;
  }
}

describe(directWrite.name, () => {
  it('brings a frame to the peer without the stream', async () => {
    const { peer, throughStream, context, send } = await outboundTo();
    send('one');
    send('two');
    expect(await received(peer, 2)).toEqual(['one', 'two']);
    expect(throughStream).not.toHaveBeenCalled();
    expect(context.hot.bytes).toBe(10);
  });

  it('is left alone with WS_WRITES=stream', async () => {
    const { peer, throughStream, send } = await outboundTo({ WS_WRITES: 'stream' });
    send('one');
    expect(await received(peer, 1)).toEqual(['one']);
    expect(throughStream).toHaveBeenCalledTimes(1);
  });

  it('keeps the order with what others write to the stream, while the peer reads and while it does not', async () => {
    const { socket, peer, send, outbound } = await outboundTo();
    const sent: string[] = [];
    let bytes = 0;
    for (let n = 0; bytes < 24 * 1024 * 1024; n += 1) {
      const text = `${n} ${'x'.repeat((n * 7919) % 12_000)}`;
      sent.push(text);
      bytes += text.length;
      if (n % 5 === 3 && !outbound.blocked) {
        socket.write(textFrame(text)); // as ws does with a ping
      } else {
        send(text);
      }
      if (n % 50 === 0) {
        await nextTurn();
      }
    }
    expect(outbound.blocked).toBe(true);
    expect(await received(peer, sent.length)).toEqual(sent);
  });

  it('is taken up again when a write that was under way has ended', async () => {
    const { peer, throughStream, send, outbound, socket } = await outboundTo();
    let count = 0;
    while (throughStream.mock.calls.length === 0) {
      send(`${count}`.padEnd(12_000, '.'));
      count += 1;
    }
    expect(socket.writableLength).toBeGreaterThan(0); // the write before it has not ended, so this one waits behind
    expect(await received(peer, count)).toHaveLength(count);
    await outbound.drained();
    throughStream.mockClear();
    send('again');
    expect(await received(peer, 1)).toEqual(['again']);
    expect(throughStream).not.toHaveBeenCalled();
  });

  it('leaves a corked socket and a large chunk to the stream', async () => {
    const { socket, peer, throughStream, send } = await outboundTo();
    socket.cork();
    send('held');
    expect(throughStream).toHaveBeenCalledTimes(1);
    socket.uncork();
    const large = 'x'.repeat(DIRECT_MAX_BYTES);
    send(large);
    expect(throughStream).toHaveBeenCalledTimes(2);
    expect(await received(peer, 2)).toEqual(['held', large]);
  });

  it('ends the connection with the error of a write that failed', async () => {
    const { socket, peer, throughStream, send } = await outboundTo();
    peer.resetAndDestroy();
    await once(peer, 'close');
    const failed = once(socket, 'error');
    while (!socket.destroyed) {
      send('to nobody');
      await nextTurn();
    }
    const [error] = (await failed) as [NodeJS.ErrnoException];
    expect(['ECONNRESET', 'EPIPE']).toContain(error.code);
    expect(error.syscall).toBe('write');
    expect(throughStream).not.toHaveBeenCalled();
  });

  it('ends the connection with the error of a write that failed under way', async () => {
    const { socket, peer, throughStream, send } = await outboundTo();
    while (throughStream.mock.calls.length === 0) {
      send('x'.repeat(12_000));
    }
    const failed = once(socket, 'error');
    peer.resetAndDestroy();
    const [error] = (await failed) as [NodeJS.ErrnoException];
    expect(['ECONNRESET', 'EPIPE']).toContain(error.code);
  });

  it.each(['destroyed', 'closed', 'ended'])('writes nothing to a socket that is %s', async (how) => {
    const { socket, peer, context, send } = await outboundTo();
    const errors = jest.fn();
    socket.on('error', errors);
    if (how === 'ended') {
      socket.end();
    } else {
      socket.destroy();
    }
    if (how === 'closed') {
      await once(socket, 'close');
    }
    send('too late');
    const data = jest.fn();
    peer.on('data', data).resume();
    await once(peer, 'end');
    expect(data).not.toHaveBeenCalled();
    expect(errors).not.toHaveBeenCalled();
    expect(context.hot.bytes).toBe(0);
  });

  it('has no handle to write to where the socket is not plain TCP', () => {
    expect(handleOf(new FakeSocket().asSocket())).toBeNull();
  });
});
