import type { Redis } from 'ioredis';
import { background, contain, walled } from '../../logging/walls.js';
import type { Partition } from '../connection/partitions.js';
import { destroy } from '../connection/link.js';
import type { RedisNode } from './redis-node.js';

/** The Redis servers that hold the partitions. */
export abstract class StoreNodes {
  abstract readonly nodes: readonly RedisNode[];

  /** The node that serves a partition, or undefined while none is known. */
  abstract nodeOf(partition: Partition): RedisNode | undefined;

  /** Time for which not every partition was served well, in ms; near 0 while all is well. */
  abstract readonly silentMs: number;

  /** Checks again which node serves what; does nothing with one server. */
  abstract refresh(): void;

  abstract start(): void;

  abstract stop(): void;
}

/** One server, or the master named by the sentinels: each new connection asks them again. */
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
    // There is no other node.
  }

  start(): void {
    this.node.start();
  }

  stop(): void {
    this.node.stop();
  }
}

/** The slots are checked this often even if nothing indicates a change. */
const REFRESH_MS = 5_000;
/** Least time between two checks, however many errors request one. */
const REFRESH_PAUSE_MS = 200;

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

interface ClusterContext {
  /** The partitions of the rooms, then the common one. */
  readonly partitions: readonly Partition[];
  readonly seeds: readonly HostPort[];
  readonly timeoutMs: number;
  createNode(at: HostPort, serves: (partition: Partition) => boolean): RedisNode;
  /** A short-lived connection to ask for the slots. */
  connect(at: HostPort): Redis;
  /** These partitions are served by another node now. */
  moved(partitions: readonly Partition[]): void;
  /** Some of them were served by another node before. */
  taken(): void;
}

/** The masters of a Redis Cluster, one {@link RedisNode} for each that serves a partition; follows failovers and moved slots. */
export class ClusterNodes extends StoreNodes {
  private readonly byAddress = new Map<string, RedisNode>();
  private readonly owners: (string | undefined)[] = [];
  private timer: NodeJS.Timeout | null = null;
  private refreshing = false;
  private again = false;
  private stopped = true;
  private nextSeed = 0;
  private startedAt = 0;

  constructor(private readonly context: ClusterContext) {
    super();
  }

  get nodes(): readonly RedisNode[] {
    return [...this.byAddress.values()];
  }

  nodeOf(partition: Partition): RedisNode | undefined {
    const address = this.owners[partition.index];
    return address === undefined ? undefined : this.byAddress.get(address);
  }

  get silentMs(): number {
    let longest = 0;
    for (const partition of this.context.partitions) {
      const node = this.nodeOf(partition);
      longest = Math.max(longest, node?.silentMs ?? Date.now() - this.startedAt);
    }
    return longest;
  }

  start(): void {
    this.startedAt = Date.now();
    this.stopped = false;
    this.refresh();
  }

  stop(): void {
    this.stopped = true;
    if (this.timer !== null) {
      clearTimeout(this.timer);
    }
    for (const node of this.byAddress.values()) {
      node.stop();
    }
    this.byAddress.clear();
  }

  refresh(): void {
    if (this.refreshing) {
      this.again = true;
      return;
    }
    this.refreshing = true;
    if (this.timer !== null) {
      clearTimeout(this.timer);
    }
    const looked = this.look().catch((error: unknown) => {
      contain('redis', error);
      return false; // checked again soon
    });
    background(
      'redis',
      looked.then((good) => {
        if (this.stopped) {
          return;
        }
        this.timer = setTimeout(
          walled('redis', () => {
            this.refreshing = false;
            const soon = this.again || !good;
            this.again = false;
            if (soon) {
              this.refresh();
            } else {
              this.timer = setTimeout(
                walled('redis', () => this.refresh()),
                REFRESH_MS,
              );
            }
          }),
          REFRESH_PAUSE_MS,
        );
      }),
    );
  }

  /** @returns whether every partition has a connected node */
  private async look(): Promise<boolean> {
    const slots = await this.askForSlots();
    if (slots === null || this.stopped) {
      return false;
    }
    const moved: Partition[] = [];
    let taken = false;
    for (const partition of this.context.partitions) {
      const address = ownerOf(slots, partition.slot);
      if (address !== undefined && address !== this.owners[partition.index]) {
        taken ||= this.owners[partition.index] !== undefined;
        this.owners[partition.index] = address;
        moved.push(partition);
      }
    }
    this.meetOwners();
    if (moved.length > 0) {
      this.context.moved(moved);
    }
    if (taken) {
      this.context.taken();
    }
    return this.context.partitions.every((partition) => this.nodeOf(partition)?.up === true);
  }

  private meetOwners(): void {
    const wanted = new Set(this.owners);
    for (const [address, node] of this.byAddress) {
      if (!wanted.has(address)) {
        this.byAddress.delete(address);
        node.stop();
      }
    }
    for (const address of wanted) {
      if (address !== undefined && !this.byAddress.has(address)) {
        const serves = ({ index }: Partition): boolean => this.owners[index] === address;
        const node = this.context.createNode(parseAddress(address), serves);
        this.byAddress.set(address, node);
        node.start();
      }
    }
  }

  /** From a connected node if there is one, else from the seeds in turn. */
  private async askForSlots(): Promise<SlotRange[] | null> {
    const known = [...this.byAddress.keys()].map(parseAddress);
    const seeds = this.context.seeds;
    const first = this.nextSeed++;
    const candidates = [...known, ...seeds];
    for (let step = 0; step < candidates.length; step += 1) {
      const at = candidates[(first + step) % candidates.length] as HostPort;
      try {
        return await this.ask(at);
      } catch {
        // Another node may answer.
      }
    }
    return null;
  }

  private async ask(at: HostPort): Promise<SlotRange[]> {
    const redis = this.context.connect(at);
    redis.on('error', () => undefined); // connect() rejects with it
    const timer = setTimeout(
      walled('redis', () => destroy(redis)),
      this.context.timeoutMs,
    );
    try {
      await redis.connect();
      const info = await redis.cluster('INFO');
      if (!/cluster_state:ok/.test(String(info))) {
        throw new Error('the cluster is not ok as this node sees it');
      }
      const rows = (await redis.cluster('SLOTS')) as unknown as [number, number, [string | null, number]][];
      return rows.map(([from, to, [host, port]]) => ({ from, to, address: `${host || at.host}:${port}` }));
    } finally {
      clearTimeout(timer);
      destroy(redis);
    }
  }
}

interface SlotRange {
  from: number;
  to: number;
  address: string;
}

function ownerOf(slots: readonly SlotRange[], slot: number): string | undefined {
  return slots.find(({ from, to }) => slot >= from && slot <= to)?.address;
}

function parseAddress(address: string): HostPort {
  const colon = address.lastIndexOf(':');
  return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
}
