import { type DeviceKind, deviceKinds } from './device-kinds.js';

/** Devices in one hall; a bigger fleet has more halls. */
const HALL_SIZE = deviceKinds.length;

/** One device of the fleet before it is started. */
export interface PlannedDevice {
  readonly deviceId: string;
  readonly kind: DeviceKind;
  readonly location: string;
  /** Disconnects now and then, so that its will is published. */
  readonly unsteady: boolean;
}

/**
 * The fleet: the kinds in turn, a hall per round. Ids are stable (`hall-1.thermometer`), so that a page that was open
 * before a restart finds its devices again.
 */
export function planFleet(count: number): PlannedDevice[] {
  return Array.from({ length: count }, (_, index) => {
    const kind = deviceKinds[index % HALL_SIZE] as DeviceKind;
    const hall = Math.floor(index / HALL_SIZE) + 1;
    return {
      deviceId: `hall-${hall}.${kind.slug}`,
      kind,
      location: `Hall ${hall}`,
      unsteady: index === Math.min(count, 2 * HALL_SIZE) - 2,
    };
  });
}
