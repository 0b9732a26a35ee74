/** Caches an expensive result: computed at most once per period, for all callers. */
export class Recent<T> {
  private made: Promise<T> | undefined;
  private madeAt = -Infinity;

  /**
   * @param make a failure is not cached
   * @param now monotonic ms; replaced in tests
   */
  constructor(
    private readonly make: () => Promise<T>,
    private readonly maxAgeMs: number,
    private readonly now: () => number = () => performance.now(),
  ) {}

  get(): Promise<T> {
    const now = this.now();
    if (this.made === undefined || now - this.madeAt >= this.maxAgeMs) {
      this.madeAt = now;
      this.made = this.make().catch((error: unknown) => {
        this.made = undefined;
        throw error;
      });
    }
    return this.made;
  }
}
