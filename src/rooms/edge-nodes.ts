import { getHeapStatistics } from 'node:v8';

/** A change of what is kept of one edge node. */
export interface EdgeNodeChange {
  /** Everything known of the node is forgotten first. */
  readonly replace: boolean;
  /** Texts by name; null forgets one. */
  readonly parts: ReadonlyMap<string, string | null>;
}

/**
 * What the edge nodes of Sparkplug said of themselves at birth, so that who reads on after a takeover asks for no births, and any instance
 * can encode a command. The texts are the codec's own (layouts/sparkplug). Kept next to the rooms, bounded by MAX_DEVICES nodes, and in Redis forgotten
 * after DEVICE_EXPIRY_S without a write.
 */
export interface EdgeNodes {
  /**
   * @param names of the texts that are wanted; all if it is left out. A node has thousands of devices
   * @returns null when nothing is known of these @throws when the store does not answer
   */
  read(node: string, names?: readonly string[]): Promise<ReadonlyMap<string, string> | null>;
  /**
   * In the order of the calls for one node. A change without `replace` to a node of which nothing is known is not kept.
   * @returns whether it is kept: not at the bound of nodes, nor where the connection breaks meanwhile
   * @throws {StoreLostError} when the store is lost before it answered
   */
  write(node: string, change: EdgeNodeChange): Promise<boolean>;
}

/** Memory of a node, and of one of its texts, beside their characters. */
const NODE_BYTES = 500;
const TEXT_BYTES = 100;
/** Of all nodes together: what a birth says may be as long as a message, and a node has many devices. */
const MAX_MEMORY_BYTES = 128 * 1024 * 1024;

/** In this process. At a bound the node that was written least recently is forgotten. */
export class MemoryEdgeNodes implements EdgeNodes {
  private readonly nodes = new Map<string, { parts: Map<string, string>; bytes: number }>();
  private bytes = 0;

  constructor(
    private readonly maxNodes: number,
    private readonly maxBytes: number = Math.min(MAX_MEMORY_BYTES, getHeapStatistics().heap_size_limit / 8),
  ) {}

  get size(): number {
    return this.nodes.size;
  }

  read(node: string, names?: readonly string[]): Promise<ReadonlyMap<string, string> | null> {
    const parts = this.nodes.get(node)?.parts;
    if (parts === undefined || names === undefined) {
      return Promise.resolve(parts === undefined ? null : new Map(parts));
    }
    const found = new Map<string, string>();
    for (const name of names) {
      const text = parts.get(name);
      if (text !== undefined) {
        found.set(name, text);
      }
    }
    return Promise.resolve(found.size === 0 ? null : found);
  }

  write(node: string, { replace, parts }: EdgeNodeChange): Promise<boolean> {
    const before = this.nodes.get(node);
    if (before === undefined && !replace) {
      return Promise.resolve(false);
    }
    this.forget(node);
    const known =
      replace || before === undefined ? { parts: new Map<string, string>(), bytes: NODE_BYTES } : before;
    for (const [name, text] of parts) {
      known.bytes -= bytesOf(name, known.parts.get(name));
      if (text === null) {
        known.parts.delete(name);
      } else {
        known.parts.set(name, text);
        known.bytes += bytesOf(name, text);
      }
    }
    this.nodes.set(node, known);
    this.bytes += known.bytes;
    while (this.nodes.size > this.maxNodes || this.bytes > this.maxBytes) {
      const [oldest] = this.nodes.keys();
      this.forget(oldest as string);
    }
    return Promise.resolve(this.nodes.has(node));
  }

  clear(): void {
    this.nodes.clear();
    this.bytes = 0;
  }

  private forget(node: string): void {
    this.bytes -= this.nodes.get(node)?.bytes ?? 0;
    this.nodes.delete(node);
  }
}

function bytesOf(name: string, text: string | undefined): number {
  return text === undefined ? 0 : TEXT_BYTES + name.length + text.length;
}
