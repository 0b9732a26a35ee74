import type { DeviceState, Position, Room, Telemetry } from './messages.js';

/** What a publication is to what was seen before. */
export type Continuity = 'next' | 'double' | 'gap';

/** Where each device stands, as far as it was handed on: what a resume goes on from. */
export class Positions {
  private readonly byDevice = new Map<string, Position>();

  get(deviceId: string): Position | undefined {
    return this.byDevice.get(deviceId);
  }

  /** Forgets all others. */
  keep(isWanted: (deviceId: string) => boolean): void {
    for (const deviceId of this.byDevice.keys()) {
      if (!isWanted(deviceId)) {
        this.byDevice.delete(deviceId);
      }
    }
  }

  /** A subscription stands there; one that recovered goes on where it stood. */
  subscribed({ deviceId, epoch, offset, recovered }: Room): void {
    if (recovered !== true || this.byDevice.get(deviceId)?.epoch !== epoch) {
      this.byDevice.set(deviceId, { epoch, offset });
    }
  }

  snapshot({ deviceId, telemetry }: DeviceState): void {
    if (telemetry !== undefined) {
      this.byDevice.set(deviceId, { epoch: telemetry.epoch, offset: telemetry.offset });
    }
  }

  /** Moves on by a publication, unless it is a double or something is missing before it. */
  telemetry({ deviceId, epoch, offset, skipped = 0 }: Telemetry): Continuity {
    const known = this.byDevice.get(deviceId);
    if (known?.epoch === epoch && offset <= known.offset) {
      return 'double';
    }
    if (known?.epoch === epoch && offset !== known.offset + 1 + skipped) {
      return 'gap';
    }
    this.byDevice.set(deviceId, { epoch, offset });
    return 'next';
  }
}
