import { rebirthPayload } from './sparkplug-commands.js';

export const SPARKPLUG_NAMESPACE = 'spBv1.0';
/** One request to a node in this time: a birth of thousands of metrics is no small thing. */
export const REBIRTH_INTERVAL_MS = 30_000;
/** Over all nodes: after a failure of the broker every node has a gap. */
export const REBIRTHS_PER_SECOND = 10;
const SPACING_MS = 1_000 / REBIRTHS_PER_SECOND;
/** Nodes that wait for their turn. A node over it asks again with its next message. */
export const MAX_WAITING_REBIRTHS = 10_000;

/**
 * Paces the rebirth requests of one process: whatever the causes are, a node is asked once in 30 s, and ten nodes in a second. A node that
 * is born while it waits is not asked.
 */
export class RebirthRequests {
  private readonly waiting = new Set<string>();
  /** When a node was asked, the latest at the end. */
  private readonly asked = new Map<string, number>();
  private nextAt = -Infinity;

  /**
   * @param send publishes at QoS 0; false: there is no connection
   * @param now monotonic ms
   */
  constructor(
    private readonly send: (topic: string, payload: Buffer) => boolean,
    private readonly now: () => number = () => performance.now(),
  ) {}

  get size(): number {
    return this.waiting.size;
  }

  /** @param node `{group}/{node}` @returns false when too many wait already */
  ask(node: string): boolean {
    if (this.waiting.size >= MAX_WAITING_REBIRTHS && !this.waiting.has(node)) {
      return false;
    }
    this.waiting.add(node);
    this.run();
    return true;
  }

  /** The node was born, or is forgotten: there is nothing to ask. */
  cancel(node: string): void {
    this.waiting.delete(node);
  }

  /** Called from time to time while {@link size} is not 0. */
  run(): void {
    const now = this.now();
    for (const [node, at] of this.asked) {
      if (now - at < REBIRTH_INTERVAL_MS) {
        break;
      }
      this.asked.delete(node);
    }
    if (now < this.nextAt) {
      return;
    }
    for (const node of this.waiting) {
      if (this.asked.has(node)) {
        continue;
      }
      const [group, name] = node.split('/') as [string, string];
      if (!this.send(`${SPARKPLUG_NAMESPACE}/${group}/NCMD/${name}`, rebirthPayload(Date.now()))) {
        return;
      }
      this.waiting.delete(node);
      this.asked.set(node, now);
      this.nextAt = now + SPACING_MS;
      return;
    }
  }
}
