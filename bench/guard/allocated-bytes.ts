import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
setFlagsFromString('--no-expose-gc');

const ATTEMPTS = 5;

/**
 * Bytes that `work` leaves on the JavaScript heap, garbage included: the least of several attempts, since a collection in the middle
 * or a compilation beside it only ever blurs single ones.
 *
 * @param work synchronous, and small enough (a few MiB) for no collection to be due within it
 * @param between what each attempt has to have done after it
 */
export async function allocatedBytes(work: () => void, between: () => Promise<void>): Promise<number> {
  const measured: number[] = [];
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    collectGarbage();
    const before = process.memoryUsage().heapUsed;
    work();
    const grown = process.memoryUsage().heapUsed - before;
    await between();
    if (grown >= 0) {
      measured.push(grown);
    }
  }
  return Math.min(...measured);
}
