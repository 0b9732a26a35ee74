import type { MessageOutcome } from '../../mqtt/ingest-counters.js';
import type { Message, Node, SparkplugLimits } from './sparkplug-session.js';

/** Messages of edge nodes that wait: for the store, for a birth, or for others that are missing before them. */
export class HeldMessages {
  private count = 0;
  private bytes = 0;

  constructor(private readonly limits: Pick<SparkplugLimits, 'maxHeld' | 'maxHeldBytes' | 'maxHeldOfNode'>) {}

  get size(): number {
    return this.count;
  }

  /** @returns whether no more may wait now; one over the bound while its node is read from the store is refused */
  hold(node: Node, message: Message): boolean {
    const { maxHeld, maxHeldBytes, maxHeldOfNode } = this.limits;
    const { memory } = message.payload;
    const full =
      node.held.length >= maxHeldOfNode || this.count >= maxHeld || this.bytes + memory > maxHeldBytes;
    if (full && node.phase === 'loading') {
      message.source.finish('refused');
      return false;
    }
    node.held.push(message);
    this.count += 1;
    this.bytes += memory;
    return full;
  }

  /** Lets a birth wait that its death may have overtaken. @returns false where no more may wait */
  holdBirth(node: Node, birth: Message): boolean {
    const { maxHeld, maxHeldBytes } = this.limits;
    const { memory } = birth.payload;
    if (this.count >= maxHeld || this.bytes + memory > maxHeldBytes) {
      return false;
    }
    node.heldBirth = birth;
    this.count += 1;
    this.bytes += memory;
    return true;
  }

  /** The birth that waits, which does so no longer. */
  takeBirth(node: Node): Message | null {
    const { heldBirth } = node;
    node.heldBirth = null;
    if (heldBirth !== null) {
      this.released(heldBirth);
    }
    return heldBirth;
  }

  /** The next one that is in order, or has no number. */
  next(node: Node): Message | undefined {
    const index = node.held.findIndex(
      ({ payload }) => payload.seq === undefined || payload.seq === node.next,
    );
    if (index < 0) {
      return undefined;
    }
    const [message] = node.held.splice(index, 1) as [Message];
    this.released(message);
    return message;
  }

  /** Nothing waits any more; what becomes of it is the caller's. */
  drop(node: Node): Message[] {
    const { held } = node;
    held.forEach((message) => this.released(message));
    node.held = [];
    return held;
  }

  /** Nothing waits any more, and all of it has an outcome. */
  letGo(node: Node, outcome: MessageOutcome): void {
    this.drop(node).forEach(({ source }) => source.finish(outcome));
    this.takeBirth(node)?.source.finish('ignored');
    node.birthAt = Infinity;
  }

  clear(): void {
    this.count = this.bytes = 0;
  }

  private released({ payload }: Message): void {
    this.count -= 1;
    this.bytes -= payload.memory;
  }
}
