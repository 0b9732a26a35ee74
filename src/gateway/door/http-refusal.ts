import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { contain } from '../../logging/walls.js';

function destroy(this: Duplex): void {
  try {
    this.destroy();
  } catch (error) {
    contain('upgrade', error);
  }
}

/** Answers an upgrade request with a plain HTTP response and ends its connection. */
export function refuseUpgrade(socket: Duplex, status: number, text: string, retryAfterS?: number): void {
  socket.on('error', destroy);
  socket.once('finish', destroy);
  socket.end(
    [
      `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`,
      'Connection: close',
      'Content-Type: text/plain; charset=utf-8',
      `Content-Length: ${Buffer.byteLength(text)}`,
      ...(retryAfterS === undefined ? [] : [`Retry-After: ${retryAfterS}`]),
      '',
      text,
    ].join('\r\n'),
  );
}
