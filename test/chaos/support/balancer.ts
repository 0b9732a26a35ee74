import { FaultProxy, type Target } from './fault-proxy.js';

/** What HAProxy does with `inter 250ms fall 2`, in short. */
const CHECK_INTERVAL_MS = 250;
const CHECK_TIMEOUT_MS = 1_000;
const FALL = 2;

interface Server extends Target {
  failures: number;
}

/** A TCP load balancer without stickiness: connections in turn to the instances whose readiness answers 200. */
export class Balancer {
  private readonly timer: NodeJS.Timeout;
  private next = 0;
  private proxy!: FaultProxy;

  private constructor(private readonly servers: Server[]) {
    this.timer = setInterval(() => servers.forEach((server) => void check(server)), CHECK_INTERVAL_MS);
  }

  static async start(targets: Target[]): Promise<Balancer> {
    const balancer = new Balancer(targets.map((target) => ({ ...target, failures: 0 })));
    balancer.proxy = await FaultProxy.start({
      choose: () => balancer.choose(),
      attempts: targets.length,
    });
    return balancer;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.proxy.port}/ws`;
  }

  /** The instance that a client's connection went to, by the client's source port. */
  targetOf(port: number): string | undefined {
    return this.proxy.targetOf(port);
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    await this.proxy.stop();
  }

  private choose(): Server | undefined {
    const up = this.servers.filter(({ failures }) => failures < FALL);
    return up[this.next++ % Math.max(1, up.length)];
  }
}

async function check(server: Server): Promise<void> {
  try {
    const response = await fetch(`http://127.0.0.1:${server.port}/health/ready`, {
      signal: AbortSignal.timeout(CHECK_TIMEOUT_MS),
    });
    await response.arrayBuffer();
    server.failures = response.status === 200 ? 0 : server.failures + 1;
  } catch {
    server.failures += 1;
  }
}
