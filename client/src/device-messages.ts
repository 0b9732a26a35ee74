import type { Interests } from './interests.js';
import type {
  DeviceMeta,
  DeviceState,
  DeviceStatus,
  ServerMessage,
  Subscribed,
  Telemetry,
} from './messages.js';
import type { Positions } from './positions.js';

/** Receives the messages about devices; see {@link SluiceClientEvents}. */
export interface DeviceListener {
  telemetry(message: Telemetry): void;
  status(message: DeviceStatus): void;
  meta(message: DeviceMeta): void;
  snapshot(state: DeviceState): void;
  reset(deviceId: string): void;
  withdrawn(deviceIds: readonly string[], pattern: string | undefined): void;
  /** A publication is missing: requests it. */
  resume(deviceId: string): void;
}

/** Passes on messages about devices: each publication once and in order, and none of devices that are no longer wanted. */
export class DeviceMessages {
  private readonly resuming = new Set<string>();

  constructor(
    private readonly interests: Interests,
    private readonly positions: Positions,
    private readonly listener: DeviceListener,
  ) {}

  /** A new connection: no request is pending on it. */
  begin(): void {
    this.resuming.clear();
  }

  take(message: ServerMessage): void {
    switch (message.type) {
      case 'telemetry':
        this.publication(message);
        break;
      case 'device_status':
        this.listener.status(message);
        break;
      case 'device_meta':
        this.listener.meta(message);
        break;
      case 'snapshot':
        message.devices.forEach((state) => this.known(state));
        break;
      case 'subscribed':
        this.subscribed(message);
        break;
      case 'unsubscribed':
        this.left(message);
        break;
      default:
        break; // not about devices
    }
  }

  /** A resume that was requested by {@link DeviceListener.resume} will not come: the device continues at its current position. */
  resumeFailed(deviceId: string): void {
    if (this.resuming.delete(deviceId)) {
      this.positions.keep((id) => id !== deviceId);
      this.listener.reset(deviceId);
    }
  }

  private publication(message: Telemetry): void {
    const { deviceId } = message;
    if (!this.interests.has(deviceId) || this.resuming.has(deviceId)) {
      return;
    }
    const continuity = this.positions.telemetry(message);
    if (continuity === 'next') {
      this.listener.telemetry(message);
    } else if (continuity === 'gap') {
      this.resuming.add(deviceId);
      this.listener.resume(deviceId);
    }
  }

  private known(state: DeviceState): void {
    const { deviceId } = state;
    if (!this.interests.has(deviceId)) {
      return;
    }
    if (this.positions.snapshot(state)) {
      this.listener.reset(deviceId);
    }
    this.listener.snapshot(state);
  }

  private subscribed(message: Subscribed): void {
    this.interests.subscribed(message);
    for (const room of message.rooms) {
      const { deviceId, recovered } = room;
      // The answer to a pattern also names devices that are watched already: their positions stay, since publications of them may still be
      // on the way.
      if (message.pattern === undefined || !this.positions.has(deviceId)) {
        this.positions.subscribed(room);
      }
      if (message.pattern === undefined) {
        this.resuming.delete(deviceId);
      }
      if (recovered === false) {
        this.listener.reset(deviceId);
      }
    }
  }

  private left(message: ServerMessage & { type: 'unsubscribed' }): void {
    const { id, deviceIds, pattern } = message;
    if (id === undefined) {
      this.interests.withdrawn(deviceIds, pattern);
      this.listener.withdrawn(deviceIds, pattern);
    }
    this.positions.keep((deviceId) => this.interests.has(deviceId));
  }
}
