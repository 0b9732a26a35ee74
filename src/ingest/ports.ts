import type { DeviceMessage } from '../rooms/device-message.js';
import type { DeviceStatus, MetaBytes } from '../rooms/publication.js';
import type { StateDoubt } from './state-doubt.js';

/** Where rooms are served from: the store that all instances share, or this process while the store is away. */
export type StoreMode = 'store' | 'local';

/** The store was lost before it answered: whether the operation took effect is not known. */
export class StoreLostError extends Error {
  constructor(why: string) {
    super(`the store was lost: ${why}`);
    this.name = 'StoreLostError';
  }
}

/** The store was lost on the way back to it. */
export class ReturnLostError extends StoreLostError {
  /** @param shown last telemetry of the rooms that had gone back already */
  constructor(
    why: string,
    readonly shown: ReadonlyMap<string, Buffer>,
  ) {
    super(why);
    this.name = 'ReturnLostError';
  }
}

/**
 * Takes what devices say. Its promises resolve when it is stored, and reject with {@link StoreLostError}
 * when the store is lost before that.
 */
export interface DeviceSink {
  publish(message: DeviceMessage): void;
  fillTelemetry(deviceId: string, payload: Buffer, receivedAt: number): void;
  setStatus(deviceId: string, status: DeviceStatus, onlyIfUnknown: boolean): Promise<void>;
  setMeta(deviceId: string, meta: MetaBytes): Promise<void>;
}

type Unsubscribe = () => void;

/**
 * The rooms' store as the readers of device topics need to know it, where several instances share one. Not provided where
 * rooms live in the memory of one instance. All listeners are called in the step of the change.
 */
export abstract class SharedStore {
  abstract readonly mode: StoreMode;
  /** At `local` the session that feeds the store ends and one that feeds this instance alone begins; at `store` that one ends. */
  abstract onModeChange(listener: (mode: StoreMode) => void): Unsubscribe;

  /** The store answers and takes writes, whatever the mode. */
  abstract readonly storeReachable: boolean;
  abstract onReachable(listener: (reachable: boolean) => void): Unsubscribe;

  /** Called once: from now on the return from local mode is made by {@link resumeStore} alone. */
  abstract coordinateReturn(): void;
  /**
   * Ends local mode: rooms switch to the store, then the mode changes.
   * @throws {ReturnLostError} when the store is lost again before that; the mode stays local
   */
  abstract resumeStore(): Promise<void>;

  /** Whether status and metadata in the store may be older than what was stored. */
  abstract readonly stateDoubt: StateDoubt;

  /** As much is under way to the store as it may: whoever reads device messages pauses until told. */
  abstract readonly congested: boolean;
  abstract onCongestion(listener: (congested: boolean) => void): Unsubscribe;

  /**
   * From now on the store takes messages of this instance and refuses those of holders with lower tokens.
   * @throws when there is a higher one already, or the store does not answer
   */
  abstract raiseFence(token: number): Promise<void>;
  /** Writes of this instance carry no token: several readers share the work. */
  abstract dropFence(): void;
  /** The store refused a message of this instance, since a newer holder has been there. */
  abstract onFenced(listener: () => void): Unsubscribe;

  /** Writes into the store, whatever the mode: what arrives before the return from local mode is not shown here as live. */
  abstract readonly storeWriter: DeviceSink;
}
