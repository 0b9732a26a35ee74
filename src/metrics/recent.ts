/** What is dear to make, for whoever asks how often: made once at most in some time, for all who ask meanwhile. */
export class Recent<T> {
  private made: Promise<T> | undefined;
  private madeAt = -Infinity;

  /**
   * @param make what fails is made again for the next who asks
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
