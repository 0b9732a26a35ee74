import type { MetaBytes, Publication } from '../delivery/publication.js';

export type { MetaBytes, Publication };

/** Whether a device is online, as the device (or its will) said last. */
export interface DeviceStatus {
  readonly isOnline: boolean;
  /** Unix ms: the status' own `ts`, else the time of receipt. */
  readonly lastSeen: number;
  /** Unix ms at which Sluice took it in. */
  readonly serverTs: number;
}

/** All that is known of a device at one moment. */
export interface RoomState {
  readonly deviceId: string;
  readonly epoch: string;
  readonly offset: number;
  readonly telemetry: Publication | null;
  readonly status: DeviceStatus | null;
  readonly meta: MetaBytes;
}
