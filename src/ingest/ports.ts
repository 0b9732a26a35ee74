import type { DeviceMessage, DeviceStatus, MetaBytes } from '../rooms/broadcast-adapter.js';

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

/** Time after which somebody has read the retained messages again, whoever it was, in ms. */
const LIFE_MS = 60_000;

/**
 * Whether the store may have been set back: another server than before answers, which was perhaps behind it. Telemetry says so by a new
 * epoch; status and metadata are read once more from what the broker retained.
 */
export class StateDoubt {
  private until = -Infinity;
  private readonly listeners = new Set<() => void>();

  /** @param now monotonic ms; replaced in tests */
  constructor(private readonly now: () => number = () => performance.now()) {}

  /** Nobody of this process has read the retained messages since. */
  get raised(): boolean {
    return this.now() < this.until;
  }

  /** @returns takes the listener back */
  onRaised(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  raise(): void {
    this.until = this.now() + LIFE_MS;
    [...this.listeners].forEach((listener) => listener());
  }

  /** The retained messages are in the store. */
  settle(): void {
    this.until = -Infinity;
  }
}

/**
 * How far the holder of the lease is: `claimed` it and not reading yet, `reading` live, `caught-up` with all that the broker had
 * queued and retained for it.
 */
export type LeasePhase = 'claimed' | 'reading' | 'caught-up';

export interface LeaseState {
  readonly token: number;
  readonly phase: LeasePhase;
  /** Ms until it ends by itself, unless its holder renews it. */
  readonly expiresInMs: number;
}

/**
 * Who reads the device topics: one holder at a time, named by a token that is greater than every token before. A holder that does
 * not renew loses it after REDIS_LEASE_MS. Losing it is no proof that the former holder has stopped: the token fences the store.
 * Every method rejects when the store does not answer.
 */
export abstract class IngestLease {
  /**
   * Takes the lease if nobody holds it.
   * @param replacing token of a holder that is known to be gone: its lease counts as free
   * @param lastSeen highest token that this instance has heard of
   * @returns the new token, or null when somebody holds it
   */
  abstract acquire(replacing: number, lastSeen: number): Promise<number | null>;

  /** @returns false when the lease is lost */
  abstract renew(token: number, phase: LeasePhase): Promise<boolean>;

  /** Gives the lease up, if it is still this one. */
  abstract release(token: number): Promise<void>;

  /** @returns null when nobody holds it */
  abstract read(): Promise<LeaseState | null>;
}

/**
 * Names for the members of a shared subscription: a number that one instance holds at a time. They are few and used again, so that what the broker holds for a member that was
 * killed comes to the next one of that name. A slot that is not renewed for REDIS_LEASE_MS is abandoned.
 * Every method rejects when the store does not answer.
 */
export abstract class IngestSlots {
  /**
   * Takes the lowest number that nobody holds; the broker may hold messages for it, where its last holder did not give it back.
   * @param preferred taken instead, unless another one holds it: what the broker queued for its last holder is under that name
   */
  abstract take(preferred?: number): Promise<number>;

  /** @param up its holder reads now @returns false when it is lost */
  abstract renew(number: number, up: boolean): Promise<boolean>;

  /** Gives it back: the broker holds nothing for its name. */
  abstract release(number: number): Promise<void>;

  /** Counts those that are abandoned and the other instances that read now. Changes nothing, however late it is answered. */
  abstract watch(): Promise<{ abandoned: number; othersUp: number }>;

  /** Takes an abandoned one, if there is one. */
  abstract adopt(): Promise<number | null>;
}
