import type { DeviceMessage } from '../rooms/device-message.js';
import type { DeviceStatus, MetaBytes } from '../rooms/publication.js';
import type { RedisStore } from './redis-store.js';
import type { StateChange } from './store-operations.js';

/** Writes of devices into the store, in the order of the calls per device. */
export class StoreWriter {
  constructor(private readonly store: RedisStore) {}

  publish(message: DeviceMessage): void {
    this.store.push(message);
  }

  fillTelemetry(deviceId: string, payload: Buffer, receivedAt: number): void {
    const change = { kind: 'fill', payload, receivedAt } as const;
    this.store.push({ deviceId, change, stored: () => undefined, lost: () => undefined });
  }

  /** @throws {StoreLostError} when the store is lost before it answered */
  setStatus(deviceId: string, status: DeviceStatus, onlyIfUnknown: boolean): Promise<void> {
    return this.change(deviceId, { kind: 'status', status, onlyIfUnknown });
  }

  /** @throws {StoreLostError} when the store is lost before it answered */
  setMeta(deviceId: string, meta: MetaBytes): Promise<void> {
    return this.change(deviceId, { kind: 'meta', meta });
  }

  private change(deviceId: string, change: StateChange['change']): Promise<void> {
    return new Promise((resolve, reject) => {
      this.store.push({ deviceId, change, stored: resolve, lost: reject });
    });
  }
}
