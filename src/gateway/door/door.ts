import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Config } from '../../config/config.js';
import type { Metrics } from '../../metrics/metrics.js';
import { Arrivals } from './arrivals.js';
import type { ClientAddress } from './client-address.js';

/** Why a TCP connection ended before admission; the `reason` label of `sluice_sockets_refused_total`. */
export type DoorRefusal = 'capacity' | 'address' | 'unfinished' | 'timeout' | 'malformed' | 'too_large';

export interface DoorLimits {
  /** TCP connections to PORT, WebSocket or not. */
  maxSockets: number;
  /** TCP connections of one address that are no WebSocket connections. */
  maxSocketsPerAddress: number;
  /** TCP connections that have sent something and are no WebSocket connections: half requests, requests, kept alive. */
  maxUnfinished: number;
  /** Time that a request has to arrive whole. */
  requestTimeoutMs: number;
  /** How often connections are looked at for that. */
  checkIntervalMs: number;
}

/** DI token of the {@link DoorLimits}. */
export const DOOR_LIMITS = 'SLUICE:DOOR_LIMITS';

/** Beyond the WebSocket connections: for those that are told to come back, the page, and health. */
const SPARE_SOCKETS = 1_024;
const SPARE_SOCKETS_PER_ADDRESS = 256;

export function doorLimits({ maxConnections, maxConnectionsPerAddress }: Config['ws']): DoorLimits {
  return {
    maxSockets: maxConnections + SPARE_SOCKETS,
    maxSocketsPerAddress: maxConnectionsPerAddress + SPARE_SOCKETS_PER_ADDRESS,
    // Half a request of 16 KiB costs some 25 KiB: 50 MiB in all.
    maxUnfinished: 2_048,
    requestTimeoutMs: 10_000,
    checkIntervalMs: 5_000,
  };
}

/** A connection that is no WebSocket connection (yet). */
interface Visitor {
  /** Undefined for a trusted proxy, whose connections stand for many addresses. */
  readonly address: string | undefined;
  /** Requests that are not answered whole. */
  unanswered: number;
}

/** What Node.js answers to a fault of the client. */
const FAULTS: Record<string, { reason: DoorRefusal; status: string }> = {
  ERR_HTTP_REQUEST_TIMEOUT: { reason: 'timeout', status: '408 Request Timeout' },
  HPE_HEADER_OVERFLOW: { reason: 'too_large', status: '431 Request Header Fields Too Large' },
};
const MALFORMED = { reason: 'malformed', status: '400 Bad Request' } as const;

/**
 * Bounds what anybody can hold before admission: TCP connections in all and by address, half requests, and their time. A connection is
 * counted here until its upgrade request is handled; from then on {@link Admission} counts it.
 */
export class Door {
  private readonly visitors = new Map<Socket, Visitor>();
  private readonly byAddress = new Map<string, number>();
  /** The visitors that have sent something; whose last step is longest ago comes first. */
  private readonly unfinished = new Set<Socket>();
  /** One listener for all sockets. */
  private readonly onClose: (this: Socket) => void;

  constructor(
    private readonly limits: DoorLimits,
    private readonly addresses: ClientAddress,
    private readonly metrics: Metrics,
  ) {
    const leave = (socket: Socket): void => this.leave(socket);
    this.onClose = function (this: Socket): void {
      leave(this);
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
    server.on('drop', () => this.count('capacity'));
    server.on('connection', (socket: Socket) => this.enter(socket));
    server.prependListener('request', (request, response) => this.begin(request, response));
    server.on('clientError', (error: NodeJS.ErrnoException, socket) => this.fault(error, socket as Socket));
    new Arrivals((socket) => this.touch(socket)).watch(server);
  }

  /** Whether a response is due on this connection. */
  isAnswering(socket: Socket): boolean {
    return (this.visitors.get(socket)?.unanswered ?? 0) > 0;
  }

  /** The connection is over, or becomes a WebSocket connection. */
  leave(socket: Socket): void {
    const visitor = this.visitors.get(socket);
    if (visitor === undefined) {
      return;
    }
    this.visitors.delete(socket);
    this.unfinished.delete(socket);
    socket.removeListener('close', this.onClose);
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

  /** It has made a step. Over the bound the one that made none for longest goes: who sends a whole request is hardly ever it. */
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
    response.once('close', () => {
      visitor.unanswered -= 1;
      this.touch(socket);
    });
  }

  /** In place of Node's own answers, which it does not count. */
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
