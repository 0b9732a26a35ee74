import type { MetaBytes, Publication } from '../delivery/telemetry-frame.js';
import type { Position } from '../protocol/client-messages.js';

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

/** What became of a device message. */
export type IngestOutcome =
  /** Stored and fanned out. */
  | 'accepted'
  /** Recognised as a redelivery of a publication that is stored already. */
  | 'duplicate'
  /** Refused by the store for a reason of the message's own; counted, logged and acknowledged. */
  | 'refused';

/**
 * One for all messages of a device, for as long as the transport remembers its topic: what a store looked up once is found at once by
 * the next message. With ten thousand devices a lookup is a walk through memory that no cache holds.
 */
export interface DeviceMemo {
  /** The store's own business. */
  found: object | null;
}

/**
 * One telemetry message on its way into the rooms. `payload` is valid JSON in UTF-8 without white space at the ends
 * and may point into a network buffer: who keeps it copies it.
 */
export interface DeviceMessage {
  readonly deviceId: string;
  /** Without one everything is looked up. */
  readonly memo?: DeviceMemo;
  readonly payload: Buffer;
  /** Unix ms of receipt. */
  readonly receivedAt: number;
  /** performance.now() of receipt, for the ingest-to-socket histogram. */
  readonly receivedMono: number;
  /** Packet id of a QoS 1 message, 0 for QoS 0. */
  readonly packetId: number;
  /** DUP flag of the packet. */
  readonly dup: boolean;
  /**
   * Called exactly once when the message is stored (or never will be): the transport then acknowledges it to the broker.
   * May be called synchronously. Not called at all when the store is lost: the broker must deliver it again.
   */
  settle(outcome: IngestOutcome): void;
}

/** Where an adapter keeps a room that it is attached to. */
export interface RoomOrigin {
  /** The receiver's own business: what it looked up once. With ten thousand rooms a lookup is a walk through memory that no cache holds. */
  found: object | null;
  /** The publication that was told last: the receiver need not keep it as well. */
  newest(): Publication | null;
}

/**
 * What an adapter tells the local rooms. Implemented by RoomsService, bound once at start.
 * Calls come in the order in which the store accepted things, per room, and only for attached rooms.
 */
export interface BroadcastReceiver {
  /**
   * The next publication of a room: `offset` is the last one's plus one within the epoch.
   * @param receivedMono performance.now() of receipt
   * @param origin the same for all publications of a room from one attach on, until a reset at the latest
   */
  onPublication(publication: Publication, receivedMono: number, origin: RoomOrigin): void;
  onStatus(deviceId: string, status: DeviceStatus): void;
  onMeta(deviceId: string, meta: MetaBytes): void;
  /**
   * The room cannot be continued where it stood: its epoch changed, or publications are missing that history no longer has.
   * Members get a snapshot and go on from `state`.
   */
  onReset(state: RoomState): void;
  /** A device that nothing was known of before; called only after {@link BroadcastAdapter.watchDevices}, once per device. */
  onDevice(deviceId: string): void;
}

/** A stretch of history. */
export interface HistoryPage {
  /** Oldest first, directly after the position that was asked for; empty when the position is the room's newest. */
  readonly publications: readonly Publication[];
  /** The room's newest offset when the page was read: more is to be asked for while the last one is below it. */
  readonly newest: number;
}

/**
 * The rooms' store and the broadcast between instances: memory for one instance, Redis for many.
 *
 * Guarantees every adapter gives (test/contract/broadcast-adapter.contract.ts holds each to them):
 * - **Atomic.** Offset, last value, history and fan-out of one publication happen together: nobody sees one without the others.
 * - **Ordered.** Publications of a device are numbered, stored and delivered in the order of the publish calls of this instance.
 * - **Once.** An attached room receives each publication once; offsets within an epoch grow by exactly 1.
 * - **Interest.** Only attached rooms are delivered to; a publication nobody watches costs its store and nothing else.
 * - **Bounded.** History ends at count, age or bytes, whichever is reached first; devices are bounded by MAX_DEVICES.
 * - **Settled.** `message.settle` is called exactly once per publish, or never when the store is lost (the broker then delivers again).
 */
export abstract class BroadcastAdapter {
  /** Binds the local rooms. Called once, before everything else. */
  abstract bind(receiver: BroadcastReceiver): void;

  /** Stores and fans out one telemetry message. Never throws, never blocks; settles when stored. */
  abstract publish(message: DeviceMessage): void;

  /** A retained telemetry message: becomes the last value only where none is known; never a publication. */
  abstract fillTelemetry(deviceId: string, payload: Buffer, receivedAt: number): void;

  /**
   * Sets the device's status; an identical repeat (same isOnline and lastSeen) is not fanned out.
   * @param onlyIfUnknown a retained one: only fills what is unknown
   * @returns once stored
   */
  abstract setStatus(deviceId: string, status: DeviceStatus, onlyIfUnknown: boolean): Promise<void>;

  /** Sets (or with null forgets) the device's metadata; identical bytes are not fanned out. @returns once stored */
  abstract setMeta(deviceId: string, meta: MetaBytes): Promise<void>;

  /**
   * Attaches this instance to rooms and reads where they stand, in one step without a gap: every publication after the returned
   * state reaches the receiver. Attaching an attached room reads it again. Rooms without publications have an epoch and offset 0.
   * Results are in the order of `deviceIds`.
   */
  abstract attach(deviceIds: readonly string[]): Promise<RoomState[]>;

  /** Ends the interest of this instance in a room. Safe against a concurrent attach: the last call wins. */
  abstract detach(deviceId: string): void;

  /**
   * History directly after a position, oldest first, at most `maxPublications`.
   * @returns null when it cannot be continued from there: another epoch, a future offset, or already trimmed
   */
  abstract history(deviceId: string, after: Position, maxPublications: number): Promise<HistoryPage | null>;

  /**
   * All devices of which something is known (telemetry, status or metadata), and from then on every new one through
   * {@link BroadcastReceiver.onDevice}, whichever instance took its first message. Asked for by the first pattern subscription;
   * later calls read the list again. A device announced twice is harmless.
   */
  abstract watchDevices(): Promise<readonly string[]>;

  /** Whether publications can be stored and fanned out across instances now. */
  abstract readonly healthy: boolean;

  /** Devices whose state this adapter holds or has attached; for metrics. */
  abstract readonly roomCount: number;

  /** Opens connections, if any; resolves when usable or retrying in the background. */
  abstract start(): Promise<void>;

  /** Lets what is under way settle, then closes. */
  abstract stop(): Promise<void>;
}
