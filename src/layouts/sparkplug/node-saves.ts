import { StoreLostError } from '../../ingest/ports.js';
import { background, contain } from '../../logging/walls.js';
import type { EdgeNodeChange, EdgeNodes } from '../../rooms/edge-nodes.js';
import type { Node } from './sparkplug-session.js';

/** How often sequences are written, ms. */
export const SAVE_TICK_MS = 100;
/** Nodes whose sequence is written in one tick: it only spares rebirths after a takeover. */
const SAVES_PER_TICK = 50;

/** What is known of edge nodes, on its way to the store: births before their message is acknowledged, sequences when there is time. */
export class NodeSaves {
  private readonly moved = new Set<Node>();
  private savesLeft = SAVES_PER_TICK;
  private savesSince = -Infinity;

  /** @param onMoved a sequence waits for the next tick */
  constructor(
    private readonly store: Pick<EdgeNodes, 'write'>,
    private readonly now: () => number,
    private readonly onMoved: () => void,
  ) {}

  /** Nodes whose sequence waits. */
  get waiting(): number {
    return this.moved.size;
  }

  /** Writes what changed, after what is being written. */
  save(node: Node, devices: readonly string[]): Promise<void> {
    if (node.phase === 'unknown') {
      return Promise.resolve(); // its birth is on the way
    }
    const whole = node.unsaved;
    const change = whole ? node.whole() : node.change(devices);
    node.unsaved = false;
    node.savedNext = node.next;
    this.unmove(node);
    const saving = (node.saving ?? Promise.resolve()).then(() => this.write(node, change));
    node.saving = saving;
    const done = (): void => {
      if (node.saving === saving) {
        node.saving = null;
      }
    };
    background('device', saving.then(done, done));
    return saving;
  }

  /** How far the sequence is: at once while few move, so that a kill forgets little; else with the next tick. */
  saveProgress(node: Node): void {
    if (node.moved || node.savedNext === node.next) {
      return;
    }
    const now = this.now();
    if (now - this.savesSince >= SAVE_TICK_MS) {
      this.savesSince = now;
      this.savesLeft = SAVES_PER_TICK;
    }
    if (node.saving === null && this.savesLeft > 0) {
      this.savesLeft -= 1;
      background('device', this.saveMovedNode(node));
    } else {
      node.moved = true;
      this.moved.add(node);
      this.onMoved();
    }
  }

  /** Writes some of the sequences that wait. */
  saveMoved(): void {
    let left = SAVES_PER_TICK;
    for (const node of this.moved) {
      if (left-- === 0) {
        break;
      }
      if (node.saving === null) {
        background('device', this.saveMovedNode(node));
      }
    }
  }

  /** The node is forgotten. */
  forget(node: Node): void {
    if (this.moved.delete(node)) {
      background('device', this.saveMovedNode(node));
    }
  }

  /** Writes all sequences that wait. */
  async finish(): Promise<void> {
    const saved = [...this.moved].map((node) => this.saveMovedNode(node));
    await Promise.allSettled(saved);
    this.moved.clear();
  }

  private saveMovedNode(node: Node): Promise<void> {
    return node.phase === 'alive'
      ? this.save(node, []).catch(() => undefined)
      : Promise.resolve(this.unmove(node));
  }

  private unmove(node: Node): void {
    node.moved = false;
    this.moved.delete(node);
  }

  private async write(node: Node, change: EdgeNodeChange): Promise<void> {
    try {
      const kept = await this.store.write(node.key, change);
      if (!kept) {
        node.unsaved = true;
      }
    } catch (error) {
      node.unsaved = true;
      if (error instanceof StoreLostError) {
        throw error;
      }
      contain('device', error); // the node is served without being stored: only a takeover has to ask for its births
    }
  }
}
