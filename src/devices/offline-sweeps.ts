import { setImmediate as nextTurn } from 'node:timers/promises';
import { background } from '../logging/walls.js';
import type { BroadcastAdapter } from '../rooms/broadcast-adapter.js';

/** Devices looked at, and statuses on their way to the store, in one turn of the event loop. */
const DEVICES_PER_TURN = 5_000;
const STATUSES_PER_TURN = 1_024;

/** One status that speaks of many devices. */
export interface Sweep {
  meant(this: void, deviceId: string): boolean;
  /** @returns when it is stored */
  set(this: void, deviceId: string): Promise<unknown>;
}

interface Waiting extends Sweep {
  at: number;
  readonly ended: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The death of a gateway, for which all its devices go offline: a fleet is not one turn's work, and a gateway may die again and again. One sweep
 * at a time goes through the known devices; of those that wait and speak of the same devices only the newest is done. What a device says
 * itself after the death stays.
 */
export class OfflineSweeps {
  private readonly waiting = new Map<string, Waiting>();
  private running = false;
  /** Devices that said their status since the sweeps began, with the count at that time. */
  private readonly said = new Map<string, number>();
  private count = 0;

  /** @param rooms the store's list of devices */
  constructor(
    private readonly rooms: Pick<BroadcastAdapter, 'watchDevices'>,
    private readonly limits: { readonly maxDevices: number },
  ) {}

  /** Sweeps that have not begun. */
  get size(): number {
    return this.waiting.size;
  }

  saidItself(deviceId: string): void {
    if (this.running && (this.said.size < this.limits.maxDevices || this.said.has(deviceId))) {
      this.count += 1;
      this.said.set(deviceId, this.count);
    }
  }

  /** @param name of the devices that are meant @returns when all statuses are stored; those of an earlier sweep in its place, too */
  add(name: string, { meant, set }: Sweep): Promise<void> {
    const same = this.waiting.get(name);
    if (same !== undefined) {
      Object.assign(same, { meant, set, at: this.count });
      return same.ended;
    }
    let resolve!: () => void;
    let reject!: (error: unknown) => void;
    const ended = new Promise<void>((done, failed) => {
      resolve = done;
      reject = failed;
    });
    this.waiting.set(name, { meant, set, at: this.count, ended, resolve, reject });
    if (!this.running) {
      this.running = true;
      background('device', this.run());
    }
    return ended;
  }

  private async run(): Promise<void> {
    for (let [next] = this.waiting; next !== undefined; [next] = this.waiting) {
      const [name, sweep] = next;
      try {
        const devices = await this.rooms.watchDevices();
        this.waiting.delete(name); // from here on another one is a sweep of its own
        await this.sweep(sweep, devices);
        sweep.resolve();
      } catch (error) {
        this.waiting.delete(name);
        sweep.reject(error);
      }
    }
    this.running = false;
    this.said.clear();
  }

  private async sweep({ meant, set, at }: Waiting, devices: readonly string[]): Promise<void> {
    let stored: Promise<unknown>[] = [];
    let looked = 0;
    for (const deviceId of devices) {
      looked += 1;
      if (looked % DEVICES_PER_TURN === 0) {
        await nextTurn();
      }
      if (
        (this.said.get(deviceId) ?? 0) <= at &&
        meant(deviceId) &&
        stored.push(set(deviceId)) === STATUSES_PER_TURN
      ) {
        await Promise.all(stored);
        stored = [];
        await nextTurn();
      }
    }
    await Promise.all(stored);
  }
}
