import { CodecError } from '../codecs/codec.js';
import type { MetricTable } from './sparkplug-metrics.js';
import { EdgeNode, type Part, PART_BYTES } from './sparkplug-node.js';
import type { Node, SparkplugLimits, SparkplugSource } from './sparkplug-session.js';

/**
 * The edge nodes in memory, and how much their births said. There are two generations, so that nothing is ordered at each message: a node
 * of the older one that speaks goes to the recent one, and the older one is forgotten when there is no room for more.
 */
export class NodeMemory {
  private recent = new Map<string, Node>();
  private older = new Map<string, Node>();
  /** Of all births and parts. */
  private births = 0;

  /** @param onForget ends what is under way for a node */
  constructor(
    private readonly limits: Pick<SparkplugLimits, 'maxNodes' | 'maxBytes' | 'maxMetrics'>,
    private readonly onForget: (node: Node) => void,
  ) {}

  get size(): number {
    return this.recent.size + this.older.size;
  }

  get bytes(): number {
    return this.births;
  }

  get all(): Node[] {
    return [...this.recent.values(), ...this.older.values()];
  }

  /** One that has spoken of late. */
  known(key: string): Node | undefined {
    return this.recent.get(key);
  }

  /** The node that speaks; `isNew` where nothing is known of it in memory. */
  take(key: string): { node: Node; isNew: boolean } {
    const recent = this.recent.get(key);
    if (recent !== undefined) {
      return { node: recent, isNew: false };
    }
    const older = this.older.get(key);
    if (this.recent.size >= this.limits.maxNodes / 2) {
      this.forgetOlder(older);
    }
    this.older.delete(key);
    const node = older ?? new EdgeNode<SparkplugSource>(key);
    this.recent.set(key, node);
    return { node, isNew: older === undefined };
  }

  /** Forgets the nodes that have not spoken since this was called before. */
  age(): void {
    this.forgetOlder();
  }

  /** What the store had of it; the store may have more than there is room for here, and then nothing is known until the next birth. */
  load(node: Node, stored: ReadonlyMap<string, string> | null): void {
    const { maxBytes } = this.limits;
    node.load(stored);
    if (this.births + node.memory > maxBytes) {
      this.forgetOlder(node);
    }
    if (this.births + node.memory > maxBytes) {
      node.unload();
    }
    this.births += node.memory;
  }

  forget(node: Node): void {
    this.recent.delete(node.key);
    this.older.delete(node.key);
    this.births -= node.memory;
    this.onForget(node);
  }

  /**
   * Makes room for what a birth says.
   * @param whole it replaces what is known of all devices of the node
   * @throws {CodecError} when the node, or all nodes together, would have more than there may be
   */
  admit(node: Node, device: string, table: MetricTable, whole: boolean): void {
    const { maxMetrics, maxBytes } = this.limits;
    const before = node.parts.get(device)?.table;
    const metrics = whole ? node.metrics : (before?.byName.size ?? 0);
    const bytes = whole ? node.bytes : (before?.bytes ?? 0);
    if (node.metrics - metrics + table.byName.size > maxMetrics) {
      throw new CodecError('too_many_fields');
    }
    const more = table.bytes + (before === undefined ? PART_BYTES : 0) - bytes;
    if (more > 0 && this.births + more > maxBytes) {
      this.forgetOlder(node);
      if (this.births + more > maxBytes) {
        throw new CodecError('too_many_fields');
      }
    }
  }

  /** Replaces what is known of a device; null forgets it. */
  put(node: Node, device: string, part: Part | null): void {
    this.births -= node.memory;
    node.put(device, part);
    this.births += node.memory;
  }

  /** Replaces what is known of all devices of a node, and of itself. */
  putAll(node: Node, partOf: (device: string) => Part | null): void {
    this.births -= node.memory;
    [...node.parts.keys()].forEach((device) => node.put(device, partOf(device)));
    this.births += node.memory;
  }

  clear(): void {
    this.recent.clear();
    this.older.clear();
    this.births = 0;
  }

  private forgetOlder(except?: Node): void {
    const forgotten = [...this.older.values()].filter((node) => node !== except);
    forgotten.forEach((node) => this.forget(node));
    const kept = this.older;
    this.older = this.recent;
    this.recent = kept;
  }
}
