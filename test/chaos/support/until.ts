import { TIME_FACTOR } from '../form.js';

/**
 * Asks every 25 ms until it holds.
 * @param limitMs times {@link TIME_FACTOR}; then it throws
 * @returns the time it took, in ms
 */
export async function until(
  what: string,
  limitMs: number,
  holds: () => boolean | Promise<boolean>,
): Promise<number> {
  const start = performance.now();
  while (!(await holds())) {
    if (performance.now() - start > limitMs * TIME_FACTOR) {
      throw new Error(`not within ${limitMs * TIME_FACTOR} ms: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  return Math.round(performance.now() - start);
}
