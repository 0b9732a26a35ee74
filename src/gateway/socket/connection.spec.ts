import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, type Socket, connect } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { WebSocketServer } from 'ws';
import { stopAfterEach } from '../../../test/support/cleanup.js';
import { testRooms } from '../../../test/support/test-rooms.js';
import { Outbound } from '../../delivery/outbound.js';
import { textFrame } from '../../delivery/text-frame.js';
import { Connection, type ConnectionOwner } from './connection.js';

const PING = 0x89;
const PONG = 0x8a;
const TEXT = 0x81;
/** Of 127 bytes: more than the buffers of both ends hold. */
const MAX_PINGS_IN_KERNEL = 200_000;

const own = stopAfterEach();

/** An upgraded connection, and its peer, which does not read. */
async function connected(): Promise<{ connection: Connection; peer: Socket }> {
  const server = new WebSocketServer({ noServer: true, WebSocket: Connection, clientTracking: false });
  const { context } = testRooms();
  const nothing = (): void => undefined;
  const owner: ConnectionOwner = {
    createOutbound: (connection) =>
      new Outbound(connection.socket, context, { onSlow: nothing, onFailed: nothing }),
    onFrame: nothing,
    onPing: nothing,
    onRoundTrip: nothing,
    onUnsolicitedPong: nothing,
    onFragment: nothing,
    onSlow: nothing,
    onClosing: nothing,
    onClosed: nothing,
  };
  const http = createServer().listen(0, '127.0.0.1');
  await once(http, 'listening');
  const upgraded = new Promise<Connection>((resolve) => {
    http.on('upgrade', (request, socket, head) => {
      server.handleUpgrade(request, socket, head, (connection) => {
        connection.attach(owner, '', false);
        resolve(connection);
      });
    });
  });
  const { port } = http.address() as AddressInfo;
  const peer = connect(port, '127.0.0.1');
  peer.write(
    'GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  );
  const connection = await upgraded;
  await once(peer, 'readable');
  own({
    stop: () => {
      peer.destroy();
      connection.terminate();
      http.close();
    },
  });
  return { connection, peer };
}

/** First bytes of the next `count` frames, none longer than 125 bytes. */
async function frames(peer: Socket, count: number): Promise<number[]> {
  const chunks: Buffer[] = [];
  const kinds: number[] = [];
  let from = -1;
  for await (const chunk of peer as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    const bytes = Buffer.concat(chunks.splice(0));
    let at = from < 0 ? bytes.indexOf('\r\n\r\n') + 4 : 0;
    from = at;
    while (at + 1 < bytes.length && at + 2 + (bytes[at + 1] as number) <= bytes.length) {
      kinds.push(bytes[at] as number);
      at += 2 + (bytes[at + 1] as number);
    }
    if (kinds.length >= count) {
      return kinds;
    }
    chunks.push(bytes.subarray(at));
  }
  return kinds;
}

describe(Connection.name, () => {
  it.each<[string, (connection: Connection) => void, number]>([
    ['pings', (connection) => connection.ping(Buffer.alloc(125)), PING],
    ['pongs', (connection) => connection.pong(Buffer.alloc(125)), PONG],
  ])('keeps frames behind the %s that its socket has not taken yet', async (_name, say, kind) => {
    const { connection, peer } = await connected();
    const { outbound, socket } = connection;
    const send = (): void => {
      outbound.control(textFrame('frame'));
      outbound.flush();
    };
    send();
    await nextTurn();
    send(); // with nothing in the way: past the stream
    let said = 0;
    while (socket.writableLength < 10_000 && said < MAX_PINGS_IN_KERNEL) {
      say(connection);
      said += 1;
    }
    expect(socket.writableLength).toBeGreaterThanOrEqual(10_000);
    send();
    const kinds = await frames(peer, said + 3);
    expect(kinds.slice(0, 2)).toEqual([TEXT, TEXT]);
    expect(new Set(kinds.slice(2, -1))).toEqual(new Set([kind]));
    expect(kinds.at(-1)).toBe(TEXT);
  });

  it('is sent to in one way only', async () => {
    const { connection } = await connected();
    expect(() => connection.send()).toThrow('outbound');
  });
});
