/** Time after which somebody has read the retained messages again, whoever it was, in ms. */
const LIFE_MS = 60_000;

/**
 * Whether the store may have been set back: another server than before answers, which was perhaps behind it. Telemetry says so by a new
 * epoch; status and metadata are read once more from what the broker retained.
 */
export class StateDoubt {
  private until = -Infinity;
  private readonly listeners = new Set<() => void>();

  /** @param now monotonic ms; replaced in tests */
  constructor(private readonly now: () => number = () => performance.now()) {}

  /** Nobody of this process has read the retained messages since. */
  get raised(): boolean {
    return this.now() < this.until;
  }

  /** @returns takes the listener back */
  onRaised(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  raise(): void {
    this.until = this.now() + LIFE_MS;
    [...this.listeners].forEach((listener) => listener());
  }

  /** The retained messages are in the store. */
  settle(): void {
    this.until = -Infinity;
  }
}
