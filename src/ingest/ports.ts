import type {
  DeviceMessage,
  DeviceStatus,
  LastHeard,
  MetaBytes,
  TelemetryBase,
  StateOutcome,
} from '../rooms/broadcast-adapter.js';
import type { EdgeNodes } from '../rooms/edge-nodes.js';

/** Where rooms are served from: the store that all instances share, or this process while the store is away. */
export type StoreMode = 'store' | 'local';

/** The store was lost before it answered: whether the operation took effect is not known. */
export class StoreLostError extends Error {
  constructor(why: string) {
    super(`the store was lost: ${why}`);
    this.name = 'StoreLostError';
  }
}

/** The store was lost again during the return to it. */
export class ReturnLostError extends StoreLostError {
  /** @param shown last telemetry of the rooms that had already returned */
  constructor(
    why: string,
    readonly shown: ReadonlyMap<string, Buffer>,
  ) {
    super(why);
    this.name = 'ReturnLostError';
  }
}

/**
 * Stores device messages. Its promises resolve when a message is stored, and reject with {@link StoreLostError} when the store is lost
 * before that.
 */
export interface DeviceSink {
  publish(message: DeviceMessage): void;
  fillTelemetry(deviceId: string, payload: Buffer, receivedAt: number): void;
  /** The newest telemetry of a device, with all that was published through this sink before the call. At once where it is in memory. */
  base(deviceId: string): TelemetryBase | null | Promise<TelemetryBase | null>;
  /** Every device that is known; rejects when the store is lost or does not answer. */
  eachDevice(take: (device: LastHeard) => void): Promise<void>;
  setStatus(deviceId: string, status: DeviceStatus, onlyIfUnknown: boolean): Promise<StateOutcome>;
  setMeta(deviceId: string, meta: MetaBytes): Promise<StateOutcome>;
  /** What Sparkplug's edge nodes said of themselves, stored where the devices are. */
  readonly edgeNodes: EdgeNodes;
}

type Unsubscribe = () => void;

/**
 * The rooms' store as readers of device topics see it, if several instances share one. Not provided in memory mode. All listeners are
 * called in the step of the change.
 */
export abstract class SharedStore {
  abstract readonly mode: StoreMode;
  /** At `local` the session that feeds the store ends and one that feeds this instance alone begins; at `store` that one ends. */
  abstract onModeChange(listener: (mode: StoreMode) => void): Unsubscribe;

  /** The store answers and accepts writes, whatever the mode. */
  abstract readonly storeReachable: boolean;
  abstract onReachable(listener: (reachable: boolean) => void): Unsubscribe;

  /**
   * Ends local mode, which nothing else does: rooms switch to the store, then the mode changes.
   * @throws {ReturnLostError} when the store is lost again before that; the mode stays local
   */
  abstract resumeStore(): Promise<void>;

  /** Whether status and metadata in the store may be older than what was stored. */
  abstract readonly stateDoubt: StateDoubt;

  /**
   * Who the store is: the same answer to every instance that has the same store. Rejects when it does not answer.
   * @param groupBefore the group that this process was told before
   */
  abstract identify(groupBefore?: string): Promise<StoreIdentity>;

  abstract readonly watched: WatchedDevices;

  /** The bound of pending writes is reached: readers of device messages pause until the listener reports false. */
  abstract readonly congested: boolean;
  abstract onCongestion(listener: (congested: boolean) => void): Unsubscribe;

  /**
   * From now on the store accepts what this instance writes for a shard, and refuses those of its holders with lower tokens.
   * @throws when there is a higher one already, or the store does not answer
   */
  abstract raiseFence(token: number, shard: number): Promise<void>;
  /** Writes of this instance carry no token: several readers share the work. */
  abstract dropFence(): void;
  /** The store refused a message of this instance, since the shard has a newer holder. */
  abstract onFenced(listener: (shard: number) => void): Unsubscribe;

  /** Writes into the store in every mode: messages stored before the return from local mode are not shown here as live. */
  abstract readonly storeWriter: DeviceSink;
  /** The same for what a shard reads, under its own fence; that of the first shard is {@link storeWriter}. */
  abstract writerOf(shard: number): DeviceSink;
}

/** The devices that somebody watches at this instance. */
export interface WatchedDevices {
  readonly size: number;
  /** Changes whenever the set of watched devices changes. */
  readonly version: number;
  /** Somebody watches by pattern, so that devices matter that are not known yet. */
  readonly byPattern: boolean;
  deviceIds(): Iterable<string>;
}

/** A store that came back empty is another one. */
export interface StoreIdentity {
  readonly id: string;
  /** Unix ms of its first use. */
  readonly bornMs: number;
  /** Group of the shared subscription: MQTT_SHARED_GROUP, else what all instances of this store agree on. */
  readonly group: string;
}

/** After this time some instance has read the retained messages again, in ms. */
const LIFE_MS = 60_000;

/**
 * Whether the store may have lost recent writes: another server than before answers, whose data may be older. For telemetry a new epoch
 * shows that; status and metadata are read again from the broker's retained messages.
 */
export class StateDoubt {
  private until = -Infinity;
  private readonly listeners = new Set<() => void>();

  /** @param now monotonic ms; replaced in tests */
  constructor(private readonly now: () => number = () => performance.now()) {}

  /** True until this process has read the retained messages again. */
  get raised(): boolean {
    return this.now() < this.until;
  }

  /** @returns removes the listener */
  onRaised(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  raise(): void {
    this.until = this.now() + LIFE_MS;
    [...this.listeners].forEach((listener) => listener());
  }

  /** The retained messages are stored. */
  settle(): void {
    this.until = -Infinity;
  }
}

/**
 * The progress of the lease's holder: `claimed` and not reading yet, `reading` live messages, `caught-up` with all that the broker had
 * queued and retained for it.
 */
export type LeasePhase = 'claimed' | 'reading' | 'caught-up';

export interface LeaseState {
  readonly token: number;
  readonly phase: LeasePhase;
  /** Ms until it expires unless its holder renews it. */
  readonly expiresInMs: number;
}

/** Renewals within the life of a lease or a slot. */
export const RENEWALS_PER_LEASE = 3;

/**
 * Elects the one instance that reads device topics. Each holder has a token greater than all before (a fence): a holder that does not renew
 * loses the lease after REDIS_LEASE_MS, but may still be running, so the store refuses lower tokens. Every method rejects when the store
 * does not answer.
 */
export abstract class IngestLease {
  /**
   * Takes the lease if nobody holds it.
   * @param replacing token of a holder that is known to be gone: its lease counts as free
   * @param lastSeen highest token that this instance has seen
   * @returns the new token, or null when somebody holds it
   */
  abstract acquire(replacing: number, lastSeen: number): Promise<number | null>;

  /** @returns false when the lease is lost */
  abstract renew(token: number, phase: LeasePhase): Promise<boolean>;

  /** Releases the lease, if it is still this one. */
  abstract release(token: number): Promise<void>;

  /** @returns null when nobody holds it */
  abstract read(): Promise<LeaseState | null>;
}

/** How the topics of the layouts are divided among INGEST_SHARDS readers; made in layouts. */
export interface Division {
  /** By shard, the filters that it alone subscribes. */
  readonly shards: readonly (readonly { readonly filter: string; readonly qos: 0 | 1 }[])[];
  /** The shard that reads a device; the first one for a device of no layout. */
  shardOf(deviceId: string): number;
  /** Two divisions have equal names if, and only if, their shards have equal filters. Empty with one shard, which has all of them. */
  readonly name: string;
}

/** One reader has everything, whatever the layouts are. */
export const UNDIVIDED: Division = { shards: [], shardOf: () => 0, name: '' };

/**
 * Instances that may read at the moment, each with the number of shards that it holds. One that does not say so again within REDIS_LEASE_MS
 * is forgotten. Every method rejects when the store does not answer.
 */
export abstract class IngestReaders {
  /** This instance may read. @returns all of them, this one included */
  abstract attend(instance: string, held: number): Promise<Map<string, number>>;

  /** This instance reads nothing more. */
  abstract leave(instance: string): Promise<void>;
}

/**
 * Names for the members of a shared subscription: numbers that one instance holds at a time. They are few and reused, so that messages
 * the broker holds for a killed member are read by the next one of that name. A slot that is not renewed for REDIS_LEASE_MS is
 * abandoned. Every method rejects when the store does not answer.
 */
export abstract class IngestSlots {
  /**
   * Takes the lowest free number; if its last holder did not release it, the broker may hold messages for its name.
   * @param preferred taken instead, unless another instance holds it: the broker's queue of its last holder has that name
   */
  abstract take(preferred?: number): Promise<number>;

  /** @param up its holder is reading now @returns false when it is lost */
  abstract renew(number: number, up: boolean): Promise<boolean>;

  /** Releases it: the broker holds nothing for its name. */
  abstract release(number: number): Promise<void>;

  /** Counts the abandoned slots and the other instances that read now. Changes nothing, so a late answer is harmless. */
  abstract watch(): Promise<{ abandoned: number; othersUp: number }>;

  /** Takes an abandoned slot, if there is one. */
  abstract adopt(): Promise<number | null>;
}
