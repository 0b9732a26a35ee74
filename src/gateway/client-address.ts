import type { IncomingMessage } from 'node:http';
import proxyaddr from 'proxy-addr';

/** Reads the address that limits count by. */
export type ClientAddress = (request: IncomingMessage) => string;

/**
 * Without trusted proxies the peer's address; with them the last address in `X-Forwarded-For` that no trusted proxy has written,
 * so that nobody can choose the address he is counted under.
 * @param trusted addresses, CIDR ranges, or the names loopback, linklocal, uniquelocal
 * @throws TypeError at start when one of them is neither
 */
export function clientAddress(trusted: readonly string[]): ClientAddress {
  if (trusted.length === 0) {
    return (request) => {
      const { socket } = request;
      const address = socket.remoteAddress ?? '';
      // Node keeps what it was asked for with the socket for good, 120 bytes; nobody asks again.
      (socket as unknown as { _peername: undefined })._peername = undefined;
      return address;
    };
  }
  const trust = proxyaddr.compile([...trusted]);
  return (request) => proxyaddr(request, trust);
}
