import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** The two ways through a proxy. */
export type Way = 'to_target' | 'to_client';

/**
 * A TCP proxy on a loopback port that can fail like a network: refuse, cut, or stall (connections stay open and
 * nothing passes, which is what half-open looks like to both ends).
 */
export class TcpProxy {
  private readonly pairs = new Set<[Socket, Socket]>();
  private stalled: readonly Way[] = [];
  private refusing = false;
  private next = 0;

  private constructor(
    private readonly server: Server,
    private readonly targets: readonly { host: string; port: number }[],
  ) {
    server.on('connection', (socket) => this.accept(socket));
  }

  /** @param targets ports on loopback; connections go to them in turn, past the ones that refuse */
  static async start(...targets: number[]): Promise<TcpProxy> {
    const server = createServer({ allowHalfOpen: true });
    const proxy = new TcpProxy(
      server,
      targets.map((port) => ({ host: '127.0.0.1', port })),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get connections(): number {
    return this.pairs.size;
  }

  /** Ends all connections at once with a reset; new ones pass. */
  cut(): void {
    for (const [client, target] of [...this.pairs]) {
      resetSocket(client);
      resetSocket(target);
    }
  }

  /** Lets nothing through, on old and new connections, without closing any. @param ways both, or one alone */
  stall(...ways: Way[]): void {
    this.stalled = ways.length === 0 ? ['to_target', 'to_client'] : ways;
    this.pairs.forEach((pair) => this.flow(pair));
  }

  /** Ends {@link stall} and {@link refuse}; what was held back passes now. */
  heal(): void {
    this.stalled = [];
    this.refusing = false;
    this.pairs.forEach((pair) => this.flow(pair));
  }

  /** Cuts what is open and resets new connections: the way is gone. */
  refuse(): void {
    this.refusing = true;
    this.cut();
  }

  async stop(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private accept(client: Socket): void {
    client.on('error', () => client.destroy());
    if (this.refusing) {
      resetSocket(client);
      return;
    }
    client.pause();
    this.dial(client, this.targets.length);
  }

  private dial(client: Socket, attempts: number): void {
    const target = connect({ ...this.targets[this.next++ % this.targets.length]!, allowHalfOpen: true });
    const failed = (): void => {
      target.destroy();
      if (attempts > 1 && !client.destroyed) {
        this.dial(client, attempts - 1);
      } else {
        resetSocket(client);
      }
    };
    target.once('error', failed);
    target.once('connect', () => {
      target.off('error', failed);
      if (client.destroyed) {
        target.destroy();
        return;
      }
      this.join(client, target);
    });
  }

  private join(client: Socket, target: Socket): void {
    const pair: [Socket, Socket] = [client, target];
    this.pairs.add(pair);
    for (const [from, to] of [pair, [target, client] as [Socket, Socket]]) {
      from.setNoDelay(true);
      from.on('error', () => from.destroy());
      from.on('data', (chunk) => {
        if (!to.write(chunk)) {
          from.pause();
        }
      });
      to.on('drain', () => {
        if (!this.stalled.includes(from === client ? 'to_target' : 'to_client')) {
          from.resume();
        }
      });
      from.on('end', () => to.end());
      from.on('close', () => {
        this.pairs.delete(pair);
        to.destroy();
      });
    }
    this.flow(pair);
  }

  private flow([client, target]: [Socket, Socket]): void {
    for (const [from, way] of [
      [client, 'to_target'],
      [target, 'to_client'],
    ] as const) {
      if (this.stalled.includes(way)) {
        from.pause();
      } else {
        from.resume();
      }
    }
  }
}

/**
 * A reset instead of an orderly end. A socket whose end is under way cannot be reset any more: libuv refuses, Node then keeps the handle
 * for ever, and a process that ends waits for it in a loop.
 */
export function resetSocket(socket: Socket): void {
  if (socket.readableEnded || socket.writableEnded) {
    socket.destroy();
  } else {
    socket.resetAndDestroy();
  }
}

export const startTcpProxy = (...targets: number[]): Promise<TcpProxy> => TcpProxy.start(...targets);
