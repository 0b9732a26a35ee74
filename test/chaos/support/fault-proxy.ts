import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { resetSocket } from '../../support/tcp-proxy.js';

export interface Target {
  name: string;
  port: number;
}

interface Pair {
  client: Socket;
  target: Socket;
  to: Target;
  /** Source port of the client. */
  port: number;
  marked: boolean;
  stalled: boolean;
}

export interface FaultProxyOptions {
  /** Who gets the next connection; `undefined` resets it. */
  choose: (attempt: number) => Target | undefined;
  /** A connection whose client sends this counts as marked. */
  mark?: RegExp;
  /** Connections of a client to a target that refuses are tried on the next one, so many times. Default 1. */
  attempts?: number;
}

/** A TCP proxy on loopback that fails by connection: by target, or by what the client has sent. */
export class FaultProxy {
  private readonly pairs = new Set<Pair>();
  private readonly targetOfPort = new Map<number, string>();
  private refusing = false;
  private swallowing = false;

  private constructor(
    private readonly server: Server,
    private readonly options: FaultProxyOptions,
  ) {
    server.on('connection', (socket) => this.accept(socket));
  }

  static async start(options: FaultProxyOptions): Promise<FaultProxy> {
    const server = createServer();
    const proxy = new FaultProxy(server, options);
    await new Promise<void>((resolve) =>
      server.listen({ port: 0, host: '127.0.0.1', backlog: 2048 }, resolve),
    );
    return proxy;
  }

  /** A way to one target alone. */
  static to(port: number, mark?: RegExp): Promise<FaultProxy> {
    const target = { name: String(port), port };
    return FaultProxy.start({ choose: () => target, ...(mark && { mark }) });
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** Marked connections that work. */
  get marked(): number {
    return [...this.pairs].filter(({ marked, stalled }) => marked && !stalled).length;
  }

  /** The name of the target that a client's source port was last connected to. */
  targetOf(port: number): string | undefined {
    return this.targetOfPort.get(port);
  }

  /** Resets every connection and what comes: no way through until {@link heal}. */
  refuse(): void {
    this.refusing = true;
    for (const pair of [...this.pairs]) {
      resetSocket(pair.client);
      resetSocket(pair.target);
    }
  }

  /** Makes the marked connections half-open for good: they stand and nothing passes; new ones are not touched. */
  stallMarked(): number {
    let count = 0;
    for (const pair of this.pairs) {
      if (pair.marked && !pair.stalled) {
        pair.stalled = true;
        pair.client.pause();
        pair.target.pause();
        count += 1;
      }
    }
    return count;
  }

  /** Lets nothing through any more, on old connections and new ones, and closes none: the packets get lost. */
  swallow(): void {
    this.swallowing = true;
    for (const pair of this.pairs) {
      pair.stalled = true;
      pair.client.pause();
      pair.target.pause();
    }
  }

  /** Ends {@link refuse} and {@link swallow}; what was swallowed stays so, its connections are reset as a network does. */
  heal(): void {
    this.refusing = false;
    this.swallowing = false;
    for (const pair of [...this.pairs]) {
      if (pair.stalled) {
        resetSocket(pair.client);
        resetSocket(pair.target);
      }
    }
  }

  async stop(): Promise<void> {
    this.refusing = true;
    for (const { client, target } of this.pairs) {
      client.destroy();
      target.destroy();
    }
    await new Promise((resolve) => this.server.close(resolve));
  }

  private accept(client: Socket): void {
    client.on('error', () => client.destroy());
    if (this.refusing) {
      resetSocket(client);
      return;
    }
    client.pause();
    client.setNoDelay(true);
    this.dial(client, 1);
  }

  private dial(client: Socket, attempt: number): void {
    const to = this.options.choose(attempt);
    if (to === undefined) {
      resetSocket(client);
      return;
    }
    const target = connect({ host: '127.0.0.1', port: to.port, noDelay: true });
    const failed = (): void => {
      target.destroy();
      if (attempt < (this.options.attempts ?? 1) && !client.destroyed) {
        this.dial(client, attempt + 1);
      } else {
        resetSocket(client);
      }
    };
    target.once('error', failed);
    target.once('connect', () => {
      target.off('error', failed);
      target.on('error', () => target.destroy());
      if (client.destroyed || this.refusing) {
        client.destroy();
        target.destroy();
        return;
      }
      this.join({
        ...{ client, target, to, port: client.remotePort ?? 0 },
        ...{ marked: false, stalled: this.swallowing },
      });
    });
  }

  private join(pair: Pair): void {
    this.pairs.add(pair);
    this.targetOfPort.set(pair.port, pair.to.name);
    this.forward(pair, pair.client, pair.target);
    this.forward(pair, pair.target, pair.client);
    if (!pair.stalled) {
      pair.client.resume();
    } else {
      pair.target.pause();
    }
  }

  private forward(pair: Pair, from: Socket, to: Socket): void {
    const { mark } = this.options;
    from.on('data', (chunk) => {
      if (mark !== undefined && !pair.marked && from === pair.client && mark.test(chunk.toString('latin1'))) {
        pair.marked = true;
      }
      if (!to.write(chunk)) {
        from.pause();
      }
    });
    to.on('drain', () => {
      if (!pair.stalled) {
        from.resume();
      }
    });
    from.on('close', () => {
      if (to.destroyed) {
        this.pairs.delete(pair);
      } else if (!pair.stalled || from === pair.client) {
        // Half-open: the client must not hear that the target has gone. Else: what came before the end arrives before it.
        to.destroySoon();
      }
    });
  }
}
