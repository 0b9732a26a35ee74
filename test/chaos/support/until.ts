import { form, TIME_FACTOR } from '../form.js';

/** The short form reports times and asserts none, and most questions go to all instances. */
const POLL_MS = form(25, 100);

/**
 * Asks every {@link POLL_MS} until it holds.
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
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return Math.round(performance.now() - start);
}
