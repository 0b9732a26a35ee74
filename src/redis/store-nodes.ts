import type { Partition } from './partitions.js';
import type { RedisNode } from './redis-node.js';

/** The Redis servers that hold the partitions. */
export abstract class StoreNodes {
  abstract readonly nodes: readonly RedisNode[];

  /** Who serves a partition now; undefined while nobody is known to. */
  abstract nodeOf(partition: Partition): RedisNode | undefined;

  /** Time for which not every partition was served well, in ms; near 0 while all is well. */
  abstract readonly silentMs: number;

  /** Looks again who serves what; a no-op where there is one server. */
  abstract refresh(): void;

  abstract start(): void;

  abstract stop(): void;
}

/** One server, or the master that the sentinels name: each new connection asks them anew. */
export class SingleNode extends StoreNodes {
  readonly nodes: readonly RedisNode[];

  constructor(private readonly node: RedisNode) {
    super();
    this.nodes = [node];
  }

  get silentMs(): number {
    return this.node.silentMs;
  }

  nodeOf(): RedisNode {
    return this.node;
  }

  refresh(): void {
    // There is nobody else.
  }

  start(): void {
    this.node.start();
  }

  stop(): void {
    this.node.stop();
  }
}
