import { background } from '../logging/walls.js';
import type { Config } from '../config/config.js';
import type { Metrics } from '../metrics/metrics.js';
import type { BroadcastReceiver } from '../rooms/broadcast-adapter.js';
import { MemoryBroadcastAdapter } from '../rooms/memory/memory-adapter.js';
import type { RoomState } from '../rooms/publication.js';
import type { AttachedRoom } from './attached-room.js';

/**
 * The rooms while Redis is away: in this process, under epochs of their own, beginning with what was known last. One object per time
 * without Redis, so that no two of them share an epoch.
 */
export class LocalRooms extends MemoryBroadcastAdapter {
  constructor(limits: Config['rooms'], metrics: Metrics, receiver: BroadcastReceiver) {
    super(limits, metrics);
    this.bind(receiver);
  }

  /** Takes a room over. @returns where it stands here: what was known of it, as values that are no publications */
  takeOver({ state: { deviceId, telemetry, status, meta } }: AttachedRoom): Promise<RoomState> {
    background('redis', this.setMeta(deviceId, meta));
    if (status !== null) {
      background('redis', this.setStatus(deviceId, status, false));
    }
    if (telemetry !== null) {
      this.fillTelemetry(deviceId, telemetry.payload, telemetry.serverTs);
    }
    return Promise.resolve(this.attachRoom(deviceId));
  }
}
