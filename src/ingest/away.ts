import { background } from '../logging/walls.js';
import type { DeviceMessage } from '../rooms/device-message.js';
import type { DeviceStatus, MetaBytes } from '../rooms/publication.js';
import type { DeviceSink, SharedStore } from './ports.js';

/** What a device said while it is not decided whether the store or this instance shows it. */
interface Held {
  readonly deviceId: string;
  /** Of telemetry. */
  readonly payload?: Buffer;
  show(): void;
  /** The store shows it: it is done here. */
  drop(): void;
}

/**
 * The rooms of this instance, as long as they are its own. On the way back to the store nothing more is shown here, and nothing is let
 * go either until the store has it: messages are held, unsettled, so that the session's own bound on those holds for them.
 */
export class LocalSink implements DeviceSink {
  private held: Held[] | null = null;

  constructor(
    private readonly rooms: DeviceSink,
    private readonly store: Pick<SharedStore, 'mode'>,
  ) {}

  publish(message: DeviceMessage): void {
    if (this.held === null && this.store.mode === 'local') {
      this.rooms.publish(message);
      return;
    }
    const { deviceId, payload } = message;
    const drop = (): void => message.settle('accepted');
    this.take({ deviceId, payload, show: () => this.rooms.publish(message), drop });
  }

  fillTelemetry(deviceId: string, payload: Buffer, receivedAt: number): void {
    const show = (): void => this.rooms.fillTelemetry(deviceId, payload, receivedAt);
    this.take({ deviceId, show, drop: () => undefined });
  }

  setStatus(deviceId: string, status: DeviceStatus, onlyIfUnknown: boolean): Promise<void> {
    return this.takeOne(deviceId, () => this.rooms.setStatus(deviceId, status, onlyIfUnknown));
  }

  setMeta(deviceId: string, meta: MetaBytes): Promise<void> {
    return this.takeOne(deviceId, () => this.rooms.setMeta(deviceId, meta));
  }

  /** From now on nothing is shown, until {@link release} or {@link drop}. */
  hold(): void {
    this.held ??= [];
  }

  /** The store shows what is held. */
  drop(): void {
    const held = this.held ?? [];
    this.held = null;
    held.forEach((one) => one.drop());
  }

  /**
   * The store was lost again: shows what was held.
   * @param shown last telemetry of rooms that had gone back to the store already: they showed it, and what came before it
   */
  release(shown: ReadonlyMap<string, Buffer>): void {
    const held = this.held ?? [];
    this.held = null;
    const from = new Map<string, number>();
    held.forEach(({ deviceId, payload }, index) => {
      if (payload !== undefined && !from.has(deviceId) && shown.get(deviceId)?.equals(payload) === true) {
        from.set(deviceId, index + 1);
      }
    });
    held.forEach((one, index) => {
      if (one.payload !== undefined && index < (from.get(one.deviceId) ?? 0)) {
        one.drop();
      } else {
        this.take(one);
      }
    });
  }

  private takeOne(deviceId: string, set: () => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) =>
      this.take({ deviceId, show: () => background('ingest', set().then(resolve, reject)), drop: resolve }),
    );
  }

  private take(one: Held): void {
    if (this.store.mode !== 'local') {
      one.drop();
    } else if (this.held !== null) {
      this.held.push(one);
    } else {
      one.show();
    }
  }
}
