import { once } from 'node:events';
import { type IncomingHttpHeaders, request } from 'node:http';
import { type Socket, connect } from 'node:net';

const HANDSHAKE = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
  'sec-websocket-version': '13',
};

export interface UpgradeAnswer {
  status: number;
  headers: IncomingHttpHeaders;
}

/** An upgrade request with headers of the test's choice. A connection that is upgraded is cut at once. */
export async function tryUpgrade(
  port: number,
  path: string,
  headers: Record<string, string | string[]> = {},
  method = 'GET',
): Promise<UpgradeAnswer> {
  const attempt = request({ host: '127.0.0.1', port, path, method, headers: { ...HANDSHAKE, ...headers } });
  attempt.end();
  return new Promise((resolve, reject) => {
    attempt.once('upgrade', (response, socket) => {
      socket.destroy();
      resolve({ status: response.statusCode ?? 0, headers: response.headers });
    });
    attempt.once('response', (response) => {
      response.resume();
      response.once('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers }));
    });
    attempt.once('error', reject);
  });
}

/** A socket on which `text` has been written. @param from another address of the loopback than 127.0.0.1 */
export async function written(port: number, text: string, from?: string): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', localAddress: from });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.write(text);
  return socket;
}

/** All that comes on a socket until its other side ends it. */
export async function answers(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  if (!socket.closed) {
    await once(socket, 'close');
  }
  return text;
}

/** A socket on which an upgrade request has been written, and nothing been read. */
export async function rawSocket(port: number, path: string, then: Buffer | string = ''): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.write(Buffer.concat([Buffer.from(upgradeRequest(path)), Buffer.from(then)]));
  return socket;
}

/** What a client without a token in its headers writes first. */
export function upgradeRequest(path: string, more: readonly string[] = []): string {
  const lines = [
    `GET ${path} HTTP/1.1`,
    'host: test',
    ...Object.entries(HANDSHAKE).map(([name, value]) => `${name}: ${value}`),
    ...more,
  ];
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** A masked client frame (mask 0), with whatever is wrong with it. */
export function clientFrame(
  opcode: number,
  body: Buffer | string,
  { fin = true, rsv = 0, masked = true }: { fin?: boolean; rsv?: number; masked?: boolean } = {},
): Buffer {
  const payload = Buffer.from(body);
  const length = payload.length;
  const header =
    length < 126
      ? Buffer.from([0, length])
      : length < 65_536
        ? Buffer.from([0, 126, length >> 8, length & 0xff])
        : longHeader(length);
  header[0] = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  header[1] = (header[1] ?? 0) | (masked ? 0x80 : 0);
  return Buffer.concat([header, masked ? Buffer.alloc(4) : Buffer.alloc(0), payload]);
}

function longHeader(length: number): Buffer {
  const header = Buffer.alloc(10);
  header[1] = 127;
  header.writeBigUInt64BE(BigInt(length), 2);
  return header;
}
