import { once } from 'node:events';
import { createServer, connect, type Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { TLSSocket } from 'node:tls';
import { jest } from '@jest/globals';
import { FakeSocket, framesOf } from '../../test/support/fake-socket.js';
import { stopAfterEach } from '../../test/support/cleanup.js';
import { testRooms } from '../../test/support/test-rooms.js';
import {
  canWriteDirectly,
  DIRECT_MAX_BYTES,
  directWrite,
  findStreamBinding,
  handleOf,
  warnOfStreams,
  type TcpHandle,
} from './direct-write.js';
import { MemberRooms } from '../rooms/room.js';
import { Outbound } from './outbound.js';
import { textFrame } from './text-frame.js';

/** Of 12 000 bytes: more than the buffers of both ends hold. */
const MAX_FRAMES_IN_KERNEL = 10_000;

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
    'ws.controlQueueMaxBytes': String(64 * 1024 * 1024),
    'ws.controlQueueMaxMessages': '100000',
    ...env,
  });
  const outbound = new Outbound(socket, context, { onSlow: () => {}, onFailed: () => {} });
  const throughStream = jest.spyOn(socket, 'write');
  const send = (text: string): void => {
    outbound.control(textFrame(text));
    outbound.flush();
  };
  return { socket, peer, outbound, context, throughStream, send };
}

/** The text of the next `count` frames that reach the peer. */
function received(peer: Socket, count: number): Promise<string[]> {
  const frames: string[] = [];
  let rest: Buffer = Buffer.alloc(0);
  return new Promise((resolve) => {
    const take = (chunk: Buffer): void => {
      rest = Buffer.concat([rest, chunk]);
      const end = endOfWholeFrames(rest);
      frames.push(...framesOf(rest.subarray(0, end)));
      rest = rest.subarray(end);
      if (frames.length >= count) {
        peer.off('data', take);
        resolve(frames);
      }
    };
    peer.on('data', take).resume();
  });
}

/** Sends to a peer that does not read, until a write has not been taken at once and the one after it went to the stream. @returns frames */
function fill({ send, throughStream }: Awaited<ReturnType<typeof outboundTo>>): number {
  for (let count = 1; count <= MAX_FRAMES_IN_KERNEL; count += 1) {
    send(`${count}`.padEnd(12_000, '.'));
    if (throughStream.mock.calls.length > 0) {
      return count;
    }
  }
  throw new Error('the system takes more than it has room for');
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
    const sent = Array.from({ length: 4_000 }, (_, n) => `${n} ${'x'.repeat((n * 7919) % 12_000)}`);
    const arrived = received(peer, sent.length);
    let wasBlocked = false;
    for (const [n, text] of sent.entries()) {
      if (n % 5 === 3 && !outbound.blocked) {
        outbound.onStreamWrite();
        socket.write(textFrame(text)); // as ws does with a ping
      } else {
        send(text);
      }
      if (n === 200 || n === 3_000) {
        peer.pause();
      } else if (n === 2_600) {
        peer.resume();
      }
      if (n % 20 === 0) {
        await nextTurn();
      }
      wasBlocked ||= outbound.blocked;
    }
    peer.resume();
    expect(await arrived).toEqual(sent);
    expect(wasBlocked).toBe(true);
  });

  it('takes one request for all writes that the system takes at once', async () => {
    const { socket, peer, send } = await outboundTo();
    const handle = handleOf(socket) as TcpHandle;
    const writeBuffer = jest.spyOn(handle, 'writeBuffer');
    for (let n = 0; n < 10; n += 1) {
      send(`${n}`);
    }
    await received(peer, 10);
    expect(writeBuffer).toHaveBeenCalledTimes(10);
    expect(new Set(writeBuffer.mock.calls.map(([request]) => request)).size).toBe(1);
  });

  it('is taken up again when a write that was under way has ended', async () => {
    const to = await outboundTo();
    const { socket, peer, outbound, context, send, throughStream } = to;
    const count = fill(to);
    expect(socket.writableLength).toBeGreaterThan(0); // the write before it has not ended, so this one waits behind
    expect(context.hot.bytes).toBe(count * (12_000 + 4));
    expect(await received(peer, count)).toHaveLength(count);
    await outbound.drained();
    throughStream.mockClear();
    send('again');
    expect(await received(peer, 1)).toEqual(['again']);
    expect(throughStream).not.toHaveBeenCalled();
  });

  it('leaves the bounds of a connection that does not read as they are', async () => {
    const harness = testRooms({ WS_QUEUE_MAX_BYTES: String(64 * 1024) });
    const { socket, peer } = await connection();
    const onSlow = jest.fn();
    const owner = { onSlow, onFailed: () => {}, subscriptions: new MemberRooms() };
    const outbound = new Outbound(socket, harness.context, owner);
    const member = Object.assign(owner, { outbound });
    const delivery = { mode: 'every' as const };
    await harness.rooms.subscribe(member, { deviceIds: ['d1'], denied: [], delivery });
    let published = 0;
    while (outbound.open && published < MAX_FRAMES_IN_KERNEL) {
      harness.publish('d1', 'x'.repeat(10_000));
      published += 1;
      outbound.flush();
      expect(outbound.queuedBytes).toBeLessThanOrEqual(64 * 1024);
    }
    await harness.settle();
    expect(onSlow).toHaveBeenCalledTimes(1);
    const { hot, metrics } = harness.context;
    const [dropped] = (await metrics.dropped.get()).values;
    expect(dropped).toMatchObject({ labels: { reason: 'slow' } });
    expect(hot.delivered + (dropped?.value ?? 0)).toBe(published);
    const atTheSocket = hot.bytes;
    // What it was given before, and no more, comes when the peer reads at last.
    let bytes = 0;
    peer.on('data', (chunk: Buffer) => (bytes += chunk.length)).resume();
    socket.end();
    await once(peer, 'end');
    expect(bytes).toBe(atTheSocket);
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
    const to = await outboundTo();
    const { socket, peer } = to;
    fill(to);
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

  it('has no handle to write to where the socket is not TCP, or is TLS on top of it', async () => {
    expect(handleOf(new FakeSocket().asSocket())).toBeNull();
    const { socket } = await connection();
    expect(handleOf(socket)).not.toBeNull();
    const secure = new TLSSocket(socket, { isServer: true });
    secure.on('error', () => {}); // nobody shakes hands with it
    expect(handleOf(secure)).toBeNull();
  });
});

describe(findStreamBinding.name, () => {
  const binding = { WriteWrap: class {}, streamBaseState: [0, 0, 0, 0], kLastWriteWasAsync: 3 };
  const node = (version: string, found: () => object) => ({ versions: { node: version }, binding: found });

  it('is found on the releases it was tried with, and not on others', () => {
    const on = (version: string) => findStreamBinding(node(version, () => binding));
    expect(['20.19.0', '22.1.0', '24.0.0', '26.10.0'].map(on)).toEqual(Array(4).fill(binding));
    expect(['18.20.0', '27.0.0', '30.1.2'].map(on)).toEqual(Array(3).fill(null));
  });

  it('is not found where a part is missing, or Node.js keeps it closed', () => {
    const on = (found: () => object) => findStreamBinding(node('24.0.0', found));
    expect(on(() => ({ ...binding, WriteWrap: undefined }))).toBeNull();
    expect(on(() => ({ ...binding, streamBaseState: undefined }))).toBeNull();
    expect(on(() => ({ ...binding, kLastWriteWasAsync: 7 }))).toBeNull();
    expect(
      on(() => {
        throw new Error('ERR_ACCESS_DENIED');
      }),
    ).toBeNull();
    expect(findStreamBinding({ versions: { node: '24.0.0' } })).toBeNull();
  });

  it('is there on this Node.js, which the image and the tests run on', () => {
    expect(canWriteDirectly).toBe(true);
  });
});

describe(warnOfStreams.name, () => {
  it('says that the setting has no effect, and nothing where it has or is not wanted', () => {
    const warn = jest.fn();
    warnOfStreams('direct', true, { warn });
    warnOfStreams('stream', false, { warn });
    expect(warn).not.toHaveBeenCalled();
    warnOfStreams('direct', false, { warn });
    expect(warn).toHaveBeenCalledWith(expect.stringContaining('WS_WRITES=direct is not possible'), {
      node: process.version,
    });
  });
});
