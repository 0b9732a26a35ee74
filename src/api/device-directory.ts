import { setImmediate as turn } from 'node:timers/promises';
import { walled } from '../logging/walls.js';
import type { BroadcastAdapter } from '../rooms/broadcast-adapter.js';

/** A list this old is read anew. A walk through all pages reads it once in a while, not once a page. */
const MAX_AGE_MS = 1_000;
/** A list that nobody asks for is forgotten. */
const KEPT_MS = 10_000;
/** Ids looked at in one turn of the event loop. */
const PER_TURN = 5_000;

/**
 * The ids of all known devices, for pages in the order of the ids. They are read some thousand at a time and never sorted as a whole: a page needs
 * only the smallest ids after the last one. At 100 000 devices a page takes some 10 ms, in turns of less than one.
 */
export class DeviceDirectory {
  private ids: ReadonlySet<string> = new Set();
  private readAt = Number.NEGATIVE_INFINITY;
  private reading: Promise<ReadonlySet<string>> | null = null;
  private forget: NodeJS.Timeout | null = null;

  constructor(private readonly adapter: Pick<BroadcastAdapter, 'deviceIds'>) {}

  /** The `count` smallest ids after `after` that match, sorted. */
  async page(matches: (deviceId: string) => boolean, after: string, count: number): Promise<string[]> {
    const ids = await this.read();
    let best: string[] = [];
    let bound: string | null = null;
    let looked = 0;
    for (const id of ids) {
      looked += 1;
      if (looked % PER_TURN === 0) {
        await turn();
      }
      if (id > after && (bound === null || id < bound) && matches(id)) {
        best.push(id);
        if (best.length >= 2 * count + PER_TURN) {
          best = best.sort(byUnits).slice(0, count);
          bound = best.at(-1) as string;
        }
      }
    }
    return best.sort(byUnits).slice(0, count);
  }

  private async read(): Promise<ReadonlySet<string>> {
    if (performance.now() - this.readAt < MAX_AGE_MS) {
      return this.ids;
    }
    this.reading ??= this.readAll().finally(() => (this.reading = null));
    return await this.reading;
  }

  private async readAll(): Promise<ReadonlySet<string>> {
    const ids = new Set<string>();
    // A device that becomes known while this runs may be missing, as if it had become known later.
    const startedAt = performance.now();
    for await (const batch of this.adapter.deviceIds()) {
      batch.forEach((deviceId) => ids.add(deviceId));
      await turn();
    }
    this.ids = ids;
    this.readAt = startedAt;
    if (this.forget !== null) {
      clearTimeout(this.forget);
    }
    this.forget = setTimeout(
      walled('api', () => {
        this.ids = new Set();
        this.readAt = Number.NEGATIVE_INFINITY;
      }),
      KEPT_MS,
    ).unref();
    return ids;
  }
}

/** As `<` compares: the order must not depend on a language. */
const byUnits = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
