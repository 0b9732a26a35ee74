import type { DeviceState, Position, Room, Telemetry } from './messages.js';

/** What a publication is to what was seen before. */
export type Continuity = 'next' | 'double' | 'gap';

interface Known extends Position {
  /** Its value was handed on. Else it is only known where the device stands: a resume from there would never show it. */
  readonly shown: boolean;
}

/** Where each device stands, as far as it was handed on: what a resume goes on from. */
export class Positions {
  private readonly byDevice = new Map<string, Known>();

  /** Where a resume may go on from; undefined where nothing was shown. */
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

  /** A subscription stands there; one that recovered goes on where it stood. */
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

  /** Moves on by a publication, unless it is a double or something is missing before it. */
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
