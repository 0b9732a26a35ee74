import type { MetaBytes, Publication } from '../delivery/telemetry-frame.js';
import type { Position, Rewind } from '../protocol/client-messages.js';
import type { EdgeNodes } from './edge-nodes.js';

export type { MetaBytes, Publication };

/** Whether a device is online, as the device (or its will) said last. */
export interface DeviceStatus {
  readonly isOnline: boolean;
  /** Unix ms: the status' own `ts`, else the time of receipt. */
  readonly lastSeen: number;
  /** Unix ms at which Sluice took it in. */
  readonly serverTs: number;
  /** Of an offline device that did not say so: it sent nothing for the `silence` of its layout. */
  readonly reason?: 'silence';
}

/** What a store knows of when a device was heard last. */
export interface LastHeard {
  readonly deviceId: string;
  /** Unix ms of its newest telemetry; 0 without any. */
  readonly telemetryAt: number;
  readonly status: DeviceStatus | null;
}

/** Whether a status says nothing that is not known. */
export function isRepeat(known: DeviceStatus | null, status: DeviceStatus): boolean {
  return (
    known !== null &&
    known.isOnline === status.isOnline &&
    known.lastSeen === status.lastSeen &&
    known.reason === status.reason
  );
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

/** The result of ingesting a device message. */
export type IngestOutcome =
  /** Stored and fanned out. */
  | 'accepted'
  /** Recognised as a redelivery of a publication that is stored already. */
  | 'duplicate'
  /** Refused by the store because of the message itself; counted, logged and acknowledged. */
  | 'refused';

/** What a change of a device's status or metadata resolves with once it is stored: `refused` where MAX_DEVICES are known without it. */
export type StateOutcome = 'refused' | void;

/**
 * One object for all messages of a device, as long as the transport remembers its topic: the store keeps its room here and saves a map
 * lookup per message (10,000 rooms do not fit into the cache).
 */
export interface DeviceMemo {
  /** A slot for the store. */
  found: object | null;
}

/**
 * One telemetry message on its way into the rooms. `payload` is valid JSON in UTF-8 without surrounding white space and may be a view of a
 * network buffer: copy it to keep it.
 */
export interface DeviceMessage {
  readonly deviceId: string;
  /** Without it the room is looked up. */
  readonly memo?: DeviceMemo;
  readonly payload: Buffer;
  /** A state of fields before TRANSFORM_FILE, where that changes it: kept beside the last value for {@link BroadcastAdapter.base}. */
  readonly untransformed?: Buffer;
  /** Unix ms of receipt. */
  readonly receivedAt: number;
  /** performance.now() of receipt, for the ingest-to-socket histogram. */
  readonly receivedMono: number;
  /** Packet id of a QoS 1 message, 0 for QoS 0. */
  readonly packetId: number;
  /** DUP flag of the packet. */
  readonly dup: boolean;
  /**
   * Called exactly once, when the message is stored or will never be: the transport then acknowledges it to the broker. May be called
   * synchronously. Not called when the store is lost, so that the broker delivers the message again.
   */
  settle(outcome: IngestOutcome): void;
}

/** What a store has of a device's telemetry, for a reader that goes on from it field by field. */
export interface TelemetryBase {
  /** The last value, as it is shown. */
  readonly shown: Buffer;
  /** The newest {@link DeviceMessage.untransformed}; null when there is none. */
  readonly untransformed: Buffer | null;
  /** `untransformed` belongs to that very value: nobody has published without it since. */
  readonly current: boolean;
}

/** The adapter's own object for a room it is attached to. */
export interface RoomOrigin {
  /** A slot for the receiver: it stores its own room here and saves a map lookup per publication (10,000 rooms do not fit into the cache). */
  found: object | null;
  /** The last delivered publication, so that the receiver need not keep it too. */
  newest(): Publication | null;
}

/**
 * Receives what an adapter delivers to the local rooms. Implemented by RoomsService, bound once at start. Per room, calls come in the order
 * in which the store accepted the changes, and only for attached rooms.
 */
export interface BroadcastReceiver {
  /**
   * The next publication of a room: `offset` is the previous one plus one within the epoch.
   * @param receivedMono performance.now() of receipt
   * @param origin the same object for all publications of a room from an attach until at most the next reset
   */
  onPublication(publication: Publication, receivedMono: number, origin: RoomOrigin): void;
  /**
   * The publication of this device that came last is traced.
   * @param traceparent of its span
   * @param receivedAt Unix ms
   */
  onTraced?(deviceId: string, traceparent: string, receivedAt: number): void;
  onStatus(deviceId: string, status: DeviceStatus): void;
  onMeta(deviceId: string, meta: MetaBytes): void;
  /**
   * The room cannot continue: its epoch changed, or history no longer has the missing publications. Members get a snapshot and continue
   * from `state`.
   */
  onReset(state: RoomState): void;
  /** A device became known; called once per device, and only after {@link BroadcastAdapter.watchDevices}. */
  onDevice(deviceId: string): void;
  /** Somebody watches by pattern: every device may count. */
  readonly watchesPatterns?: boolean;
}

/** A range of history. */
export interface HistoryPage {
  /** Oldest first, directly after the requested position; empty when the position is the room's newest. */
  readonly publications: readonly Publication[];
  /** The room's newest offset when the page was read: more pages follow while the last publication is below it. */
  readonly newest: number;
}

/**
 * The rooms' store and the broadcast between instances: memory for one instance, Redis for many.
 *
 * Every adapter guarantees (and test/contract/broadcast-adapter.contract.ts tests):
 * - **Atomic.** Offset, last value, history and fan-out of one publication happen together: nobody sees one without the others.
 * - **Ordered.** Publications of a device are numbered, stored and delivered in the order of the publish calls of this instance.
 * - **Once.** An attached room receives each publication once; offsets within an epoch grow by exactly 1.
 * - **Interest.** Only attached rooms are delivered to; a publication that nobody watches costs its store and nothing else.
 * - **Bounded.** History ends at count, age or bytes, whichever is reached first; devices are bounded by MAX_DEVICES.
 * - **Settled.** `message.settle` is called exactly once per publish, or never when the store is lost (the broker then delivers again).
 */
export abstract class BroadcastAdapter {
  /** Binds the local rooms. Called once, before everything else. */
  abstract bind(receiver: BroadcastReceiver): void;

  /** Stores and fans out one telemetry message. Never throws, never blocks; settles when stored. */
  abstract publish(message: DeviceMessage): void;

  /** A retained telemetry message: becomes the last value if none is known; is never a publication. */
  abstract fillTelemetry(deviceId: string, payload: Buffer, receivedAt: number): void;

  /**
   * The newest telemetry of a device, with all that this instance has published before the call; null when there is none.
   * Rejects when the store is lost before it answered.
   */
  abstract base(deviceId: string): TelemetryBase | null | Promise<TelemetryBase | null>;

  /**
   * Calls back for every device that is known. Rejects when the store is lost or does not answer; some may have been told by then.
   */
  abstract eachDevice(take: (device: LastHeard) => void): Promise<void>;

  /**
   * Sets the device's status; an identical one (same isOnline, lastSeen and reason) is not fanned out.
   * @param onlyIfUnknown for a retained status: set only if none is known
   * @returns once stored
   */
  abstract setStatus(deviceId: string, status: DeviceStatus, onlyIfUnknown: boolean): Promise<StateOutcome>;

  /** Sets (or with null forgets) the device's metadata; identical bytes are not fanned out. @returns once stored */
  abstract setMeta(deviceId: string, meta: MetaBytes): Promise<StateOutcome>;

  /**
   * Attaches this instance to rooms and reads their state, in one step without a gap: every publication after the returned state reaches
   * the receiver. Attaching an attached room reads it again. Rooms without publications have an epoch and offset 0. Results are in the
   * order of `deviceIds`.
   */
  abstract attach(deviceIds: readonly string[]): Promise<RoomState[]>;

  /** This instance no longer follows the room. Safe against a concurrent attach: the last call wins. */
  abstract detach(deviceId: string): void;

  /**
   * History directly after a position, oldest first, at most `maxPublications`.
   * @returns null when it cannot be continued from there: another epoch, a future offset, or already trimmed
   */
  abstract history(deviceId: string, after: Position, maxPublications: number): Promise<HistoryPage | null>;

  /**
   * Where the last publications begin that history has, within a range: the offset before the first of them, in the order of the rooms. The
   * newest publication is always among them; 0 for a room without publications.
   * @param range none of its members: all that history has
   * @returns null where it cannot be told: no history is kept, another epoch, or the store is away
   */
  abstract rewind(
    rooms: readonly { readonly deviceId: string; readonly epoch: string }[],
    range: Rewind,
  ): Promise<(number | null)[]>;

  /**
   * All known devices (with telemetry, status or metadata); from then on every new one is passed to {@link BroadcastReceiver.onDevice},
   * whichever instance received its first message. Called by the first pattern subscription; later calls read the list again. Announcing a
   * device twice is harmless.
   */
  abstract watchDevices(): Promise<readonly string[]>;

  /**
   * Where devices stand, in the order of the ids; null for one of which nothing is known. Reading attaches to nothing, makes no room, and does
   * not keep a silent device from being forgotten.
   * @throws when the store is away
   */
  abstract read(deviceIds: readonly string[]): Promise<(RoomState | null)[]>;

  /**
   * The ids of all known devices, in no order, some thousand at a time: whoever reads them all does not stop the event loop. An id that is
   * known all the time is there at least once.
   * @throws when the store is away
   */
  abstract deviceIds(): AsyncIterable<readonly string[]>;

  /** What Sparkplug's edge nodes said of themselves, where the rooms are now; written only by readers of device messages. */
  abstract readonly edgeNodes: EdgeNodes;

  /** Whether publications can be stored and fanned out across instances now. */
  abstract readonly healthy: boolean;

  /** Devices whose state this adapter holds or has attached; for metrics. */
  abstract readonly roomCount: number;

  /** Opens connections, if any; resolves when they are usable or retrying in the background. */
  abstract start(): Promise<void>;

  /** Lets pending work finish, then closes. */
  abstract stop(): Promise<void>;
}
