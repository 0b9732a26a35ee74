import { setTimeout as delay } from 'node:timers/promises';
import { StoreLostError } from '../../ingest/ports.js';
import { walled } from '../../logging/walls.js';
import type { TelemetryBase } from '../../rooms/broadcast-adapter.js';

/** Wait before a read that failed is tried again. */
const RETRY_MS = 50;
/** Devices read by one call: bounds the time for which one call keeps Redis busy. */
const MAX_DEVICES_PER_READ = 64;

interface Asked {
  readonly deviceId: string;
  resolve(this: void, base: TelemetryBase | null): void;
  reject(this: void, error: Error): void;
}

/**
 * Reads of where devices stand in one partition, many by one call. A read comes after all writes of this instance that were queued before
 * it: an earlier reader's publication that is still under way is not overlooked. A read that fails is tried again, until the store counts
 * as lost.
 */
export class BaseReads {
  private asked: Asked[] = [];
  private reading = false;
  private drops = 0;

  /**
   * @param written resolves when what is queued now is written
   * @param read in the order of the ids; null where there is nothing
   */
  constructor(
    private readonly written: () => Promise<void>,
    private readonly read: (deviceIds: readonly string[]) => Promise<(TelemetryBase | null)[]>,
  ) {}

  of(deviceId: string): Promise<TelemetryBase | null> {
    return new Promise((resolve, reject) => {
      this.asked.push({ deviceId, resolve, reject });
      if (!this.reading) {
        this.reading = true;
        // In a turn of its own, with all that this one asks for.
        setImmediate(walled('redis', () => this.readAll()));
      }
    });
  }

  /** The store is lost: nobody gets an answer. */
  drop(why: string): void {
    this.drops += 1;
    const { asked } = this;
    this.asked = [];
    asked.forEach(({ reject }) => reject(new StoreLostError(why)));
  }

  private async readAll(): Promise<void> {
    try {
      while (this.asked.length > 0) {
        const some = this.asked.slice(0, MAX_DEVICES_PER_READ);
        const { drops } = this;
        await this.written();
        const bases = await this.read(some.map(({ deviceId }) => deviceId)).catch(() => null);
        if (drops !== this.drops) {
          continue; // they were told that the store is lost
        }
        if (bases === null) {
          await delay(RETRY_MS);
          continue;
        }
        this.asked.splice(0, some.length);
        some.forEach(({ resolve }, at) => resolve(bases[at] ?? null));
      }
    } finally {
      this.reading = false;
    }
  }
}
