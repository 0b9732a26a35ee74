import { background, walled } from '../logging/walls.js';
import type { RedisStore } from './redis-store.js';

const FORGET_AFTER_MS = 1_000;

/** Lets the store drop rooms of which nothing is known once they are left, in one call per partition and second. */
export class Forgetting {
  private deviceIds = new Set<string>();
  private timer: NodeJS.Timeout | null = null;

  /** @param stays looked at when the time has come: somebody is back, or the store is away */
  constructor(
    private readonly store: RedisStore,
    private readonly stays: (deviceId: string) => boolean,
  ) {}

  start(): void {
    this.timer = setInterval(
      walled('redis', () => this.forget()),
      FORGET_AFTER_MS,
    );
  }

  stop(): void {
    if (this.timer !== null) {
      clearInterval(this.timer);
    }
  }

  add(deviceId: string): void {
    this.deviceIds.add(deviceId);
  }

  private forget(): void {
    if (this.deviceIds.size === 0) {
      return;
    }
    const gone = [...this.deviceIds].filter((deviceId) => !this.stays(deviceId));
    this.deviceIds = new Set();
    for (const [partition, deviceIds] of this.store.partitions.group(gone)) {
      // What is not forgotten now expires by itself.
      background(
        'redis',
        this.store.forget(partition, deviceIds).catch(() => undefined),
      );
    }
  }
}
