import { background, walled } from '../logging/walls.js';
import type {
  DeviceMessage,
  DeviceStatus,
  LastHeard,
  MetaBytes,
  StateOutcome,
  TelemetryBase,
} from '../rooms/broadcast-adapter.js';
import type { EdgeNodes } from '../rooms/edge-nodes.js';
import type { DeviceSink, SharedStore } from './ports.js';

/** Messages that the broker had queued before it removed the old filters arrive within this time. */
const COPIES_MS = 2_000;

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
 * The rooms of this instance, as long as they are its own. During the return nothing more is shown here, and messages stay unacknowledged
 * until the store has them: the session's limit of unacknowledged messages bounds what is held.
 */
export class LocalSink implements DeviceSink {
  private held: Held[] | null = null;
  /** The last message of each device while the next one may be its copy; null at other times. */
  private copies: Map<string, Buffer> | null = null;
  private copiesTimer: NodeJS.Timeout | undefined;

  constructor(
    private readonly rooms: DeviceSink,
    private readonly store: Pick<SharedStore, 'mode'>,
  ) {}

  get edgeNodes(): EdgeNodes {
    return this.rooms.edgeNodes;
  }

  publish(message: DeviceMessage): void {
    if (this.copies !== null && this.isCopy(message, this.copies)) {
      message.settle('duplicate');
      return;
    }
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

  /** During the return the answer is held like everything else, so that a reader continues from what was shown before it asked. */
  base(deviceId: string): TelemetryBase | null | Promise<TelemetryBase | null> {
    if (this.held === null && this.store.mode === 'local') {
      return this.rooms.base(deviceId);
    }
    return new Promise((resolve, reject) => {
      const show = (): void =>
        background('ingest', Promise.resolve(this.rooms.base(deviceId)).then(resolve, reject));
      this.take({ deviceId, show, drop: () => resolve(null) });
    });
  }

  eachDevice(take: (device: LastHeard) => void): Promise<void> {
    return this.rooms.eachDevice(take);
  }

  setStatus(deviceId: string, status: DeviceStatus, onlyIfUnknown: boolean): Promise<StateOutcome> {
    return this.takeOne(deviceId, () => this.rooms.setStatus(deviceId, status, onlyIfUnknown));
  }

  setMeta(deviceId: string, meta: MetaBytes): Promise<StateOutcome> {
    return this.takeOne(deviceId, () => this.rooms.setMeta(deviceId, meta));
  }

  /**
   * New filters replace those that are subscribed. For a moment both match, and many brokers deliver a message once for each filter. Until
   * {@link filtersChanged} and for {@link COPIES_MS} more, a message that equals the previous one of its device counts as a copy and is not
   * shown.
   */
  filtersChange(): void {
    clearTimeout(this.copiesTimer);
    this.copies ??= new Map();
  }

  filtersChanged(): void {
    if (this.copies === null) {
      return;
    }
    clearTimeout(this.copiesTimer);
    this.copiesTimer = setTimeout(
      walled('ingest', () => (this.copies = null)),
      COPIES_MS,
    );
  }

  /** From now on nothing is shown, until {@link release} or {@link drop}. */
  hold(): void {
    this.held ??= [];
  }

  /** The store shows what is held. */
  drop(): void {
    clearTimeout(this.copiesTimer);
    this.copies = null;
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

  private isCopy({ deviceId, payload }: DeviceMessage, last: Map<string, Buffer>): boolean {
    if (last.get(deviceId)?.equals(payload) === true) {
      last.delete(deviceId);
      return true;
    }
    last.set(deviceId, Buffer.from(payload)); // a copy: the payload's memory is that of all that came with it
    return false;
  }

  private takeOne(deviceId: string, set: () => Promise<StateOutcome>): Promise<StateOutcome> {
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
