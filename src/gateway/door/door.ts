import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { isIPv4, isIPv6, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import proxyaddr from 'proxy-addr';
import type { Config } from '../../config/config.js';
import { contain, walled } from '../../logging/walls.js';
import type { Metrics } from '../../metrics/metrics.js';
import { Arrivals } from './crowd.js';

/** Why a TCP connection ended before admission; the `reason` label of `sluice_sockets_refused_total`. */
type DoorRefusal = 'capacity' | 'address' | 'unfinished' | 'timeout' | 'malformed' | 'too_large';

export interface DoorLimits {
  /** TCP connections to PORT, WebSocket or not. */
  maxSockets: number;
  /** TCP connections of one address that are no WebSocket connections. */
  maxSocketsPerAddress: number;
  /** TCP connections that have sent something and are no WebSocket connections: incomplete requests, requests, kept alive. */
  maxUnfinished: number;
  /** Time in which a request must arrive completely. */
  requestTimeoutMs: number;
  /** Interval of the check for that. */
  checkIntervalMs: number;
}

/** DI token of the {@link DoorLimits}. */
export const DOOR_LIMITS = 'SLUICE:DOOR_LIMITS';

/** Beyond the WebSocket connections: for refusals with a time to come back, the page, and health. */
const SPARE_SOCKETS = 1_024;
const SPARE_SOCKETS_PER_ADDRESS = 256;

export function doorLimits({ maxConnections, maxConnectionsPerAddress }: Config['ws']): DoorLimits {
  return {
    maxSockets: maxConnections + SPARE_SOCKETS,
    maxSocketsPerAddress: maxConnectionsPerAddress + SPARE_SOCKETS_PER_ADDRESS,
    // An incomplete request of 16 KiB costs some 25 KiB: 50 MiB in all.
    maxUnfinished: 2_048,
    requestTimeoutMs: 10_000,
    checkIntervalMs: 5_000,
  };
}

/** A connection that is no WebSocket connection (yet). */
interface Visitor {
  /** Undefined for a trusted proxy, whose connections stand for many addresses. */
  readonly address: string | undefined;
  /** Requests without a complete response. */
  unanswered: number;
}

/** Node.js' errors of clients, with the response to each. */
const FAULTS: Record<string, { reason: DoorRefusal; status: string }> = {
  ERR_HTTP_REQUEST_TIMEOUT: { reason: 'timeout', status: '408 Request Timeout' },
  HPE_HEADER_OVERFLOW: { reason: 'too_large', status: '431 Request Header Fields Too Large' },
};
const MALFORMED = { reason: 'malformed', status: '400 Bad Request' } as const;

/**
 * Bounds what anybody can hold before admission: TCP connections in total and by address, incomplete requests, and their time. A connection
 * is counted here until its upgrade request is handled; from then on {@link Admission} counts it.
 */
export class Door {
  private readonly visitors = new Map<Socket, Visitor>();
  private readonly byAddress = new Map<string, number>();
  /** Visitors that have sent something, the longest inactive first. */
  private readonly unfinished = new Set<Socket>();
  /** Those whose upgrade request was handled: in line, or their token is being checked. */
  private readonly upgrading = new Set<Socket>();
  private closed = false;
  /** One listener for all sockets. */
  private readonly onClose: (this: Socket) => void;

  constructor(
    private readonly limits: DoorLimits,
    private readonly addresses: ClientAddress,
    private readonly metrics: Metrics,
  ) {
    const ended = (socket: Socket): void => {
      this.leave(socket);
      this.upgrading.delete(socket);
    };
    this.onClose = function (this: Socket): void {
      try {
        ended(this);
      } catch (error) {
        contain('upgrade', error);
      }
    };
  }

  /** Connections that are no WebSocket connections. */
  get size(): number {
    return this.visitors.size;
  }

  /** Called once, before the server listens. */
  watch(server: Server): void {
    const { maxSockets, requestTimeoutMs, checkIntervalMs } = this.limits;
    server.maxConnections = maxSockets;
    server.headersTimeout = requestTimeoutMs;
    server.requestTimeout = requestTimeoutMs;
    // An option of createServer(), which Nest calls; read when the server begins to listen.
    Object.assign(server, { connectionsCheckingInterval: checkIntervalMs });
    server.on(
      'drop',
      walled('upgrade', () => this.count('capacity')),
    );
    server.on(
      'connection',
      walled('upgrade', (socket: Socket) => this.enter(socket)),
    );
    server.prependListener(
      'request',
      walled('upgrade', (request: IncomingMessage, response: ServerResponse) =>
        this.begin(request, response),
      ),
    );
    server.on(
      'clientError',
      walled('upgrade', (error: NodeJS.ErrnoException, socket: Duplex) =>
        this.fault(error, socket as Socket),
      ),
    );
    new Arrivals((socket) => this.touch(socket)).watch(server);
  }

  /** Whether a response is pending on this connection. */
  isAnswering(socket: Socket): boolean {
    return (this.visitors.get(socket)?.unanswered ?? 0) > 0;
  }

  /** Its upgrade request is handled now. */
  upgrades(socket: Socket): void {
    if (this.visitors.has(socket)) {
      this.leave(socket);
      this.upgrading.add(socket);
    }
  }

  /** It is a WebSocket connection. */
  upgraded(socket: Socket): void {
    this.upgrading.delete(socket);
    socket.removeListener('close', this.onClose);
  }

  /** Ends all that are no WebSocket connections, now and from now on: a server that is closed waits for them. */
  close(): void {
    this.closed = true;
    for (const sockets of [this.visitors.keys(), this.upgrading]) {
      for (const socket of sockets) {
        socket.destroy();
      }
    }
  }

  private leave(socket: Socket): void {
    const visitor = this.visitors.get(socket);
    if (visitor === undefined) {
      return;
    }
    this.visitors.delete(socket);
    this.unfinished.delete(socket);
    if (visitor.address !== undefined) {
      const left = (this.byAddress.get(visitor.address) ?? 1) - 1;
      if (left > 0) {
        this.byAddress.set(visitor.address, left);
      } else {
        this.byAddress.delete(visitor.address);
      }
    }
  }

  private enter(socket: Socket): void {
    if (this.closed) {
      socket.destroy();
      return;
    }
    const address = this.addresses.ofPeer(socket);
    if (address !== undefined) {
      const others = this.byAddress.get(address) ?? 0;
      if (others >= this.limits.maxSocketsPerAddress) {
        this.count('address');
        socket.destroy();
        return;
      }
      this.byAddress.set(address, others + 1);
    }
    this.visitors.set(socket, { address, unanswered: 0 });
    socket.on('close', this.onClose);
  }

  /** Marks a visitor as active. Over the bound the longest inactive one is closed, which is hardly ever one that sends a whole request. */
  private touch(socket: Socket): void {
    if (!this.visitors.has(socket)) {
      return;
    }
    this.unfinished.delete(socket);
    this.unfinished.add(socket);
    if (this.unfinished.size > this.limits.maxUnfinished) {
      const [oldest] = this.unfinished;
      this.count('unfinished');
      this.leave(oldest as Socket);
      oldest?.destroy();
    }
  }

  private begin({ socket }: IncomingMessage, response: ServerResponse): void {
    const visitor = this.visitors.get(socket);
    if (visitor === undefined) {
      return;
    }
    visitor.unanswered += 1;
    this.touch(socket);
    response.once(
      'close',
      walled('upgrade', () => {
        visitor.unanswered -= 1;
        this.touch(socket);
      }),
    );
  }

  /** Replaces Node's own responses, which are not counted. */
  private fault({ code = '' }: NodeJS.ErrnoException, socket: Socket): void {
    const { reason, status } = FAULTS[code] ?? MALFORMED;
    if (reason !== 'malformed' || code.startsWith('HPE_')) {
      this.count(reason);
      if (socket.writable && !this.isAnswering(socket)) {
        socket.write(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`);
      }
    }
    socket.destroy();
  }

  private count(reason: DoorRefusal): void {
    this.metrics.socketsRefused.inc({ reason });
  }
}

/** Proxies that one request may have passed; bounds the work for a header with thousands of trusted addresses. */
const MAX_PROXIES = 32;

/** The client's address as limits count it: an IPv4 address, or the /64 of an IPv6 address, which one customer gets. */
export class ClientAddress {
  private readonly isTrusted: (address: string) => boolean;

  /**
   * @param trusted proxies: addresses, CIDR ranges, or the names loopback, linklocal, uniquelocal
   * @throws TypeError at start when an entry is none of these
   */
  constructor(trusted: readonly string[]) {
    const trust = trusted.length === 0 ? undefined : proxyaddr.compile([...trusted]);
    this.isTrusted = (address) => trust !== undefined && trust(address, 0);
  }

  /**
   * Without trusted proxies the peer; with them the last address in `X-Forwarded-For` that no trusted proxy has written, so that a client
   * cannot choose the address it is counted under. An invalid entry counts as the proxy that wrote it.
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

  /** The peer of a socket before any request was read; undefined for a trusted proxy, which stands for many clients. */
  ofPeer(socket: Socket): string | undefined {
    const address = ipOf(socket.remoteAddress);
    return this.isTrusted(address) ? undefined : networkOf(address);
  }
}

/** Some proxies write a port; a server that listens on :: sees IPv4 as IPv6. @returns '' for an invalid address */
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

/** The IPv4 address in `::ffff:1.2.3.4`, in any notation. */
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
