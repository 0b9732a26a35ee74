import type { DeviceState, Position, Room, Telemetry } from './messages.js';

/** A publication compared with the device's position. */
export type Continuity = 'next' | 'double' | 'gap';

interface Known extends Position {
  /** Its value was passed on. Otherwise only the position is known, and a resume from there would never show the value. */
  readonly shown: boolean;
}

/** The position of each device, as far as it was passed on: a resume continues from it. */
export class Positions {
  private readonly byDevice = new Map<string, Known>();

  /** The position from which a resume may continue; undefined if nothing was shown. */
  get(deviceId: string): Position | undefined {
    const known = this.byDevice.get(deviceId);
    return known?.shown === true ? { epoch: known.epoch, offset: known.offset } : undefined;
  }

  has(deviceId: string): boolean {
    return this.byDevice.has(deviceId);
  }

  /** Forgets all others. */
  keep(isWanted: (deviceId: string) => boolean): void {
    for (const deviceId of this.byDevice.keys()) {
      if (!isWanted(deviceId)) {
        this.byDevice.delete(deviceId);
      }
    }
  }

  /** A subscription begins at this position; a recovered one continues at its own. */
  subscribed({ deviceId, epoch, offset, recovered }: Room): void {
    if (recovered !== true || this.byDevice.get(deviceId)?.epoch !== epoch) {
      this.byDevice.set(deviceId, { epoch, offset, shown: offset === 0 });
    }
  }

  /** @returns whether publications may be missing before it */
  snapshot({ deviceId, telemetry }: DeviceState): boolean {
    if (telemetry === undefined) {
      return false;
    }
    const { epoch, offset } = telemetry;
    const known = this.byDevice.get(deviceId);
    this.byDevice.set(deviceId, { epoch, offset, shown: true });
    return known?.shown === true && (known.epoch !== epoch || (known.offset < offset && known.offset > 0));
  }

  /** Advances by a publication, unless it is a duplicate or a publication before it is missing. */
  telemetry({ deviceId, epoch, offset, skipped = 0 }: Telemetry): Continuity {
    const known = this.byDevice.get(deviceId);
    if (known?.epoch === epoch && offset <= known.offset) {
      return 'double';
    }
    if (known?.epoch === epoch && offset !== known.offset + 1 + skipped) {
      return 'gap';
    }
    this.byDevice.set(deviceId, { epoch, offset, shown: true });
    return 'next';
  }
}
