/** A change of what is kept of one edge node. */
export interface EdgeNodeChange {
  /** Everything known of the node is forgotten first. */
  readonly replace: boolean;
  /** Texts by name; null forgets one. */
  readonly parts: ReadonlyMap<string, string | null>;
}

/**
 * What the edge nodes of Sparkplug said of themselves at birth, so that who reads on after a takeover asks for no births, and any instance
 * can encode a command. The texts are the codec's own (layouts/codecs). Kept next to the rooms, bounded by MAX_DEVICES nodes, and forgotten
 * after DEVICE_EXPIRY_S without a write.
 */
export interface EdgeNodes {
  /** @returns null when nothing is known @throws when the store does not answer */
  read(node: string): Promise<ReadonlyMap<string, string> | null>;
  /**
   * In the order of the calls for one node. A change without `replace` to a node of which nothing is known is not kept.
   * @returns whether it is kept: not at the bound of nodes
   * @throws {StoreLostError} when the store is lost before it answered
   */
  write(node: string, change: EdgeNodeChange): Promise<boolean>;
}

/** In this process. At the bound the node that was written least recently is forgotten. */
export class MemoryEdgeNodes implements EdgeNodes {
  private readonly nodes = new Map<string, Map<string, string>>();

  constructor(private readonly maxNodes: number) {}

  get size(): number {
    return this.nodes.size;
  }

  read(node: string): Promise<ReadonlyMap<string, string> | null> {
    const parts = this.nodes.get(node);
    return Promise.resolve(parts === undefined ? null : new Map(parts));
  }

  write(node: string, { replace, parts }: EdgeNodeChange): Promise<boolean> {
    const known = replace ? new Map<string, string>() : this.nodes.get(node);
    if (known === undefined) {
      return Promise.resolve(false);
    }
    for (const [name, text] of parts) {
      if (text === null) {
        known.delete(name);
      } else {
        known.set(name, text);
      }
    }
    this.nodes.delete(node);
    this.nodes.set(node, known);
    if (this.nodes.size > this.maxNodes) {
      const [oldest] = this.nodes.keys();
      this.nodes.delete(oldest as string);
    }
    return Promise.resolve(true);
  }

  clear(): void {
    this.nodes.clear();
  }
}
