import type { IncomingMessage } from 'node:http';
import { type Socket, isIPv4, isIPv6 } from 'node:net';
import proxyaddr from 'proxy-addr';

/** Proxies that one request may have passed; a header with thousands of trusted addresses is not read through. */
const MAX_PROXIES = 32;

/** Who asks, as limits count them: an IPv4 address, or the /64 of an IPv6 address, since that is what one customer gets. */
export class ClientAddress {
  private readonly isTrusted: (address: string) => boolean;

  /**
   * @param trusted proxies: addresses, CIDR ranges, or the names loopback, linklocal, uniquelocal
   * @throws TypeError at start when one of them is neither
   */
  constructor(trusted: readonly string[]) {
    const trust = trusted.length === 0 ? undefined : proxyaddr.compile([...trusted]);
    this.isTrusted = (address) => trust !== undefined && trust(address, 0);
  }

  /**
   * Without trusted proxies the peer; with them the last address in `X-Forwarded-For` that no trusted proxy has written, so that nobody
   * can choose the address he is counted under. What is no address there counts as the proxy that wrote it.
   */
  of({ socket, headers }: IncomingMessage): string {
    let address = ipOf(socket.remoteAddress);
    const header = headers['x-forwarded-for'];
    const forwarded = typeof header === 'string' ? header : (header?.join() ?? '');
    let end = forwarded.length;
    for (let hops = 0; hops < MAX_PROXIES && end > 0 && this.isTrusted(address); hops += 1) {
      const comma = forwarded.lastIndexOf(',', end - 1);
      const next = ipOf(forwarded.slice(comma + 1, end));
      if (next === '') {
        break;
      }
      address = next;
      end = comma;
    }
    return networkOf(address);
  }

  /** The peer of a socket of which nothing has been read; undefined for a trusted proxy, which stands for many. */
  ofPeer(socket: Socket): string | undefined {
    const address = ipOf(socket.remoteAddress);
    return this.isTrusted(address) ? undefined : networkOf(address);
  }
}

/** Some proxies write a port; a server that listens on :: sees IPv4 as IPv6. @returns '' for what is no address */
function ipOf(text: string | undefined): string {
  if (text === undefined || isIPv4(text)) {
    return text ?? '';
  }
  const host = text.trim().replace(/^\[([^\]]*)\](:\d+)?$|^([\d.]+):\d+$/, '$1$3');
  if (isIPv4(host)) {
    return host;
  }
  const [address = ''] = host.split('%', 1);
  return isIPv6(address) ? (embeddedIPv4(address) ?? address) : '';
}

/** The IPv4 address in `::ffff:1.2.3.4`, however it is written. */
function embeddedIPv4(address: string): string | undefined {
  const groups = groupsOf(address);
  if (groups.slice(0, 5).some((group) => group !== 0) || groups[5] !== 0xff_ff) {
    return undefined;
  }
  return groups
    .slice(6)
    .map((group) => `${group >> 8}.${group & 0xff}`)
    .join('.');
}

function networkOf(address: string): string {
  return isIPv6(address)
    ? `${groupsOf(address)
        .slice(0, 4)
        .map((group) => group.toString(16))
        .join(':')}::/64`
    : address;
}

/** The eight numbers of a valid IPv6 address. */
function groupsOf(address: string): number[] {
  const [before = [], after = []] = address.split('::').map((part) => part.split(':').flatMap(numbersOf));
  return [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
}

function numbersOf(group: string): number[] {
  if (group.includes('.')) {
    const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number);
    return [(a << 8) | b, (c << 8) | d];
  }
  return group === '' ? [] : [Number.parseInt(group, 16)];
}
