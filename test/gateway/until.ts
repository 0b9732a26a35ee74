import { setTimeout as pause } from 'node:timers/promises';

/** Looks until something holds. @throws after `timeoutMs` */
export async function until(holds: () => boolean | Promise<boolean>, timeoutMs = 10_000): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!(await holds())) {
    if (Date.now() > end) {
      throw new Error(`does not hold after ${timeoutMs} ms: ${holds.toString()}`);
    }
    await pause(5);
  }
}
