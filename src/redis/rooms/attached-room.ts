import type {
  BroadcastReceiver,
  DeviceStatus,
  MetaBytes,
  Publication,
  RoomOrigin,
  RoomState,
} from '../../rooms/broadcast-adapter.js';
import { tracing } from '../../tracing/tracing.js';
import type { Block, FrameSink, StoredState } from './wire.js';
import type { Partition } from '../connection/partitions.js';
import type { RedisNode } from './redis-node.js';

/** Of performance.now(), Unix ms. */
const TIME_ORIGIN = performance.timeOrigin;

/** Result of applying a message: continued, or the room must be read again because a publication is missing or the epoch is new. */
type Continuity = 'continued' | 'broken';

/** A room this instance is attached to: its position, and which of the channel's messages are new. */
export class AttachedRoom implements FrameSink, RoomOrigin {
  readonly channel: string;
  found: object | null = null;
  /** The node whose subscriber has the channel, or is about to. */
  node: RedisNode | undefined;
  /** The receiver knows an epoch of the room: a change must be reported. */
  announced = false;
  /** A state was read, so that old and new messages of the channel can be distinguished. */
  known = false;
  epoch = '';
  offset = 0;
  status: DeviceStatus | null = null;
  meta: MetaBytes = null;
  /** Messages that came while the room is being read; null while it is not. */
  held: Buffer[] | null = null;
  heldBytes = 0;
  /** Read once more after the current read. */
  readAgain = false;
  /** It is read to see whether it is up to date; nothing says that a message is missing. */
  isLook = false;
  /** Offset at which the last look found it behind by more than history reaches; -1 when it did not. */
  behindAt = -1;
  /** Resolve the attach calls that wait for the first state. */
  waiters: ((state: RoomState) => void)[] = [];
  private last: LastPublication | null = null;
  private metaVersion = 0;
  private revision = 0;
  private continuity: Continuity = 'continued';

  constructor(
    readonly deviceId: string,
    readonly partition: Partition,
    private readonly receiver: BroadcastReceiver,
  ) {
    this.channel = partition.channelPrefix + deviceId;
  }

  newest(): Publication | null {
    return this.last === null ? null : this.last.get();
  }

  get state(): RoomState {
    const { deviceId, epoch, offset, status, meta } = this;
    return { deviceId, epoch, offset, telemetry: this.newest(), status, meta };
  }

  /** Nothing is known of the device. */
  get empty(): boolean {
    return this.offset === 0 && this.last === null && this.status === null && this.meta === null;
  }

  /** Continues from a state, whatever was known before; the receiver is told if its epoch was another one. */
  set(state: StoredState): void {
    const changed = this.announced;
    this.known = true;
    this.announced = true;
    this.behindAt = -1;
    this.epoch = state.epoch;
    this.offset = state.offset;
    this.last = LastPublication.keep(this.last, state.telemetry);
    this.status = state.status;
    this.meta = state.meta;
    this.metaVersion = state.metaVersion;
    this.revision = state.revision;
    if (changed) {
      this.receiver.onReset(this.state);
    }
  }

  /** Delivers the next publication; the caller has checked that it is the next. */
  deliver(publication: Publication): void {
    this.offset = publication.offset;
    this.last = LastPublication.keep(this.last, publication);
    // Another machine's receipt is known by its wall clock only.
    this.receiver.onPublication(publication, publication.serverTs - TIME_ORIGIN, this);
  }

  /** Applies changes of status and metadata that this instance missed; the epoch is the same. */
  catchUp(state: StoredState): void {
    if (state.metaVersion > this.metaVersion) {
      this.metaVersion = state.metaVersion;
      this.meta = state.meta;
      this.receiver.onMeta(this.deviceId, state.meta);
    }
    if (state.revision > this.revision && state.status !== null) {
      this.revision = state.revision;
      this.status = state.status;
      this.receiver.onStatus(this.deviceId, state.status);
    }
    if (this.last === null && state.telemetry !== null && this.offset === state.offset) {
      this.last = LastPublication.keep(null, state.telemetry);
      this.receiver.onReset(this.state);
    }
  }

  /** Removes and returns the waiting attach calls, for the caller to answer. */
  takeWaiters(): ((state: RoomState) => void)[] {
    const { waiters } = this;
    this.waiters = [];
    return waiters;
  }

  /** Begins to apply a message; {@link continuityAfter} returns the result. */
  begin(): void {
    this.continuity = 'continued';
  }

  get continuityAfter(): Continuity {
    return this.continuity;
  }

  onBlock(block: Block): void {
    if (this.isBroken(block.isOf(this.epoch)) || block.lastOffset <= this.offset) {
      return;
    }
    if (block.firstOffset > this.offset + 1 || block.metaVersion > this.metaVersion) {
      this.continuity = 'broken';
      return;
    }
    const { deviceId, epoch, meta } = this;
    block.each(this.offset + 1, (offset, serverTs, payload) =>
      this.deliver({ deviceId, epoch, offset, serverTs, payload, meta }),
    );
  }

  onTraced(traceparent: string, receivedAt: number): void {
    if (tracing.on && this.continuity === 'continued') {
      this.receiver.onTraced?.(this.deviceId, traceparent, receivedAt);
    }
  }

  onStatus(epoch: string, revision: number, status: DeviceStatus): void {
    if (!this.isBroken(epoch === this.epoch) && revision > this.revision) {
      this.revision = revision;
      this.status = status;
      this.receiver.onStatus(this.deviceId, status);
    }
  }

  onMeta(epoch: string, version: number, bytes: Buffer): void {
    if (!this.isBroken(epoch === this.epoch) && version > this.metaVersion) {
      this.metaVersion = version;
      this.meta = bytes.length === 0 ? null : bytes;
      this.receiver.onMeta(this.deviceId, this.meta);
    }
  }

  onFilled(epoch: string, serverTs: number, payload: Buffer): void {
    if (!this.isBroken(epoch === this.epoch) && this.last === null) {
      const { deviceId, meta } = this;
      this.last = LastPublication.keep(null, { deviceId, epoch, offset: 0, serverTs, payload, meta });
      this.receiver.onReset(this.state);
    }
  }

  private isBroken(isSameEpoch: boolean): boolean {
    if (!isSameEpoch) {
      this.continuity = 'broken';
    }
    return this.continuity === 'broken';
  }
}

const NOTHING = new ArrayBuffer(0);

/**
 * Keeps the newest publication of a device as fields instead of the object. A publication object that lives until the next one is copied
 * twice by the garbage collector before it dies, once per device.
 */
export class LastPublication {
  private readonly deviceId: string;
  private epoch = '';
  private offset = 0;
  private serverTs = 0;
  private meta: MetaBytes = null;
  private bytes: ArrayBufferLike = NOTHING;
  private start = 0;
  private length = 0;

  private constructor(publication: Publication) {
    this.deviceId = publication.deviceId;
    this.set(publication);
  }

  get(): Publication {
    const { deviceId, epoch, offset, serverTs, meta, bytes, start, length } = this;
    return { deviceId, epoch, offset, serverTs, payload: Buffer.from(bytes, start, length), meta };
  }

  /** Stores a publication, in the existing object if there is one. */
  static keep(last: LastPublication | null, publication: Publication | null): LastPublication | null {
    if (last === null || publication === null) {
      return publication === null ? null : new LastPublication(publication);
    }
    last.set(publication);
    return last;
  }

  private set({ epoch, offset, serverTs, meta, payload }: Publication): void {
    this.epoch = epoch;
    this.offset = offset;
    this.serverTs = serverTs;
    this.meta = meta;
    this.bytes = payload.buffer;
    this.start = payload.byteOffset;
    this.length = payload.length;
  }
}
