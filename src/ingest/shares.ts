/**
 * How many shards each instance holds. Shards are divided evenly; those that are left over belong to who holds most, so that nothing moves
 * without need.
 */
export class Shares {
  private readers = new Map<string, number>();
  /** Instances that have ended, each with the monotonic ms until which the store may still name it. */
  private readonly gone = new Map<string, number>();

  /**
   * @param instance this one
   * @param shards in all
   * @param lifeMs time for which the store names an instance that has ended
   * @param now monotonic ms; replaced in tests
   */
  constructor(
    private readonly instance: string,
    private readonly shards: number,
    private readonly lifeMs: number,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** Instances that may read, with what each holds, as the store has just said. */
  told(readers: Map<string, number>): void {
    this.readers = readers;
    for (const [instance, until] of this.gone) {
      if (this.now() >= until) {
        this.gone.delete(instance); // the store names it again: it lives, and had only lost the broker
      } else {
        readers.delete(instance);
      }
    }
  }

  /** An instance has ended: what it held is for the others, before the store notices. */
  left(instance: string): void {
    if (this.readers.delete(instance)) {
      this.gone.set(instance, this.now() + this.lifeMs);
    }
  }

  /** How many are this instance's; none while it is not one of the readers. */
  get own(): number {
    return this.of(this.instance);
  }

  /**
   * Whether to give one up: this instance holds more than its share, and another one less.
   * @param held that it holds now
   */
  tooMany(held: number): boolean {
    return (
      held > this.own &&
      [...this.readers].some(([name, theirs]) => name !== this.instance && theirs < this.of(name))
    );
  }

  private of(instance: string): number {
    const inOrder = [...this.readers].sort(
      ([one, first], [other, second]) => second - first || (one < other ? -1 : 1),
    );
    const rank = inOrder.findIndex(([name]) => name === instance);
    const { length } = inOrder;
    return rank < 0 ? 0 : Math.floor(this.shards / length) + (rank < this.shards % length ? 1 : 0);
  }
}
