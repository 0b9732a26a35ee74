/** A source of numbers from 0 up to 1, like Math.random; tests give one that repeats. */
export type Random = () => number;

/** A random walk that is pulled back to its middle and never leaves its range: what a sensor looks like. */
export class Drift {
  constructor(
    private readonly random: Random,
    public value: number,
    private readonly range: { min: number; max: number; step: number },
    /** Where it is pulled to; may be moved, as by a command. */
    public target = value,
  ) {}

  next(): number {
    const { min, max, step } = this.range;
    const pull = (this.target - this.value) * 0.08;
    const noise = (this.random() - 0.5) * 2 * step;
    this.value = Math.min(max, Math.max(min, this.value + pull + noise));
    return this.value;
  }
}

/** Rounded for people: `decimals` places at most. */
export function rounded(value: number, decimals: number): number {
  const factor = 10 ** decimals;
  return Math.round(value * factor) / factor;
}
