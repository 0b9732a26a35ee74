import type { Partition } from './partitions.js';
import type { Connect } from './redis-connections.js';

export interface NodeOptions {
  readonly connect: Connect;
  readonly connectSubscriber: Connect;
  readonly scripts: ReadonlyMap<string, string>;
  readonly sharded: boolean;
  readonly timeoutMs: number;
  readonly probeMs: number;
  readonly partitionCount: number;
  readonly instanceId: string;
  /** A partition that this node serves. */
  home(): Partition | undefined;
  /** Where instances see that they agree; undefined where another node has it. */
  agreementKey(): string | undefined;
  slotOf: (channel: string) => number;
}
